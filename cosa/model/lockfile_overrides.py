"""`manifest-lock.overrides[.ARCH].yaml`: locks set by hand, each with its reason.

    packages:
      podman:
        evr: 5:5.5-1
        metadata: {type: pin, reason: https://...}

`pin` holds a package at a version until somebody removes the entry, so it must say why
(`reason`, an address). `fast-track` takes a version before its repository has it for
everybody; it should name the update (`bodhi`) that will make it superfluous
(fedora-coreos-config).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from cosa.core import events
from cosa.core.errors import Problems
from cosa.model import document
from cosa.model.document import Document
from cosa.model.lockfile import LockedPackage, Lockfile, LockfileMetadata, place

type Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$")]


class Reason(BaseModel):
    """Why an override exists; other keys are free."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Literal["pin", "fast-track"]
    reason: Address | None = None
    bodhi: Address | None = None

    @model_validator(mode="after")
    def _says_why(self) -> Reason:
        if self.type == "pin" and self.reason is None:
            raise ValueError("a pin must say why: 'reason' with an address is missing")
        return self


class Override(BaseModel):
    """The lock on one package name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evra: str | None = None
    evr: str | None = None
    digest: str | None = None
    metadata: Reason


class Overrides(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: dict[str, Override] = Field(default_factory=dict)
    metadata: LockfileMetadata | None = None


def load_overrides(path: Path) -> Lockfile:
    """Read a file of overrides; an empty one has none.

    Raises `lockfile/...` with file, line and column of everything that is wrong; warns of
    a fast-track without `bodhi`.
    """
    doc = document.load(path)
    value = doc.value
    if value is None or value in ({}, {"packages": None}):
        return Lockfile(packages={})
    problems = Problems()
    plain: Lockfile | None = None
    with problems.collecting():
        plain = document.validate(Lockfile, doc, "lockfile")
    if plain:
        with problems.collecting():
            _warn(document.validate(Overrides, doc, "lockfile"), doc)
    problems.raise_if_any(f"{path} is not valid")
    assert plain is not None
    return place(plain, doc)


def describe(name: str, lock: LockedPackage) -> str:
    """An override in words: `podman locked to 5:5.5-1 (pin, https://...)`."""
    about: dict[str, JsonValue] = lock.metadata or {}
    why = [str(about[key]) for key in ("type", "reason", "bodhi") if about.get(key)]
    return f"{name} locked to {lock.evra or lock.evr}" + (f" ({', '.join(why)})" if why else "")


def _warn(found: Overrides, doc: Document) -> None:
    for name, entry in found.packages.items():
        if entry.metadata.type == "fast-track" and entry.metadata.bodhi is None:
            events.warn(
                f"{doc.where_key('packages', name)}: the fast-track of {name} names no update"
                " (bodhi), so nobody sees when it can go"
            )
