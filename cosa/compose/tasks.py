"""What workers do for a compose; called by name, see workers.py."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from cosa.compose import importer
from cosa.tools import ostree


@functools.cache
def _cache(path: str) -> tuple[ostree.Repo, ostree.ObjectWriter]:
    repo = importer.open_cache(Path(path))
    return repo, ostree.ObjectWriter(repo.path)


@functools.cache
def _writer(path: str) -> ostree.ObjectWriter:
    return ostree.ObjectWriter(Path(path))


def import_rpm(repo: str, rpm: str, digest: str, options: dict[str, bool]) -> dict[str, Any]:
    """Import an RPM into the package cache: its commit and its index."""
    cache, writer = _cache(repo)
    commit, index = importer.import_rpm(
        cache, writer, Path(rpm), digest, importer.Options(**options)
    )
    return {"commit": commit, "index": index.to_json().decode()}


def write_objects(repo: str, files: list[list[Any]]) -> dict[str, Any]:
    """Copy files into a repository as objects.

    `files` are rows of path, mode, uid, gid and xattrs as pairs of hex. The
    checksums come back in that order, with how many objects and bytes were new.
    """
    writer = _writer(repo)
    before = writer.written, writer.bytes
    sums = []
    for path, mode, uid, gid, xattrs in files:
        pairs = tuple((bytes.fromhex(name), bytes.fromhex(value)) for name, value in xattrs)
        sums.append(writer.copy(path, ostree.Meta(mode, uid, gid, xattrs=pairs)))
    return {"sums": sums, "new": writer.written - before[0], "bytes": writer.bytes - before[1]}


def order(rpms: dict[str, str], scratch: str) -> list[str]:
    """The package names in the order in which rpm would install them."""
    from cosa.tools import rpmdb

    return rpmdb.install_order({name: Path(path) for name, path in rpms.items()}, Path(scratch))


def write_rpmdb(rpms: list[str], out: str, scratch: str, epoch: int, backend: str) -> None:
    """Write the RPM database of a tree; see `cosa.tools.rpmdb.write`."""
    from cosa.tools import rpmdb

    paths = [Path(path) for path in rpms]
    rpmdb.write(paths, Path(out), Path(scratch), epoch=epoch, backend=backend)
