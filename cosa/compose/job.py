"""What a compose is asked for, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cosa.core.store import Json
from cosa.model.package import Package
from cosa.model.treefile import Treefile


@dataclass(frozen=True)
class ComposeJob:
    """What to compose, from what, and where.

    `rpms` maps NEVRA to a verified file. `cache` and `scratch` are on one file
    system. `epoch` is the commit's time, seconds since 1970. `target_repo` is
    made (bare-user) if absent. `extra_layers` maps names to folders laid over
    the packages. `metadata` goes into the commit; `rpmostree.rpmmd-repos` in it
    is a list of {id, timestamp}.
    `engine` is one of `engine.Engine`.
    """

    tree: Treefile
    packages: tuple[Package, ...]
    rpms: Mapping[str, Path]
    config: Path
    overrides_rootfs: Path | None
    extra_layers: Mapping[str, Path]
    cache: Path
    scratch: Path
    target_repo: Path
    version: str
    epoch: int
    metadata: Mapping[str, Json] = field(default_factory=dict)
    parent: str | None = None
    engine: str = "native"


@dataclass(frozen=True)
class Commit:
    """A finished commit. `stats` are counts as composejson names them; `kernel` may be empty."""

    checksum: str
    ref: str
    version: str
    timestamp: int
    content_checksum: str
    stats: Mapping[str, int]
    kernel: str
