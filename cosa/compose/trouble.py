"""A full disk, whoever noticed: our own code, a library, or a program in the sandbox."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass

# What libc, SQLite and what is built on them say, whatever the program.
_SAYINGS = ("No space left on device", "Disk quota exceeded", "database or disk is full")


@contextmanager
def full_disk(*places: Path) -> Iterator[None]:
    """Turn every sign of a full disk into one error, `env/disk-full`; anything else passes."""
    try:
        yield
    except OSError as err:
        if err.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise _full(places, str(err)) from err
    except CosaError as err:
        said = f"{err.what}\n{err.why}"
        if err.code == "env/disk-full" or not any(saying in said for saying in _SAYINGS):
            raise
        raise _full(places, said.strip()) from err


def _full(places: tuple[Path, ...], why: str) -> CosaError:
    place = min(places, key=_free)
    return CosaError(
        "env/disk-full",
        f"the disk is full: {fs.mib(_free(place))} are free below {place}",
        why=why,
        fix="free some space, or choose another place with --workdir; earlier builds are intact "
        "and the next run goes on from the cache",
        exit_class=ExitClass.ENVIRONMENT,
    )


def _free(place: Path) -> int:
    """Bytes left where a folder is, or would be."""
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = os.statvfs(place)
    return usage.f_bavail * usage.f_frsize
