"""`meta.json`: what a build is and which files it has.

Upstream's format (its schema is `v1.json`). Reading is lenient: keys other tools add
(cloud image ids, koji, ...) are kept as they are, known to us or not. `meta_keys` says
what all known keys hold. A model is never edited: `merge` makes the next one, refusing
to mix two different builds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cosa.core import clock, fs
from cosa.core.errors import CosaError, Where
from cosa.model import explain

STAMP = "coreos-assembler.meta-stamp"
DELAYED = "coreos-assembler.delayed-meta-merge"
# Two files that differ in one of these describe different builds.
IDENTITY = (
    "ostree-commit",
    "ostree-content-checksum",
    "coreos-assembler.image-config-checksum",
)
CONFIG_GIT = "coreos-assembler.container-config-git"


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)


class Artefact(_Open):
    """A file of the build; `path` is relative to meta.json, sizes are bytes."""

    path: str
    sha256: str
    size: int | None = None
    uncompressed_sha256: str | None = Field(None, alias="uncompressed-sha256")
    uncompressed_size: int | None = Field(None, alias="uncompressed-size")
    skip_compression: bool | None = Field(None, alias="skip-compression")


class Meta(_Open):
    """The metadata of one build for one architecture."""

    buildid: str
    name: str
    ostree_commit: str = Field(alias="ostree-commit")
    ostree_timestamp: str = Field(alias="ostree-timestamp")
    ostree_version: str = Field(alias="ostree-version")
    summary: str | None = None
    ref: str | None = None
    images: dict[str, Artefact] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The metadata in a file. Raises `meta/malformed`."""
        return cls.parse(path.read_bytes(), str(path))

    @classmethod
    def parse(cls, text: str | bytes, name: str) -> Self:
        """The metadata in a text; `name` is said in errors."""
        try:
            return cls.model_validate(json.loads(text))
        except json.JSONDecodeError as err:
            raise CosaError(
                "meta/malformed", f"not JSON: {err.msg}", Where(name, err.lineno, err.colno)
            ) from err
        except ValidationError as err:
            raise CosaError(
                "meta/malformed",
                "this is not a build's metadata",
                Where(name),
                why=explain.in_words(err),
            ) from err
        except RecursionError as err:
            raise CosaError("meta/malformed", "nested too deeply", Where(name)) from err
        except ValueError as err:  # not UTF-8, or a number of thousands of digits
            raise CosaError(
                "meta/malformed", "this cannot be read", Where(name), why=str(err)
            ) from err

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The metadata in a mapping keyed as the file is."""
        return cls.parse(json.dumps(data), "meta.json")

    def to_json(self) -> dict[str, Any]:
        """What the file holds: every key that was set, unknown ones included."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    def write(self, path: Path) -> None:
        """Replace the file as one instant: indent 4, mode 0644, a new stamp."""
        # A clock that stands still, or goes back, must not make two states look like one.
        data = self.to_json() | {STAMP: max(clock.now_ns(), int(self.stamp) + 1)}
        fs.atomic_write(path, json.dumps(data, indent=4) + "\n", 0o644)

    @property
    def stamp(self) -> float:
        """When the metadata was written, nanoseconds since 1970; 0 when it does not say."""
        found = (self.model_extra or {}).get(STAMP)
        return found if isinstance(found, int | float) else 0

    @property
    def is_delayed(self) -> bool:
        """Whether artefacts are to be noted in files of their own until `cosa meta --finalize`."""
        return (self.model_extra or {}).get(DELAYED) is True

    def merge(self, other: Self) -> Self:
        """What a file holding `self` becomes when `other` is written to it.

        `other` was read from that very state (equal stamps) and changed since: it is taken
        whole, so that keys can be removed. Else both have something new: objects are joined
        key by key, and where they disagree the newer stamp wins (`other` without stamps).
        Raises `meta/conflict` when they describe different builds.
        """
        mine, theirs = self.to_json(), other.to_json()
        for key in IDENTITY:
            _agree(key, mine.get(key), theirs.get(key))
        for side in (mine, theirs):
            if not isinstance(side.get(CONFIG_GIT, {}), dict):
                raise CosaError("meta/malformed", f"'{CONFIG_GIT}' is not an object")
        _agree(
            f"{CONFIG_GIT}.commit",
            mine.get(CONFIG_GIT, {}).get("commit"),
            theirs.get(CONFIG_GIT, {}).get("commit"),
        )
        if self.stamp and self.stamp == other.stamp:
            return other
        older, newer = (theirs, mine) if self.stamp > other.stamp else (mine, theirs)
        return type(self).of(_merged(older, newer))


def _agree(key: str, mine: object, theirs: object) -> None:
    if mine is not None and theirs is not None and mine != theirs:
        raise CosaError(
            "meta/conflict",
            f"two different builds cannot be merged: their '{key}' differs",
            why=f"{mine} against {theirs}",
            fix="name the build the change was made for, or build anew",
        )


def _merged(mine: Any, theirs: Any) -> Any:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return {
            key: _merged(mine[key], theirs[key]) if key in mine and key in theirs
            else theirs.get(key, mine.get(key))
            for key in [*mine, *(k for k in theirs if k not in mine)]
        }  # fmt: skip
    return theirs
