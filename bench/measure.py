"""Wall time and peak memory of a command with everything it starts."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired

from cosa.core import clock, run

PR_SET_CHILD_SUBREAPER = 36
INTERVAL = 0.2


@dataclass(frozen=True)
class Sample:
    """How a command went. `peak` is the highest sum of the processes' proportional set sizes."""

    seconds: float
    peak: int
    status: int
    log: Path


def measure(argv: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str]) -> Sample:
    """Run a command to its end, its output in `log`; memory of guests does not count."""
    # Orphans stay our descendants, so that daemons are counted, too.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    log.parent.mkdir(parents=True, exist_ok=True)
    peak = 0
    with log.open("wb") as out:
        started = clock.monotonic()
        process = run.start(argv, cwd=cwd, env=env, stdout=out, stderr=out)
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            try:
                process.wait(INTERVAL)
            except TimeoutExpired:
                continue
        seconds = clock.monotonic() - started
    return Sample(round(seconds, 2), peak, process.returncode, log)


def _memory(root: int) -> int:
    """Bytes of a process and its descendants, shared pages divided among who shares them."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := _parent(entry.name)):
            children.setdefault(parent, []).append(int(entry.name))
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        total += _pss(pid)
    return total


def _parent(pid: str) -> int:
    try:
        stat = Path("/proc", pid, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _pss(pid: int) -> int:
    try:
        if Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system"):
            return 0
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return 0
