"""Copies of disk images that share or skip what they can."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

_FICLONE = 0x40049409


def sparse_copy(source: Path, out: Path) -> None:
    """Copy a file: blocks shared where the file system can, else data only, not holes."""
    with source.open("rb") as src, out.open("wb") as dst:
        size = os.fstat(src.fileno()).st_size
        try:
            fcntl.ioctl(dst.fileno(), _FICLONE, src.fileno())
            return
        except OSError as err:
            if err.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
                raise
        os.ftruncate(dst.fileno(), size)
        position = 0
        while position < size:
            try:
                start = os.lseek(src.fileno(), position, os.SEEK_DATA)
            except OSError as err:
                if err.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                raise
            position = os.lseek(src.fileno(), start, os.SEEK_HOLE)
            _copy_range(src.fileno(), dst.fileno(), start, position)


def _copy_range(src: int, dst: int, start: int, end: int) -> None:
    while start < end:
        done = os.copy_file_range(src, dst, end - start, start, start)
        if not done:
            raise OSError(errno.EIO, "the file shrank while it was copied")
        start += done
