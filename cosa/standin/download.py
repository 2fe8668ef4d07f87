"""Fetching .debs with apt's own helper: its proxies and credentials, its queues and retries."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cosa.core import events, fs, parallel, run
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.standin.apt import Apt, DebFile, errors_of

_HELPER = "/usr/lib/apt/apt-helper"


def fetch(apt: Apt, files: Sequence[DebFile], folder: Path, step: events.Step) -> None:
    """Fetch files to `folder/SHA256.deb`, each checked against the digest the lists signed.

    What an interrupted run had finished is taken over. Raises
    `standin/download` (class NETWORK) naming every package that could not be
    had, or `standin/digest` (UNTRUSTED) where the content is another.
    """
    partial = folder / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    step.size = sum(file.size for file in files)
    left = [file for file in files if not _whole(file, partial)]
    arguments = []
    for file in left:
        arguments += [file.url, str(_place(file, partial)), f"SHA256:{file.sha256}"]
    with _watched(files, partial, step):
        command = [_HELPER, *apt.options(), "download-file", *arguments]
        result = run.run(command, check=False) if left else run.Result((), 0, "", "")

    def take(file: DebFile) -> CosaError | None:
        return _take(file, partial, folder, result)

    failures = [error for error in parallel.each(take, files) if error]
    # A file that is not what was signed weighs more than one that is missing.
    failures.sort(key=lambda error: error.exit_class != ExitClass.UNTRUSTED)
    problems = Problems()
    for error in failures:
        problems.absorb(error)
    if failures:
        problems.raise_if_any("some packages could not be fetched", failures[0].exit_class)


def _place(file: DebFile, partial: Path) -> Path:
    return partial / f"{file.sha256}.deb"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _whole(file: DebFile, partial: Path) -> bool:
    path = _place(file, partial)
    return _size(path) == file.size and fs.sha256_file(path) == file.sha256


def _take(file: DebFile, partial: Path, folder: Path, result: run.Result) -> CosaError | None:
    """Move a fetched file to its place if it is what the lists promise; else what is wrong."""
    path = _place(file, partial)
    if _whole(file, partial):
        os.utime(path)  # apt gives it the mirror's time; ours tells when it was used
        path.rename(folder / path.name)
        return None
    if _size(path) == file.size:
        path.unlink()
        return CosaError(
            "standin/digest",
            f"package {file.name}: the file fetched is not the one its repository signed",
            why=file.url,
            exit_class=ExitClass.UNTRUSTED,
        )
    lines = (result.err + result.out).splitlines()
    reason = [line for line in lines if line.startswith("E:") and file.url in line]
    return CosaError(
        "standin/download", f"package {file.name} could not be fetched",
        why="\n".join(reason) or errors_of(result),
        fix="try again; if the file is gone, refresh the lists: cosa standin --refresh",
        exit_class=ExitClass.NETWORK,
    )  # fmt: skip


@contextmanager
def _watched(files: Sequence[DebFile], partial: Path, step: events.Step) -> Iterator[None]:
    """Say how far the download has come: the helper says it only to a terminal."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            done = sum(_size(_place(file, partial)) for file in files)
            step.progress(done, step.size, "bytes")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
