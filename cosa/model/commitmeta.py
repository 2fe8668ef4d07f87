"""`commitmeta.json`: a commit's own metadata as JSON, for those who lack the commit.

Upstream writes every key of the commit's metadata dictionary under its own
name; tools read `rpmostree.rpmdb.pkglist` ([[name, epoch, version, release,
arch]]), `version`, `ostree.linux` and `coreos-assembler.*` from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cosa.core import fs
from cosa.core.errors import CosaError, Where
from cosa.core.store import Json
from cosa.model import explain
from cosa.model.package import Package

PKGLIST = "rpmostree.rpmdb.pkglist"
_Row = Annotated[list[str], Field(min_length=5, max_length=5)]


class CommitMeta(BaseModel):
    """What is read from the file; all other keys of a commit are kept.

    `packages` are rows of name, epoch, version, release, architecture. `advisories` are
    rpm-ostree's rows: id, kind, severity, packages, details. `synthetic` says that the
    file was made from a container image, not from the commit.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    version: str | None = None
    linux: str | None = Field(None, alias="ostree.linux")
    bootable: bool | None = Field(None, alias="ostree.bootable")
    packages: list[_Row] | None = Field(None, alias=PKGLIST)
    advisories: list[Any] | None = Field(None, alias="rpmostree.advisories")
    stream: str | None = Field(None, alias="fedora-coreos.stream")
    basearch: str | None = Field(None, alias="coreos-assembler.basearch")
    config_gitrev: str | None = Field(None, alias="coreos-assembler.config-gitrev")
    config_dirty: str | None = Field(None, alias="coreos-assembler.config-dirty")
    synthetic: bool | None = None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The metadata in a file, None when there is no such file. Raises `meta/malformed`."""
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as err:
            raise CosaError(
                "meta/malformed", f"not JSON: {err.msg}", Where(str(path), err.lineno, err.colno)
            ) from err
        except (ValidationError, UnicodeDecodeError, RecursionError) as err:
            raise CosaError(
                "meta/malformed", "this is not a commit's metadata", Where(str(path)), why=_why(err)
            ) from err

    @property
    def rpms(self) -> list[Package]:
        """The packages of the commit, as far as it says."""
        return [
            Package(name=row[0], epoch=row[1] or "0", version=row[2], release=row[3], arch=row[4])
            for row in self.packages or ()
        ]


def pkglist(packages: Sequence[Package]) -> list[Json]:
    """The package list as commits carry it, sorted."""
    rows = sorted((p.name, p.epoch, p.version, p.release, p.arch) for p in packages)
    return [list(row) for row in rows]


def write(path: Path, metadata: Mapping[str, Json]) -> None:
    """Write the file, read-only for all."""
    fs.atomic_write(path, json.dumps(metadata, indent=4, sort_keys=True) + "\n", 0o444)


def _why(err: Exception) -> str:
    return explain.in_words(err) if isinstance(err, ValidationError) else str(err)
