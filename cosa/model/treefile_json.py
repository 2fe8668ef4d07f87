"""The flattened treefile as text, to the byte as serde_json's pretty printer writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from cosa.model.treefile_keys import PRINTED, kebab


def to_text(values: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """Set keys in upstream's order, then a JSON file's unknown ones; no newline at the end."""
    document = {kebab(name): _plain(values[name]) for name in PRINTED if name in values}
    return dumps(document | {key: _plain(extra[key]) for key in sorted(extra)})


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        parts = {info.alias or name: getattr(value, name) for name, info in _fields(value)}
        return {key: _plain(part) for key, part in parts.items()}
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _fields(model: BaseModel) -> Sequence[tuple[str, Any]]:
    return list(type(model).model_fields.items())


def dumps(value: object, indent: str = "\n") -> str:
    """Two spaces a level, nothing escaped that need not be."""
    inner = f"{indent}  "
    if isinstance(value, Mapping) and value:
        items = (f"{_string(key)}: {dumps(item, inner)}" for key, item in value.items())
        return f"{{{inner}{f',{inner}'.join(items)}{indent}}}"
    if isinstance(value, list) and value:
        return f"[{inner}{f',{inner}'.join(dumps(item, inner) for item in value)}{indent}]"
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, ensure_ascii=False)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _float(value: float) -> str:
    """Shortest digits that read back the same, as the ryu crate lays them out."""
    if not math.isfinite(value):
        return "null"
    mantissa, _, exponent = f"{value!r}e0".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    power = int(exponent.removesuffix("e0") or 0) - len(fraction)
    stripped = (whole + fraction).lstrip("0")
    digits = stripped.rstrip("0")
    if not digits:
        return f"{sign}0.0"
    power += len(stripped) - len(digits)
    point = len(digits) + power  # where the decimal point stands, counted from the first digit
    if power >= 0 and point <= 16:
        return f"{sign}{digits}{'0' * power}.0"
    if 0 < point <= 16:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -5 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1}"
