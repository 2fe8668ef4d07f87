"""Files: atomic writes, private folders, paths that cannot escape, room on disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cosa.core.errors import CosaError, ExitClass

CHUNK = 1 << 20
_PRIVATE, _FRESH = ".cosa-tmp.", ".cosa-new."
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_IMMUTABLE = 0x80086601, 0x40086602, 0x10


def atomic_write(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Replace a file as one instant: temporary name, fsync, rename. The folder must exist."""
    raw = data.encode() if isinstance(data, str) else data
    fd, name = tempfile.mkstemp(prefix=_PRIVATE, dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(raw)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def private_dir(parent: Path, name: str = "work") -> Iterator[Path]:
    """A folder of our own below `parent`, locked while in use and gone afterwards.

    What a killed run left behind has no lock holder any more and is swept away
    by the next `private_dir` on the same parent.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    fresh = Path(tempfile.mkdtemp(prefix=f"{_FRESH}{name}.", dir=parent))
    lock = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # It gets the name `sweep` looks for only once it is locked.
    path = fresh.with_name(_PRIVATE + fresh.name.removeprefix(_FRESH))
    fresh.rename(path)
    try:
        path.chmod(0o755)
        yield path
    finally:
        remove_tree(path)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove private folders and files below `parent` that no living process holds."""
    for entry in [*parent.glob(f"{_PRIVATE}*"), *parent.glob(f"{_FRESH}*")]:
        if not entry.is_dir():
            continue
        try:
            fd = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The owner of a fresh one may be about to lock it.
            if entry.name.startswith(_PRIVATE) or _age(entry) > 60:
                remove_tree(entry)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def sweep_files(folder: Path) -> None:
    """Remove temporary files a killed `atomic_write` left right in `folder`.

    To be called under the lock that all who write there hold: they carry none themselves.
    """
    for entry in folder.glob(f"{_PRIVATE}*"):
        if entry.is_file() and not entry.is_symlink():
            entry.unlink(missing_ok=True)


def _age(path: Path) -> float:
    import time  # the real clock: this is about files of this machine, not about builds

    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def publish(src: Path, dst: Path) -> None:
    """Rename a finished file or folder to its place, durably."""
    os.rename(src, dst)
    fd = os.open(dst.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_files(folder: Path) -> None:
    """Write the files right in `folder` through to the disk, to outlive a power cut."""
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a folder, immutable OSTree deployments included; absent is fine."""

    def mend(function: object, name: str, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, PermissionError):
            raise error
        for target in (name, os.path.dirname(name)):
            _set_immutable(Path(target), value=False)
        if function in (os.open, os.scandir, os.rmdir) and os.path.isdir(name):
            shutil.rmtree(name)
        else:
            os.unlink(name)

    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onexc=mend)


def _set_immutable(path: Path, *, value: bool) -> None:
    if path.is_symlink() or not path.exists():
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        flags = struct.unpack("i", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, struct.pack("i", 0)))[0]
        flags = flags | _FS_IMMUTABLE if value else flags & ~_FS_IMMUTABLE
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("i", flags))
    except OSError as err:
        if err.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def safe_join(root: Path, name: str) -> Path:
    """`root/name` for a name from an untrusted archive.

    Raises `untrusted/path` for absolute names, `..` and control characters.
    Says nothing about symlinks below root: extract with care, or not at all.
    """
    pure = PurePosixPath(name)
    bad = pure.is_absolute() or ".." in pure.parts or any(ord(c) < 32 for c in name)
    if bad or not name:
        raise CosaError(
            "untrusted/path",
            f"the path {name!r} would leave its folder",
            why="archives may only hold relative paths without '..'",
            exit_class=ExitClass.UNTRUSTED,
        )
    return root / pure


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(path: Path) -> str:
    """Hex sha256 over a tree: every name, type, mode, link target and content, sorted."""
    digest = hashlib.sha256()
    for entry in sorted([path, *path.rglob("*")]):
        info = entry.lstat()
        rel = entry.relative_to(path).as_posix()
        digest.update(f"{len(rel)}:{rel}:{info.st_mode:o}:".encode())
        if stat.S_ISLNK(info.st_mode):
            digest.update(os.readlink(entry).encode() + b"\0")
        elif stat.S_ISREG(info.st_mode):
            digest.update(sha256_file(entry).encode())
    return digest.hexdigest()


def need_space(path: Path, size: int, purpose: str) -> None:
    """Refuse to start work that will not fit. Raises `env/disk-full`, class ENVIRONMENT."""
    usage = os.statvfs(path)
    free = usage.f_bavail * usage.f_frsize
    if free < size:
        raise CosaError(
            "env/disk-full",
            f"{purpose} needs {mib(size)} below {path}, only {mib(free)} are free",
            fix="free some space, or choose another place with --workdir",
            exit_class=ExitClass.ENVIRONMENT,
        )


def mib(size: int) -> str:
    """A size for people: `640 MiB`."""
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size / 1024:,.0f} KiB"
