"""Lockfiles: which version of each package a build may take, and which it took.

The format is rpm-ostree's (`rust/src/lockfile.rs` there), JSON or YAML:

    packages: {NAME: {evra: "1:1.2-3.x86_64", digest: "sha256:...", metadata: {...}}}
    metadata: {generated: "2026-11-22T17:00:00Z", rpmmd_repos: {ID: {generated: ...}}}

A package is locked by `evra`, or by `evr` for every architecture. Unknown fields
are errors there and here, but a package's `metadata` is a free map. What cosa adds for a
reproducible download (`size`, `location`, `repo`, beside upstream's `sourcerpm`, the name of
the source package) lives in
that map, so a generated lockfile is one file that upstream's tools read as well.

Overrides use the same map to say why they exist: see `lockfile_overrides`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_validator,
)

from cosa.core import clock, fs
from cosa.core.errors import CosaError, Where
from cosa.model import document
from cosa.model.document import Document
from cosa.model.package import Package, join_evr, split_evr, split_evra

type Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LockedPackage(_Strict):
    """The lock on one package name."""

    evra: str | None = None
    evr: str | None = None
    digest: Digest | None = None
    metadata: dict[str, JsonValue] | None = None
    _place: tuple[Document, str] | None = PrivateAttr(default=None)

    @property
    def where(self) -> Where | None:
        """Where the lock is written; None for one that was not read from a file."""
        return self._place[0].where_key("packages", self._place[1]) if self._place else None

    def placed(self, doc: Document, name: str) -> None:
        """Note where the lock was read."""
        self._place = (doc, name)

    def without_arch(self) -> LockedPackage:
        """The same lock for every architecture; `noarch` packages stay as they are.

        Digests differ between architectures, so the lock then has none.
        """
        if self.wanted_arch in (None, "noarch"):
            return self
        return LockedPackage(evr=self.wanted_evr)

    @field_validator("evra")
    @classmethod
    def _whole(cls, value: str | None) -> str | None:
        if value is not None:
            split_evra(value)
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.evra is None) == (self.evr is None):
            raise ValueError("a locked package needs either 'evra' or 'evr'")
        return self

    @property
    def wanted_evr(self) -> str:
        """Epoch, version and release that satisfy the lock, epoch 0 left out."""
        if self.evra is not None:
            return join_evr(*split_evra(self.evra)[:3])
        epoch, version, release = split_evr(self.evr or "")
        return join_evr(epoch, version, release)

    @property
    def wanted_arch(self) -> str | None:
        """The only architecture that satisfies the lock; None for any."""
        return split_evra(self.evra)[3] if self.evra is not None else None

    @property
    def kind(self) -> str:
        """`pin`, `fast-track`, or empty when this is no override."""
        value = (self.metadata or {}).get("type")
        return value if isinstance(value, str) else ""

    def fits(self, evr: str, arch: str) -> bool:
        """Whether a package of the locked name with this EVR and architecture may be taken."""
        return evr == self.wanted_evr and self.wanted_arch in (None, arch)


class RepoStamp(_Strict):
    """When a repository's metadata was made."""

    generated: AwareDatetime


class LockfileMetadata(_Strict):
    """When a lockfile was written and from which repositories."""

    generated: AwareDatetime | None = None
    rpmmd_repos: dict[str, RepoStamp] | None = None


class Lockfile(_Strict):
    """A lockfile, read or to be written."""

    packages: dict[str, LockedPackage] | None = None
    source_packages: dict[str, str] | None = Field(default=None, alias="source-packages")
    metadata: LockfileMetadata | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.packages is None and self.source_packages is None:
            raise ValueError("a lockfile needs 'packages' or 'source-packages'")
        return self

    @property
    def locked(self) -> Mapping[str, LockedPackage]:
        """The locks by package name."""
        return self.packages or {}

    @property
    def generated_at(self) -> int | None:
        """When the lockfile was made, seconds since 1970; its day is the Y part of a version."""
        stamp = self.metadata.generated if self.metadata else None
        return int(stamp.timestamp()) if stamp else None

    def to_json(self) -> str:
        """The text upstream's tools and `load_lockfile` read: packages by name, then metadata."""
        plain = self.model_dump(by_alias=True, exclude_none=True)
        if self.packages is not None:
            plain["packages"] = {name: plain["packages"][name] for name in sorted(self.packages)}
        return json.dumps(plain, indent=2, default=_stamp) + "\n"

    def write(self, path: Path) -> None:
        """Write the file, as JSON, atomically."""
        fs.atomic_write(path, self.to_json())


