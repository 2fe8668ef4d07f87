"""Answers about the build directory: lists and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cosa.core import fs, store
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.pipeline.workdir import Workdir


def listing(workdir: Workdir) -> list[str]:
    """A block of lines per build, newest first: id, time, architectures, configuration."""
    workdir.need_init()
    found = workdir.read_builds()
    if not found.builds:
        return [f"no builds in {workdir.builds} yet: run `cosa build`"]
    latest = ""
    link = workdir.builds / "latest"
    if link.is_symlink():
        latest = str(link.readlink())
    lines = []
    for entry in found.builds:
        lines.append(entry.id + ("  (latest)" if entry.id == latest else ""))
        for arch in entry.arches:
            path = workdir.builds / entry.id / arch / "meta.json"
            if not path.is_file():
                lines.append(f"    {arch}: not here")
                continue
            meta = workdir.meta(entry.id, arch)
            images = ", ".join(sorted(meta.images))
            lines.append(f"    {arch}: {meta.ostree_timestamp}  {images}")
            rev = meta.to_json().get("coreos-assembler.config-gitrev")
            if rev:
                dirty = meta.to_json().get("coreos-assembler.config-dirty") == "true"
                lines.append(f"    config: {rev}{' (dirty)' if dirty else ''}")
    if found.tags:
        lines.append("tags:")
        lines += [f"    {tag.name}: {tag.target}" for tag in found.tags]
    return lines


def lookup(data: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted path, or None.

    A key that itself has dots (`coreos-assembler.basearch`) is found whole.
    Raises `meta/path` when the path leads through something without keys.
    """
    here: Any = data
    if key in data:
        return data[key]
    for part in key.split("."):
        if here is None:
            return None
        if isinstance(here, list) and part.isdigit():
            here = here[int(part)] if int(part) < len(here) else None
        elif isinstance(here, Mapping):
            here = here.get(part)
        else:
            return None
    return here


def show_meta(
    workdir: Workdir, build: str, arch: str, get: str, values: Sequence[str], *, dump: bool
) -> list[str]:
    """What `cosa meta` prints for --get, --get-value and --dump."""
    data = workdir.meta(build, arch).to_json()
    lines = []
    if dump:
        lines.append(json.dumps(data, indent=4, sort_keys=True))
    if get:
        lines.append(f"{get}={lookup(data, get)}")
    lines += [str(lookup(data, key)) for key in values]
    return lines


def change_meta(workdir: Workdir, changes: Mapping[str, object], build: str, arch: str) -> None:
    """Set keys of a build's metadata under the build directory's lock.

    A dotted key descends into objects that exist; a key of the file that has
    dots itself is set whole, as is every `coreos-assembler.` key.
    """
    from cosa.model.meta import Meta

    folder = workdir.build(build, arch)
    with store.lock(folder / ".meta.json.lock", "a change of meta.json", wait=True):
        fs.sweep_files(folder)
        data = Meta.read(folder / "meta.json").to_json()
        for key, value in changes.items():
            _set(data, key, value, str(folder / "meta.json"))
        Meta.of(data).write(folder / "meta.json")


def _set(data: dict[str, Any], key: str, value: object, name: str) -> None:
    first = key.split(".", 1)[0]
    if key in data or "." not in key or first not in data:
        data[key] = value
        return
    here: Any = data
    *parts, last = key.split(".")
    for part in parts:
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise CosaError(
                "meta/path", f"'{key}' leads through '{part}', which has no keys", Where(name),
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
    here[last] = value
