"""Disk images are mostly holes: copies and digests that skip them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

UNIT = 64 * 1024
_FICLONE = 0x40049409
_ZEROS = bytes(1 << 20)


def sparse_copy(source: Path, out: Path) -> None:
    """Copy a file: blocks shared where the file system can, else data only, not holes."""
    with source.open("rb") as src, out.open("wb") as dst:
        try:
            fcntl.ioctl(dst.fileno(), _FICLONE, src.fileno())
            return
        except OSError as err:
            if err.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
                raise
        os.ftruncate(dst.fileno(), os.fstat(src.fileno()).st_size)
        for start, end in _data(src.fileno(), 0, os.fstat(src.fileno()).st_size):
            _copy_range(src.fileno(), dst.fileno(), start, end)


def pieces(path: Path, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The units of a file that hold more than zeros, with their offsets.

    What is given depends on the bytes only, not on where the file system has
    holes, so that formats made from it are the same everywhere. The last piece
    may be shorter than `UNIT`; `start` must be a multiple of it.
    """
    empty = bytes(UNIT)
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        end = size if end is None else min(end, size)
        at = start
        for first, last in _data(fd, start, end):
            at = max(at, first // UNIT * UNIT)
            while at < last:
                data = os.pread(fd, min(UNIT, end - at), at)
                if data != empty and data.count(0) != len(data):
                    yield at, data
                at += UNIT


def sha256(path: Path) -> str:
    """Hex sha256 of a file; holes are not read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        done = 0
        for start, end in _data(fd, 0, size):
            _add_zeros(digest, start - done)
            os.lseek(fd, start, os.SEEK_SET)
            left = end - start
            while left and (data := os.read(fd, min(left, len(_ZEROS)))):
                digest.update(data)
                left -= len(data)
            done = end
        _add_zeros(digest, size - done)
    return digest.hexdigest()


def restore(image: Path, pristine: Path, end: int) -> None:
    """Give `image` the bytes of `pristine` again up to `end`, writing only what differs."""
    wanted = dict(pieces(pristine, 0, end))
    with image.open("r+b", buffering=0) as file:
        for offset, data in pieces(image, 0, end):
            true = wanted.pop(offset, None)
            if true != data:
                os.pwrite(file.fileno(), true or bytes(len(data)), offset)
        for offset, data in wanted.items():
            os.pwrite(file.fileno(), data, offset)


def _add_zeros(digest: hashlib._Hash, count: int) -> None:
    view = memoryview(_ZEROS)
    while count > 0:
        digest.update(view[: min(count, len(view))])
        count -= len(view)


def _data(fd: int, position: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges with data between two offsets, as the file system knows them."""
    while position < end:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as err:
            if err.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        position = os.lseek(fd, start, os.SEEK_HOLE)
        if start < end:
            yield start, min(position, end)


def _copy_range(src: int, dst: int, start: int, end: int) -> None:
    while start < end:
        done = os.copy_file_range(src, dst, end - start, start, start)
        if not done:
            raise OSError(errno.EIO, "the file shrank while it was copied")
        start += done
