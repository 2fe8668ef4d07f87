"""Reading and changing a build's meta.json key by key, as `cosa meta` does."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.core import clock, events
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.model.meta import DELAYED, Meta
from cosa.pipeline import metamerge
from cosa.pipeline.workdir import Workdir

_OURS = "coreos-assembler."


@dataclass(frozen=True)
class Target:
    """A build's folder and how to treat its meta.json.

    `artifact` names the file a delayed change goes into. Without `validate` neither
    what is read nor what is written is held against the schema.
    """

    folder: Path
    artifact: str = ""
    validate: bool = True

    @classmethod
    def of(
        cls, workdir: Workdir, build: str, arch: str, *, artifact: str = "", validate: bool = True
    ) -> Target:
        """That of a build. Raises `build/unknown`, `usage/artefact`."""
        folder = workdir.build(build, arch)
        if artifact:
            metamerge.artefact_file(folder, artifact)
        return cls(folder, artifact, validate)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / metamerge.FILE

    def read(self) -> dict[str, Any]:
        """The file's content. Raises `meta/malformed`."""
        return _read(self.path, validate=self.validate)


def _read(path: Path, *, validate: bool) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise CosaError(
            "usage/no-file", f"there is no file {path}", exit_class=ExitClass.USAGE
        ) from None
    except (ValueError, RecursionError) as err:
        raise CosaError("meta/malformed", f"not JSON: {err}", Where(str(path))) from err
    if not isinstance(data, dict):
        raise CosaError("meta/malformed", "this is not a build's metadata", Where(str(path)))
    if validate:
        Meta.parse(json.dumps(data), str(path))
    return data


def path_of(key: str) -> list[str]:
    """A dotted key as the names to go through.

    A `coreos-assembler.` key has dots itself: what follows is never descended into.
    """
    return [key] if key.startswith(_OURS) else key.split(".")


def lookup(data: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted path, or None. A key that itself has dots is found whole."""
    if key in data:
        return data[key]
    here: Any = data
    for part in path_of(key):
        if isinstance(here, list) and part.isdigit():
            here = here[int(part)] if int(part) < len(here) else None
        else:
            here = here.get(part) if isinstance(here, Mapping) else None
        if here is None:
            return None
    return here


def change(target: Target, changes: Mapping[str, object]) -> Path:
    """Set keys, dotted ones inside objects that exist; the file that was written.

    Raises `meta/path`, `meta/invalid` when the outcome would not be valid metadata.
    """
    # Read and written under one lock: two changes at once are both kept.
    with metamerge.locked(target.folder):
        before = target.read()
        data = copy.deepcopy(before)
        for key, value in changes.items():
            _set(data, key, value, str(target.path))
        if target.validate:
            metamerge.check(data, before, str(target.path))
        written = _place(target, before)
        Meta.of(data).write(written)
        return written


def merge(target: Target, other: Path) -> Path:
    """Merge a file into the metadata by the rules of `Meta.merge`; the file that was written.

    The file may hold only some keys. Raises `meta/conflict`, `meta/malformed`, `meta/invalid`.
    """
    part = _read(other, validate=False)
    data = target.read()
    needed = ("buildid", "name", "ostree-commit", "ostree-timestamp", "ostree-version")
    whole = Meta.of({key: data[key] for key in needed if key in data} | part)
    name = target.artifact or str(clock.now_ns())
    return metamerge.save(target.folder, whole, name, validate=target.validate)


def finalize(target: Target, *, keep: bool) -> list[str]:
    """Merge every meta.ARTIFACT.json; their names. Without delayed merging, nothing is done."""
    if target.read().get(DELAYED) is not True:
        events.note(f"{DELAYED} is not set: there is nothing to merge")
        return []
    return metamerge.finalize(target.folder, keep=keep, validate=target.validate)


def _place(target: Target, before: Mapping[str, Any]) -> Path:
    if before.get(DELAYED) is not True:
        return target.path
    return metamerge.artefact_file(target.folder, target.artifact or str(clock.now_ns()))


def _set(data: dict[str, Any], key: str, value: object, name: str) -> None:
    parts = path_of(key)
    if key in data or parts[0] not in data:
        data[key] = value
        return
    here: Any = data
    *parents, last = parts
    for part in parents:
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise CosaError(
                "meta/path", f"'{key}' leads through '{part}', which has no keys", Where(name),
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
    here[last] = value
