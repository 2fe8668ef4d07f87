"""pydantic's findings in plain words, at their place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from cosa.core.errors import Problem

if TYPE_CHECKING:
    from cosa.model.document import Spot

type Path = tuple[str | int, ...]

# pydantic's error type -> what would have been right
_WANTED = {
    "string_type": "a string",
    "string_sub_type": "a string",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "nothing",
}
_CHOICES = ("literal_error", "enum", "union_tag_invalid")


def problems(
    err: ValidationError, model: type[BaseModel], root: object, spot: Spot
) -> list[Problem]:
    """One finding per place; the branches of a union are told as one."""
    groups: dict[Path, list[tuple[Path, dict[str, Any]]]] = {}
    for item in err.errors(include_url=False):
        real, branch = _real_path(root, tuple(item["loc"]), missing=item["type"] == "missing")
        entry = dict(item)
        # where a union was entered, and the name of the branch
        entry["branch"] = branch and item["loc"][: branch[1] + 1]
        groups.setdefault(real[: branch[0]] if branch else real, []).append((real, entry))
    explainer = _Explainer(model, root, spot)
    return [one for place, members in groups.items() for one in explainer.group(place, members)]


def suggest(name: str, known: Iterable[str]) -> str:
    """A `fix` naming the known word nearest to `name`, or nothing."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def kind_of(value: object) -> str:
    """A value in words: `the string 'x'`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {value if len(value) <= 40 else value[:37] + '...'!r}"
        case int() | float():
            return f"the number {value}"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"


def _real_path(root: object, loc: Path, *, missing: bool) -> tuple[Path, tuple[int, int] | None]:
    """The location without names of union branches.

    And where the first of those stood: how much of the real path goes before
    it, and its index in `loc`.
    """
    real: list[str | int] = []
    branch: tuple[int, int] | None = None
    value = root
    for index, part in enumerate(loc):
        if _has(value, part):
            value = _at(value, (part,))
        elif missing and index == len(loc) - 1:
            pass
        elif isinstance(value, Mapping) and part in value.values():
            continue  # the tag of a tagged union: no choice was made
        else:
            if part != "[key]" and branch is None:
                branch = (len(real), index)
            continue
        real.append(part)
    return tuple(real), branch


def _has(value: object, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, Mapping) and part in value


type _Members = Sequence[tuple[Path, dict[str, Any]]]


class _Explainer:
    def __init__(self, model: type[BaseModel], root: object, spot: Spot) -> None:
        self.model, self.root, self.spot, self.code = model, root, spot, spot.code

    def group(self, place: Path, members: _Members) -> list[Problem]:
        """The findings of one place; of a union, only what its likeliest branch says."""
        inner = [m for m in members if not (m[0] == place and m[1]["type"] in _WANTED)]
        if not members[0][1]["branch"] or (inner and len(inner) < len(members)) or not place:
            return [self._one(real, item) for real, item in inner or members]
        if len(inner) == len(members):
            first = members[0][1]["branch"]
            return [self._one(real, item) for real, item in members if item["branch"] == first]
        wanted = list(dict.fromkeys(_WANTED[i["type"]] for _, i in members))
        given = kind_of(_at(self.root, place))
        what = f"{_name(place)}must be {' or '.join(wanted)}, not {given}"
        return [Problem(f"{self.code}/wrong-type", what, self.spot.where(*place))]

    def _one(self, real: Path, item: dict[str, Any]) -> Problem:
        kind, value, context = item["type"], item["input"], item.get("ctx", {})
        where, name = self.spot.where(*real), _name(real)
        if kind == "extra_forbidden":
            return self._unknown_key(real)
        if kind in ("missing", "union_tag_not_found"):
            key = context.get("discriminator", "").strip("'") or str(real[-1])
            where = self.spot.where(*(real[:-1] if kind == "missing" else real))
            above = _name(real[:-1] if kind == "missing" else real)
            what = f"{above}the key {key!r} is missing"
            return Problem(f"{self.code}/missing-key", what, where)
        if kind in _WANTED:
            what = f"{name}must be {_WANTED[kind]}, not {kind_of(value)}"
            return Problem(f"{self.code}/wrong-type", what, where, fix=_type_hint(kind, value))
        if kind in _CHOICES:
            expected = str(context.get("expected") or context.get("expected_tags"))
            words = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
            if kind == "union_tag_invalid":
                tag = context["discriminator"].strip("'")
                value, where = context["tag"], self.spot.where(*real, tag)
                name = _name((*real, tag))
                expected = f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
            what = f"{name}must be {expected}, not {kind_of(value)}"
            fix = suggest(value, words) if isinstance(value, str) else ""
            fix = "put quotes around it" if not fix and str(value) in words else fix
            return Problem(f"{self.code}/wrong-value", what, where, fix=fix)
        text = str(context.get("error") or item["msg"])
        what = f"{name}{text[:1].lower()}{text[1:]}"
        return Problem(f"{self.code}/wrong-value", what, where)

    def _unknown_key(self, real: Path) -> Problem:
        # The other branches of a union may know the very name.
        known = _known_keys(self.model, self.root, real[:-1]) - {real[-1]}
        fix = suggest(str(real[-1]), known)
        if not fix and len(known) <= 12:
            fix = f"known here: {', '.join(sorted(known))}" if known else ""
        what = f"{_name(real[:-1])}unknown key {str(real[-1])!r}"
        return Problem(f"{self.code}/unknown-key", what, self.spot.where_key(*real), fix=fix)


def _type_hint(kind: str, value: object) -> str:
    if kind.startswith("string") and isinstance(value, bool | int | float):
        return "put quotes around it"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in _BOOLISH:
        return f"write {_BOOLISH[value.lower()]}"
    return ""


_BOOLISH = {"yes": "true", "on": "true", "true": "true", "y": "true"} | {
    "no": "false",
    "off": "false",
    "false": "false",
    "n": "false",
}


def _name(real: Path) -> str:
    """How a message calls a place: `packages[2]: `."""
    text = ""
    for part in real:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return f"{text}: " if text else ""


def _at(root: object, real: Path) -> object:
    value: Any = root
    for part in real:
        value = value[part]
    return value


def _known_keys(model: type[BaseModel], root: object, real: Path) -> set[str]:
    """The keys the model at a place takes: found by walking the annotations."""
    models: list[type[BaseModel]] = [model]
    value: object = root
    for part in real:
        following: list[type[BaseModel]] = []
        for one in models:
            for name, info in one.model_fields.items():
                if part in (name, info.alias, info.validation_alias):
                    following += _models_in(info.annotation)
        # Below a list or a plain mapping the candidates stay the same.
        models = following or models
        value = _at(value, (part,))
    return {
        str(info.validation_alias or info.alias or name)
        for one in models
        for name, info in one.model_fields.items()
    }


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    value = getattr(annotation, "__value__", None)  # type X = ...
    parts = (value,) if value is not None else get_args(annotation)
    return [model for part in parts for model in _models_in(part)]


def in_words(err: ValidationError, most: int = 10) -> str:
    """What is wrong, a line each, where no place in the file is known; the first `most` of them."""
    found = err.errors(include_url=False, include_input=False, include_context=False)
    lines = [
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: "
        + (f"must be {_WANTED[one['type']]}" if one["type"] in _WANTED else one["msg"].lower())
        for one in found[:most]
    ]
    return "\n".join(lines + ([f"and {len(found) - most} more"] if len(found) > most else []))
