"""Troubles of the machine, said once: too few rights, or a full disk, whoever noticed it."""

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


# Up to nobody's number.
_IDS = 65535


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


def need_ids(uid_map: Path = Path("/proc/self/uid_map")) -> None:
    """Refuse to start where files cannot be given to the users of the tree.

    Root of a user namespace is root enough. Raises `env/not-root` or `env/few-ids`.
    """
    fix = (
        "run it through bin/cosa, for which podman without root is enough, or as root of a user "
        "namespace: unshare --map-root-user --map-auto --mount cosa ..."
    )
    if os.geteuid() != 0:
        raise CosaError(
            "env/not-root",
            "composing needs root, if only of a user namespace",
            why="files of the tree get owners of their own, and programs of the tree run in it",
            fix=fix,
            exit_class=ExitClass.ENVIRONMENT,
        )
    known = sum(int(line.split()[2]) for line in uid_map.read_text().splitlines())
    if known < _IDS:
        raise CosaError(
            "env/few-ids",
            f"only {known} user ids are mapped here, {_IDS} are needed",
            why="files of the tree could not be given to their owners",
            fix=f"give the user a range in /etc/subuid and /etc/subgid, and {fix}",
            exit_class=ExitClass.ENVIRONMENT,
        )


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
