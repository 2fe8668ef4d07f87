"""Which locks a build obeys, in order of priority: base, overrides, overrides of the arch.

RPMs in overrides/rpm beat all of them; the solver sees to that. Without a base lock a
build may follow another one (autolock): the generated lockfile of any architecture of a
version, reduced to what holds for all of them. This is how upstream's pipelines keep
the architectures of a release alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosa.core import events
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.model.lockfile import Lockfile, archless, load_lockfile
from cosa.model.lockfile_overrides import describe, load_overrides

_SUFFIXES = ("json", "yaml")


@dataclass(frozen=True)
class Locks:
    """The definition's lockfiles."""

    base: Lockfile | None = None
    overrides: tuple[Lockfile, ...] = ()

    @property
    def files(self) -> tuple[Lockfile, ...]:
        """All that exist; a later one wins."""
        return ((self.base,) if self.base else ()) + self.overrides

    def overridden(self) -> list[str]:
        """The overrides in words, for logs."""
        merged = {name: lock for each in self.overrides for name, lock in each.locked.items()}
        return [describe(name, merged[name]) for name in sorted(merged)]


def load(config: Path, arch: str) -> Locks:
    """Read the lockfiles of a definition; every problem of every file at once."""
    problems = Problems()
    base: Lockfile | None = None
    overrides: list[Lockfile] = []
    path = _find(config, f"manifest-lock.{arch}")
    if path:
        with problems.collecting():
            base = load_lockfile(path)
    for stem in ("manifest-lock.overrides", f"manifest-lock.overrides.{arch}"):
        path = _find(config, stem)
        if path:
            with problems.collecting():
                overrides.append(load_overrides(path))
    problems.raise_if_any("the definition's lockfiles are not valid")
    return Locks(base, tuple(overrides))


def base_path(config: Path, arch: str) -> Path:
    """Where the base lock of a definition is, or is to be."""
    return _find(config, f"manifest-lock.{arch}") or config / f"manifest-lock.{arch}.json"


def autolock(builds: Path, locks: Locks, wanted: str, version: str, *, strict: bool) -> Locks:
    """The locks with another build's in place of a base lock that is not there.

    `wanted` is the build to follow; without it the one called `version` is followed if it
    exists (but not when `strict`). Raises `lockfile/autolock` when a wanted one has no lock.
    """
    name = wanted or ("" if strict else version)
    if locks.base is not None or not name:
        return locks
    found = sorted((builds / name).glob("*/manifest-lock.generated.*.json"))
    if found:
        events.note(f"locked to what {name} has ({found[0].parent.name})")
        return Locks(archless(load_lockfile(found[0])), locks.overrides)
    if not wanted:
        return locks
    raise CosaError(
        "lockfile/autolock",
        f"there is no lock of build {wanted} to follow",
        why=f"looked for {builds / wanted}/ARCH/manifest-lock.generated.ARCH.json",
        fix="fetch the build with its lockfile, or leave --autolock away",
        exit_class=ExitClass.USAGE,
    )


def _find(config: Path, stem: str) -> Path | None:
    paths = (config / f"{stem}.{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.exists()), None)
