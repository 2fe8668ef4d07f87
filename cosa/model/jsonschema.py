"""JSON Schemas: made from models, and checked against.

Models give draft 2020-12 with `null` for what is not set; files are written without
such keys, and upstream's readers know draft 7, so that is what is published. The
checker knows the words that `v1.json` of upstream and our own schemas use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from cosa.core.errors import CosaError, ExitClass, Where
from cosa.core.store import Json

DRAFT = "http://json-schema.org/draft-07/schema#"
_REF = "#/definitions/{model}"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "boolean": bool, "null": type(None),
}  # fmt: skip
_DEEP = 64


class _Draft7(GenerateJsonSchema):
    """Without the null that only says that a key may be left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def generate(
        self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation"
    ) -> JsonSchemaValue:
        made = super().generate(schema, mode)
        definitions = made.pop("$defs", {})
        return made | ({"definitions": definitions} if definitions else {})


def of_model(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of the files a model reads."""
    made = model.model_json_schema(ref_template=_REF, schema_generator=_Draft7)
    return {"$schema": DRAFT, **made}


def load(path: Path) -> dict[str, Any]:
    """A schema in a file. Raises `schema/unreadable`."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as err:
        raise CosaError(
            "schema/unreadable",
            "this is not a JSON Schema",
            Where(str(path)),
            why=str(err),
            fix="set COSA_META_SCHEMA to a schema, to `none`, or not at all",
            exit_class=ExitClass.USAGE,
        ) from err
    if not isinstance(found, dict):
        raise CosaError(
            "schema/unreadable", "this is not a JSON Schema", Where(str(path)),
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return found


def findings(value: Json, schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of a value does not fit: (where, what), where as `images.qemu.path`."""
    return [(".".join(place) or "(top level)", what) for place, what in _Check(schema).of(value)]


type _Found = Iterator[tuple[tuple[str, ...], str]]


class _Check:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.root = schema

    def of(self, value: Any) -> _Found:
        yield from self._check(value, self.root, ())

    def _check(self, value: Any, schema: Any, place: tuple[str, ...]) -> _Found:
        if not isinstance(schema, Mapping) or len(place) > _DEEP:
            return
        if isinstance(schema.get("$ref"), str):
            yield from self._check(value, self._target(schema["$ref"]), place)
        wanted = schema.get("type")
        if wanted is not None and not _is(value, wanted):
            yield place, f"must be {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield place, f"must be one of {', '.join(map(str, schema['enum']))}"
        branches = [b for key in ("anyOf", "oneOf") for b in schema.get(key, ())]
        if branches and all(any(self._check(value, b, place)) for b in branches):
            yield place, "fits none of the forms it may have"
        if isinstance(value, str):
            yield from _text(value, schema, place)
        elif isinstance(value, dict):
            yield from self._object(value, schema, place)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._check(item, schema.get("items"), (*place, str(index)))

    def _object(
        self, value: dict[str, Any], schema: Mapping[str, Any], place: tuple[str, ...]
    ) -> _Found:
        known = schema.get("properties", {})
        for key in schema.get("required", ()):
            if key not in value:
                yield (*place, key), "is missing"
        others = schema.get("additionalProperties", True)
        patterns = schema.get("patternProperties", {})
        for key, item in value.items():
            fitting = [part for pattern, part in patterns.items() if re.search(pattern, key)]
            if key in known or fitting:
                for part in [*([known[key]] if key in known else []), *fitting]:
                    yield from self._check(item, part, (*place, key))
            elif others is False:
                yield (*place, key), "is not a key of this file"
            else:
                yield from self._check(item, others, (*place, key))

    def _target(self, ref: str) -> Any:
        here: Any = self.root
        for part in ref.removeprefix("#").strip("/").split("/"):
            here = here.get(part) if isinstance(here, Mapping) else None
        return here


def _is(value: Any, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    kinds = [_TYPES[name] for name in names if name in _TYPES]
    if isinstance(value, bool):
        return bool in kinds
    return any(isinstance(value, kind) for kind in kinds)


def _text(value: str, schema: Mapping[str, Any], place: tuple[str, ...]) -> _Found:
    least, pattern = schema.get("minLength"), schema.get("pattern")
    if isinstance(least, int) and len(value) < least:
        yield place, f"must have at least {least} characters"
    if isinstance(pattern, str) and not re.search(pattern, value):
        yield place, f"must look like {pattern}"
