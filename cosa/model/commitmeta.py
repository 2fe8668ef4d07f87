"""`commitmeta.json`: a commit's own metadata as JSON, for those who lack the commit.

Upstream writes every key of the commit's metadata dictionary under its own
name; tools read `rpmostree.rpmdb.pkglist` ([[name, epoch, version, release,
arch]]), `version`, `ostree.linux` and `coreos-assembler.*` from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosa.core import fs
from cosa.core.store import Json
from cosa.model.package import Package

PKGLIST = "rpmostree.rpmdb.pkglist"


def pkglist(packages: Sequence[Package]) -> list[Json]:
    """The package list as commits carry it, sorted."""
    rows = sorted((p.name, p.epoch, p.version, p.release, p.arch) for p in packages)
    return [list(row) for row in rows]


def write(path: Path, metadata: Mapping[str, Json]) -> None:
    """Write the file, read-only for all."""
    fs.atomic_write(path, json.dumps(metadata, indent=4, sort_keys=True) + "\n", 0o444)
