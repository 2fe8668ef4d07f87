"""What a build was made from: `cosa-inputs.json` beside its meta.json.

    inputs     area -> input -> value or digest: everything that decides the result
    artefacts  name -> id of the step that made it
    before     the build it was compared with, empty when there was none

The ids are computed from the inputs, so a result is taken over from an earlier
build exactly when all that decides it is equal, and a difference can be named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cosa.core import fs
from cosa.core.store import Json, step_id

FILE = "cosa-inputs.json"
type Inputs = dict[str, dict[str, Json]]


@dataclass(frozen=True)
class Record:
    """The inputs of a build and the step ids of its artefacts."""

    inputs: Inputs = field(default_factory=dict)
    artefacts: Mapping[str, str] = field(default_factory=dict)
    before: str = ""

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The record in a build's folder; None when another tool made the build."""
        try:
            data = json.loads((folder / FILE).read_bytes())
            inputs, artefacts = data["inputs"], data["artefacts"]
            if not all(isinstance(each, dict) for each in (inputs, artefacts, *inputs.values())):
                return None
            return cls(inputs, artefacts, str(data.get("before", "")))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Put the record into a build's folder."""
        data = {
            "inputs": self.inputs, "artefacts": dict(self.artefacts), "before": self.before,
        }  # fmt: skip
        fs.atomic_write(folder / FILE, json.dumps(data, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Made:
    """A finished artefact; `path` is its name in the build's folder, size in bytes."""

    path: str
    sha256: str
    size: int
    step: str


@dataclass(frozen=True)
class Earlier:
    """A build whose files may be taken over: its folder, step ids and file names by artefact."""

    folder: Path
    steps: Mapping[str, str]
    files: Mapping[str, Made]


def digest(area: str, inputs: Mapping[str, Json]) -> str:
    """The id of one area's inputs."""
    return step_id(area, inputs)
