"""The content-addressed cache: results under the id of what they were made from.

An id is the digest of a step's name and all its inputs; results are produced
in a private folder and renamed into place, so an entry is whole or absent.
Nothing is ever changed in place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass

type Json = bool | int | float | str | list[Json] | tuple[Json, ...] | Mapping[str, Json] | None


def step_id(name: str, inputs: Mapping[str, Json]) -> str:
    """Hex sha256 of a step's name and inputs, independent of key order."""
    text = json.dumps([name, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Results of steps in `root/NAME/ID/`, each a folder with `inputs.json` beside its files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str, inputs: Mapping[str, Json]) -> Path | None:
        """The folder of a result made from exactly these inputs, or None."""
        path = self._path(name, inputs)
        if not (path / "inputs.json").exists():
            return None
        os.utime(path)  # last use, for eviction
        return path

    @contextmanager
    def produce(self, name: str, inputs: Mapping[str, Json]) -> Iterator[Path]:
        """An empty folder to fill; it becomes the result when the block ends well.

        Two processes may produce the same id: the first to finish wins, the
        other's equal result is dropped. Look it up with `find` afterwards.
        """
        path = self._path(name, inputs)
        path.parent.mkdir(parents=True, exist_ok=True)
        with fs.private_dir(path.parent, name) as work:
            out = work / "out"
            out.mkdir()
            yield out
            (out / "inputs.json").write_text(json.dumps(inputs, indent=1, sort_keys=True))
            try:
                fs.publish(out, path)
            except OSError:
                if not (path / "inputs.json").exists():
                    raise

    def trim(self, name: str, keep: int) -> None:
        """Drop all but the `keep` results of a step that were used last."""
        found = [path.parent for path in (self.root / name).glob("*/inputs.json")]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[keep:]:
            fs.remove_tree(path)

    def _path(self, name: str, inputs: Mapping[str, Json]) -> Path:
        return self.root / name / step_id(name, inputs)


@contextmanager
def using(cache: Path) -> Iterator[None]:
    """Say that a cache is in use while the block runs: nothing is pruned from it meanwhile.

    Any number of users at once; waits for a pruning that is under way. A cache
    that cannot be written needs no protection.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fd = os.open(_in_use(cache), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextmanager
def unused(cache: Path) -> Iterator[bool]:
    """Whether nobody uses a cache; nobody begins to while the block runs."""
    try:
        fd = os.open(_in_use(cache), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def _in_use(cache: Path) -> Path:
    return cache / ".in-use"


@contextmanager
def lock(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock file while the block runs.

    Raises `busy/locked` (class BUSY) naming the holder's pid when another
    process has it and `wait` is false. The kernel drops the lock of a killed
    process, so a stale one cannot exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as err:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise CosaError(
                "busy/locked",
                f"{purpose} is already running here (process {holder})",
                why=f"it holds {path}",
                fix="wait for it to finish, or use another --workdir",
                exit_class=ExitClass.BUSY,
            ) from err
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
