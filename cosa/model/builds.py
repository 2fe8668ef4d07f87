"""`builds/builds.json`: which builds there are, newest first.

The format is upstream's (`schema-version` 1.0.0). Keys we do not know, such as
`policy-cleanup`, belong to other tools and survive reading and writing.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.model import explain


class _Open(BaseModel):
    """Frozen, by file keys, unknown keys kept."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Every key that was set, unknown ones included."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Build(_Open):
    """One build: its id and the architectures it was made for."""

    id: str
    arches: list[str]


class Tag(_Open):
    """A name for a build; `created` is when it was last pointed at `target`."""

    name: str
    created: str = ""
    target: str
    description: str | None = None


class Builds(_Open):
    """The whole list."""

    schema_version: str = Field("1.0.0", alias="schema-version")
    builds: list[Build] = []
    tags: list[Tag] = []
    timestamp: str = ""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The list in a file; empty when the file is absent. Raises `builds/malformed`."""
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return cls()
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str | bytes, name: str) -> Self:
        """The list in a text; `name` is said in errors."""
        try:
            made = cls.model_validate(json.loads(text))
        except json.JSONDecodeError as err:
            raise CosaError(
                "builds/malformed", f"not JSON: {err.msg}", Where(name, err.lineno, err.colno)
            ) from err
        except (ValidationError, ValueError, RecursionError) as err:
            raise CosaError(
                "builds/malformed", "this is not a list of builds", Where(name), why=_why(err)
            ) from err
        if made.schema_version.split(".")[0] != "1":
            raise CosaError(
                "builds/schema", f"cannot read schema version {made.schema_version}", Where(name),
                why="only major version 1 is known",
            )  # fmt: skip
        return made

    def with_build(self, build: str, arch: str) -> Self:
        """The list with a build added in front, or an architecture added to one there."""
        others = list(self.builds)
        for index, entry in enumerate(others):
            if entry.id == build:
                if arch not in entry.arches:
                    arches = [*entry.arches, arch]
                    others[index] = entry.model_copy(update={"arches": arches})
                break
        else:
            others.insert(0, Build(id=build, arches=[arch]))
        return self.model_copy(update={"builds": others, "timestamp": clock.iso(clock.now())})

    def without(self, names: Collection[str]) -> Self:
        """The list without some builds."""
        kept = [entry for entry in self.builds if entry.id not in names]
        return self.model_copy(update={"builds": kept, "timestamp": clock.iso(clock.now())})

    def with_tag(self, name: str, target: str, description: str = "") -> Self:
        """The list with a tag pointing at a build; other keys the tag had are kept.

        Raises `builds/unknown` when the build is not listed.
        """
        if not self.has(target):
            raise CosaError(
                "builds/unknown",
                f"there is no build {target} to tag",
                fix=f"the newest builds are: {', '.join(b.id for b in self.builds[:5]) or 'none'}",
                exit_class=ExitClass.USAGE,
            )
        when = clock.iso(clock.now())
        changes = {"target": target, "created": when}
        if description:
            changes["description"] = description
        known = next((tag for tag in self.tags if tag.name == name), None)
        fresh = Tag.model_validate((known.to_json() if known else {}) | changes | {"name": name})
        tags = [fresh if tag is known else tag for tag in self.tags] + ([] if known else [fresh])
        return self.model_copy(update={"tags": tags, "timestamp": when})

    def without_tag(self, name: str) -> Self:
        """The list without a tag; unchanged when there is none of that name."""
        kept = [tag for tag in self.tags if tag.name != name]
        if len(kept) == len(self.tags):
            return self
        return self.model_copy(update={"tags": kept, "timestamp": clock.iso(clock.now())})

    def has(self, build: str, arch: str = "") -> bool:
        """Whether a build is listed (for an architecture)."""
        return any(b.id == build and (not arch or arch in b.arches) for b in self.builds)

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        always = {
            "schema-version": self.schema_version, "builds": [], "timestamp": self.timestamp,
        }  # fmt: skip
        return always | super().to_json()

    def write(self, path: Path) -> None:
        """Replace the file as one instant."""
        fs.atomic_write(path, json.dumps(self.to_json(), indent=4) + "\n")


def _why(err: Exception) -> str:
    return explain.in_words(err) if isinstance(err, ValidationError) else str(err)