def load_lockfile(path: Path) -> Lockfile:
    """Read a lockfile, JSON or YAML by its name.

    Raises `lockfile/...` with file, line and column of everything that is wrong.
    """
    doc = document.load(path)
    return place(document.validate(Lockfile, doc, "lockfile"), doc)


def place(found: Lockfile, doc: Document) -> Lockfile:
    """The lockfile read from a document, its locks knowing where they stand."""
    for name, entry in found.locked.items():
        entry.placed(doc, name)
    return found


def archless(found: Lockfile) -> Lockfile:
    """A generated lockfile as a lock for any architecture (upstream's autolock)."""
    packages = {name: entry.without_arch() for name, entry in found.locked.items()}
    return Lockfile(packages=packages, metadata=found.metadata)


def merge(lockfiles: Iterable[Lockfile]) -> Lockfile:
    """One lockfile of several: a later one wins per package name; only packages merge."""
    packages: dict[str, LockedPackage] = {}
    sources: dict[str, str] = {}
    metadata: LockfileMetadata | None = None
    for lockfile in lockfiles:
        packages |= lockfile.packages or {}
        sources |= lockfile.source_packages or {}
        metadata = metadata or lockfile.metadata
    return Lockfile(packages=packages, source_packages=sources or None, metadata=metadata)


def from_packages(
    packages: Sequence[Package], generated: int, repos: Mapping[str, int]
) -> Lockfile:
    """The lockfile of a resolved set.

    `generated` is seconds since 1970, `repos` maps repository ids to the time
    of their metadata. The format knows one entry per name: a name present for several
    architectures is locked by its EVR, the files' digests then stand in its metadata. Raises
    `lockfile/multilib` when such a name has different versions.
    """
    by_name: dict[str, list[Package]] = {}
    for package in sorted(packages):
        by_name.setdefault(package.name, []).append(package)
    return Lockfile(
        packages={name: _entry(name, group) for name, group in by_name.items()},
        metadata=LockfileMetadata(
            generated=_utc(generated),
            rpmmd_repos={name: RepoStamp(generated=_utc(repos[name])) for name in sorted(repos)},
        ),
    )


def _entry(name: str, group: Sequence[Package]) -> LockedPackage:
    if len(group) == 1:
        return LockedPackage(
            evra=group[0].evra, digest=group[0].digest or None, metadata=_extra(group[0]) or None
        )
    if len({package.evr for package in group}) > 1:
        raise CosaError(
            "lockfile/multilib",
            f"{name} is needed in different versions: {', '.join(p.evra for p in group)}",
            why="a lockfile holds one version per package name",
            fix="make the repositories offer the same version for every architecture",
        )
    arches: dict[str, JsonValue] = {
        package.arch: {"digest": package.digest, **_extra(package)} for package in group
    }
    return LockedPackage(evr=group[0].evr, metadata={"arches": arches})


def _extra(package: Package) -> dict[str, JsonValue]:
    # A file of this machine (overrides/rpm) is known elsewhere by its name only.
    local = package.location.startswith("file://")
    location = package.location.rpartition("/")[2] if local else package.location
    values: dict[str, JsonValue] = {
        "sourcerpm": package.source_name,
        "size": package.size,
        "location": location,
        "repo": package.repo,
    }
    return {key: value for key, value in values.items() if value}


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _stamp(value: object) -> str:
    if isinstance(value, datetime):
        return clock.iso(int(value.timestamp()))
    raise TypeError(f"cannot write {value!r}")
