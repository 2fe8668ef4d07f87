"""A treefile and everything it includes, as one."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from cosa.core.errors import CosaError, Problems, Where
from cosa.model import treefile_condition as conditions
from cosa.model.treefile_keys import Rojig, Variable
from cosa.model.treefile_merge import merge
from cosa.model.treefile_read import Layer, ReadFile, read, read_inline

MAX_DEPTH = 50
# Where `${variable}` is replaced: in these, in rojig's words, and in the maps' own strings.
_SUBSTITUTED = ("ref", "automatic_version_prefix", "mutate_os_release", "platform_module")
_SUBSTITUTED_MAPS = ("metadata", "add_commit_metadata")
_SUBSTITUTED_ROJIG = ("name", "summary", "description")


@dataclass
class Flat:
    """The merged treefile, what it was read from, and the variables as they ended."""

    layer: Layer
    variables: dict[str, Variable]
    files: list[Path]


@dataclass
class _Walk:
    """What one flattening knows across files."""

    basearch: str
    problems: Problems
    variables: conditions.Variables = field(default_factory=conditions.Variables)
    files: list[Path] = field(default_factory=list)
    seen: dict[tuple[int, int], Path] = field(default_factory=dict)
    open: list[tuple[int, int]] = field(default_factory=list)


def flatten(path: Path, basearch: str) -> Flat:
    """Read `path` and its includes; raises one `CosaError` with everything that is wrong."""
    walk = _Walk(basearch, Problems())
    layer = _flatten(walk, path, None, 0)
    if layer:
        _substitute(walk, layer)
        _check_whole(walk, layer)
    walk.problems.raise_if_any(f"the treefile {path} is not valid")
    assert layer is not None
    return Flat(layer, walk.variables.values, walk.files)


def _flatten(walk: _Walk, path: Path, where: Where | None, depth: int) -> Layer | None:
    """One file with what it includes; `where` is the place that asked for it."""
    if not _enter(walk, path, where):
        return None
    try:
        file = read(path, walk.basearch, walk.problems)
    except CosaError as err:
        walk.problems.absorb(err)
        file = None
    if file is None:
        walk.variables.complete = False
        walk.open.pop()
        return None
    walk.variables.values = file.variables | walk.variables.values
    walk.variables.dropped |= file.dropped
    includes = _includes(walk, file)
    if includes and depth == MAX_DEPTH:
        what = f"includes are nested deeper than {MAX_DEPTH} levels"
        walk.problems.add("treefile/too-deep", what, includes[0][1])
        includes = []
    for name, place in includes:
        included = _flatten(walk, file.folder / name, place, depth + 1)
        if included:
            merge(file.layer, included)
    walk.open.pop()
    return file.layer


def _enter(walk: _Walk, path: Path, where: Where | None) -> bool:
    """Note that a file is being read; False when it is absent or was read before."""
    what = ""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            what = f"{path} is not a file"
    except FileNotFoundError:
        what = f"the file {path} does not exist"
    except (OSError, ValueError) as err:  # ValueError: a NUL in the name
        what = f"the file {str(path)!r} cannot be read: {err}"
    if what:
        walk.variables.complete = False
        code = "treefile/missing-include" if where else "treefile/missing"
        fix = "paths are relative to the file that includes" if where else ""
        walk.problems.add(code, what, where or Where(str(path)), fix=fix)
        return False
    ident = (info.st_dev, info.st_ino)
    if ident in walk.open:
        chain = [str(walk.seen[one]) for one in walk.open[walk.open.index(ident) :]]
        why = " includes ".join([*chain, str(path)])
        what = f"{path} includes itself"
        walk.problems.add("treefile/include-cycle", what, where, why=why)
        return False
    if ident in walk.seen:
        what = f"{path} is included a second time"
        fix = "a treefile may be included once, whichever way; remove one of the includes"
        if walk.seen[ident] != path:
            fix = f"{walk.seen[ident]} is the same file; {fix}"
        walk.problems.add("treefile/include-twice", what, where, fix=fix)
        return False
    walk.seen[ident] = path
    walk.open.append(ident)
    walk.files.append(path)
    return True


def _includes(walk: _Walk, file: ReadFile) -> list[tuple[str, Where]]:
    """The paths a file includes, in order; treefiles written in place are merged at once."""
    spot = file.spot
    result = _paths(file.include, file, "include")
    result += _paths(file.arch_include.get(walk.basearch), file, "arch-include", walk.basearch)
    for index, item in enumerate(file.conditional_include):
        texts = (item.condition,) if isinstance(item.condition, str) else item.condition
        matches = True
        for number, text in enumerate(texts):
            single = isinstance(item.condition, str)
            where = spot.where("conditional-include", index, "if", *(() if single else (number,)))
            condition = conditions.parse(text, where, walk.problems)
            # Every condition is looked at, so that all mistakes come out.
            matches &= condition is not None and conditions.holds(
                condition, walk.variables, where, walk.problems
            )
        if isinstance(item.include, dict):
            inline = read_inline(item.include, file, index, walk.problems, used=matches)
            if matches:
                merge(file.layer, inline)
        elif matches:
            result += _paths(item.include, file, "conditional-include", index, "include")
    return result


def _paths(
    include: str | tuple[str, ...] | None, file: ReadFile, *keys: str | int
) -> list[tuple[str, Where]]:
    if include is None:
        return []
    if isinstance(include, str):
        return [(include, file.spot.where(*keys))]
    return [(name, file.spot.where(*keys, index)) for index, name in enumerate(include)]


def _substitute(walk: _Walk, layer: Layer) -> None:
    values = layer.values

    def done(text: str, *origin: str) -> str:
        where = layer.origins.get(origin)
        return conditions.substitute(text, walk.variables, where, walk.problems)

    for name in _SUBSTITUTED:
        if name in values:
            values[name] = done(values[name], name)
    for name in _SUBSTITUTED_MAPS:
        if name in values:
            values[name] = {
                key: done(value, name, key) if isinstance(value, str) else value
                for key, value in values[name].items()
            }
    rojig = values.get("rojig")
    if isinstance(rojig, Rojig):
        words = {
            part: done(text, "rojig", part)
            for part in _SUBSTITUTED_ROJIG
            if (text := getattr(rojig, part)) is not None
        }
        values["rojig"] = rojig.model_copy(update=words)


def _check_whole(walk: _Walk, layer: Layer) -> None:
    """What only shows when all is merged."""
    values = layer.values
    if values.get("units") and values.get("machineid_compat") is False:
        walk.problems.add(
            "treefile/units",
            "'units' does not work with machineid-compat false",
            layer.origins.get(("units",)),
            fix="enable units by a preset file in a package or overlay",
        )
    checks = {
        key: values[key].type if key in values else "previous"
        for key in ("check_passwd", "check_groups")
    }
    if values.get("preserve_passwd", True) and set(checks.values()) == {"file", "previous"}:
        walk.problems.add(
            "treefile/mixed-checks",
            f"check-passwd is of type {checks['check_passwd']},"
            f" check-groups of type {checks['check_groups']}",
            layer.origins.get(("check_groups",)) or layer.origins.get(("check_passwd",)),
            why="ids come from files or from the previous commit, not from both",
            fix="give both the same type; previous is the default",
        )
