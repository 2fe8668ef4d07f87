"""What changed between two builds: packages and advisories, in the shape rpm-ostree writes.

A difference of packages is a list of [name, type, {PreviousPackage, NewPackage}], type one
of added, removed, upgraded, downgraded, each package as [name, evr, arch].
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.core.store import Json
from cosa.model.commitmeta import CommitMeta
from cosa.model.lockfile import load_lockfile
from cosa.model.package import Package, split_evra
from cosa.tools import evr


class Kind(enum.IntEnum):
    """What happened to a package, by the numbers rpm-ostree uses."""

    ADDED = 0
    REMOVED = 1
    UPGRADED = 2
    DOWNGRADED = 3


@dataclass(frozen=True)
class Content:
    """The packages of a build, and the advisories that speak of them (None: not known)."""

    packages: Sequence[Package]
    advisories: Sequence[Any] | None


def content_of(folder: Path) -> Content | None:
    """What a build holds, by the files of its folder alone; None when they do not say.

    Asked are commitmeta.json, the commit object, and the generated lockfile, in that order.
    """
    meta = CommitMeta.read(folder / "commitmeta.json")
    raw = folder / "ostree-commit-object"
    if (meta is None or meta.packages is None) and raw.is_file():
        from cosa.tools import ostree

        meta = CommitMeta.model_validate(ostree.metadata_of(raw.read_bytes()))
    if meta is not None and meta.packages is not None:
        return Content(meta.rpms, meta.advisories)
    for path in sorted(folder.glob("manifest-lock.generated.*.json")):
        return Content(locked(path), None)
    return None


def packages(old: Iterable[Package], new: Iterable[Package]) -> list[Json]:
    """The difference of two sets of packages, by name."""
    before, after = _by_name(old), _by_name(new)
    rows: list[Json] = []
    for name in sorted({*before, *after}):
        gone = [p for p in before.get(name, []) if p not in after.get(name, [])]
        come = [p for p in after.get(name, []) if p not in before.get(name, [])]
        rows += [_row(name, *pair) for pair in _pairs(gone, come)]
    return rows


def advisories(old: Sequence[Any] | None, new: Sequence[Any] | None) -> list[Json] | None:
    """The advisories that are new, None unless both builds have data of them."""
    if old is None or new is None:
        return None
    known = {_ident(row) for row in old}
    return [row for row in new if _ident(row) not in known]


def words(rows: Sequence[Json]) -> str:
    """A difference for people: `2 added, 14 upgraded`; empty when there is none."""
    kinds = [Kind(row[1]) for row in rows if isinstance(row, list) and isinstance(row[1], int)]
    counts = ((kind, kinds.count(kind)) for kind in Kind)
    return ", ".join(f"{count} {kind.name.lower()}" for kind, count in counts if count)


def locked(path: Path) -> list[Package]:
    """The packages a lockfile names with architecture."""
    rows = []
    for name, lock in load_lockfile(path).locked.items():
        if lock.evra:
            epoch, version, release, arch = split_evra(lock.evra)
            rows.append(Package(name, epoch, version, release, arch))
    return rows


def _by_name(found: Iterable[Package]) -> dict[str, list[Package]]:
    groups: dict[str, list[Package]] = {}
    for one in found:
        bare = Package(one.name, one.epoch or "0", one.version, one.release, one.arch)
        groups.setdefault(one.name, []).append(bare)
    return groups


def _pairs(gone: list[Package], come: list[Package]) -> list[tuple[Package | None, Package | None]]:
    """Who replaces whom: by architecture where there are several, else whoever is left."""
    pairs: list[tuple[Package | None, Package | None]] = []
    left = sorted(come)
    for old in sorted(gone):
        same = next((new for new in left if new.arch == old.arch), None)
        heir = same or (left[0] if len(gone) == 1 and len(come) == 1 else None)
        if heir:
            left.remove(heir)
        pairs.append((old, heir))
    return pairs + [(None, new) for new in left]


def _row(name: str, old: Package | None, new: Package | None) -> list[Json]:
    parts: dict[str, Json] = {}
    if old:
        parts["PreviousPackage"] = [old.name, old.evr, old.arch]
    if new:
        parts["NewPackage"] = [new.name, new.evr, new.arch]
    kind = Kind.ADDED
    if old:
        kind = Kind.REMOVED
    if old and new:
        kind = Kind.DOWNGRADED if evr.compare(new, old) < 0 else Kind.UPGRADED
    return [name, int(kind), parts]


def _ident(row: Any) -> Any:
    return row[0] if isinstance(row, list) and row else str(row)
