"""What a command costs as a whole: wall time, processor time, peak memory of all its processes."""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cosa.core.errors import CosaError, ExitClass
from cosa.core.run import end, start

SAMPLE_SECONDS = 0.2
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall, seconds of processor, and the peak of memory in bytes.

    Memory is the sum over all processes of their proportional set size (pages
    shared by N processes count 1/N for each), sampled five times a second.
    """

    wall: float
    cpu: float
    peak: int


def measure(
    argv: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Cost:
    """Run a command to its end, output to `log`. Raises `bench/failed` if it ends badly."""
    _adopt_orphans()
    before = _children_cpu()
    began = time.monotonic()
    with log.open("wb") as out:
        process = start(argv, cwd=cwd, env=env, stdout=out, stderr=out)
        peak = [0]
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
        watcher.start()
        try:
            status = process.wait()
        finally:
            done.set()
            watcher.join()
            end(process)
            _reap_orphans()
    if status:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-20:])
        raise CosaError(
            "bench/failed", f"{argv[0]} ended with status {status}", why=tail,
            fix=f"the whole output is in {log}", exit_class=ExitClass.STEP,
        )  # fmt: skip
    return Cost(time.monotonic() - began, _children_cpu() - before, peak[0])


def _adopt_orphans() -> None:
    """Become the parent of processes whose parent ended before them: their time counts, too."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_orphans() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watch(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(SAMPLE_SECONDS):
        peak[0] = max(peak[0], _memory(pid))


def _memory(pid: int) -> int:
    total = 0
    # Processes come and go while we look.
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
