"""Memory of this machine, shared out among the guests of all workers.

A ledger in a file says which process has promised how much to its guests. A
guest starts when the sum stays below what was available before the first of
them started; else it waits. Guests take their memory bit by bit, so looking at
what is free just now would promise it twice.

A process that already has a guest is never made to wait for a second one: two
tests of several machines each could wait for each other for ever.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosa.core import clock, events, fs, store

OVERHEAD = 200  # MiB of a QEMU beside its guest's memory
_POLL = 0.5  # seconds


@dataclass
class _Ledger:
    """What is promised: `base` MiB were available before; `held` is [pid, MiB] each."""

    base: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> _Ledger:
        """The ledger without those who are gone."""
        try:
            values: Any = json.loads(path.read_text())
            held = [(int(pid), int(size)) for pid, size in values["held"]]
            return cls(int(values["base"]), [entry for entry in held if _lives(entry[0])])
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        """Keep it."""
        fs.atomic_write(path, json.dumps({"base": self.base, "held": self.held}))


@contextmanager
def reserved(memory: int, folder: Path | None = None) -> Iterator[None]:
    """Hold `memory` MiB for a guest while the block runs; waits until there is room."""
    place = folder or Path(tempfile.gettempdir()) / "cosa-kola-memory"
    place.mkdir(exist_ok=True)
    entry = (os.getpid(), memory + OVERHEAD)
    waited = False
    while not _take(place, entry):
        if not waited:
            waited = True
            events.note(f"waiting for {entry[1]} MiB of memory, which other machines have")
        clock.sleep(_POLL)
    try:
        yield
    finally:
        with store.lock(place / "lock", "memory of guests", wait=True):
            ledger = _Ledger.read(place / "ledger.json")
            if entry in ledger.held:
                ledger.held.remove(entry)
            ledger.write(place / "ledger.json")


def _take(place: Path, entry: tuple[int, int]) -> bool:
    with store.lock(place / "lock", "memory of guests", wait=True):
        ledger = _Ledger.read(place / "ledger.json")
        if not ledger.held:
            ledger.base = available()
        promised = sum(size for _, size in ledger.held)
        mine = any(pid == entry[0] for pid, _ in ledger.held)
        if ledger.held and not mine and promised + entry[1] > ledger.base:
            return False
        ledger.held.append(entry)
        ledger.write(place / "ledger.json")
        return True


def available(root: Path = Path("/")) -> int:
    """MiB the kernel could give us without swapping: of the machine, or less in a control group."""
    text = (root / "proc/meminfo").read_text()
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    free = int(found[1]) >> 10 if found else 0
    group = root / "sys/fs/cgroup"
    try:  # absent outside of one, `max` without a limit
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, (limit - used) >> 20)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
