"""Two records of inputs compared: what changed, by name, from what to what.

    package vim  2:9.0-1 -> 2:9.1-1
    image.yaml  size: 10 -> 12
    overlay.d/05core  usr/lib/motd.d/hello changed

Everything is found at any depth; digests are never shown, they only say that
something "changed".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cosa.core.store import Json
from cosa.pipeline.record import Inputs

_DIGEST = re.compile(r"\b(?:sha256:)?[0-9a-f]{40,64}\b")
_MODE = re.compile(r"^[0-7]{5,6}(?: |$)")
# What is not named after a file of the user's.
_NAMES = {"overlay.d/usr-share-cosa": "the image definition kept in the commit"}
_LONG = 60  # characters of a value worth showing


@dataclass(frozen=True)
class Change:
    """One input that differs. `old` or `new` is None where there is none; `key` may be empty.

    `area` is compose, container or image; `name` what people call the input, `key` the part
    of it (a file of an overlay, a key of image.yaml).
    """

    area: str
    name: str
    key: str
    old: Json
    new: Json

    @property
    def subject(self) -> str:
        """`image.yaml: size`."""
        name = _NAMES.get(self.name, self.name)
        return f"{name}: {self.key}" if self.key else name

    @property
    def text(self) -> str:
        """What happened to it, for people."""
        if self.old is None:
            return f"{self.subject} is new{_value(self.new, ' (', ')')}"
        if self.new is None:
            return f"{self.subject} is gone{_value(self.old, ' (', ')')}"
        old, new = _shown(self.old), _shown(self.new)
        if old == new or not old or not new:
            return f"{self.subject} changed"
        return f"{self.subject} {old} -> {new}"


def compare(old: Inputs, new: Inputs) -> list[Change]:
    """Every difference, area by area in the order of `new`, names sorted."""
    found: list[Change] = []
    for area in dict.fromkeys([*new, *old]):
        before, after = old.get(area, {}), new.get(area, {})
        for name in sorted(set(before) | set(after)):
            parts = _parts(before.get(name), after.get(name), "")
            found += [Change(area, name, key, *pair) for key, *pair in parts]
    return found


def texts(old: Inputs, new: Inputs) -> list[str]:
    """The differences as lines, each once though several areas may have it."""
    return list(dict.fromkeys(change.text for change in compare(old, new)))


def _parts(old: Json, new: Json, key: str) -> Iterator[tuple[str, Json, Json]]:
    if old == new:
        return
    if isinstance(new if old is None else old, Mapping):
        old, new = old or {}, new or {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(set(old) | set(new)):
            if not _implied(name, old, new) and not _implied(name, new, old):
                yield from _parts(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif isinstance(old, list) and isinstance(new, list) and _plain(old) and _plain(new):
        if any("\n" in str(item) for item in [*old, *new]):
            yield from _scripts(old, new, key)
            return
        gone = [item for item in old if item not in new]
        come = [item for item in new if item not in old]
        if gone or come:
            yield from ((f"{key} {item}".strip(), _MARK, None) for item in gone)
            yield from ((f"{key} {item}".strip(), None, _MARK) for item in come)
        else:
            yield f"order of {key}", _MARK, _MARK
    else:
        yield key, old, new


def _implied(name: str, side: Mapping[str, Json], other: Mapping[str, Json]) -> bool:
    """Whether a folder came or went with something in it, which says as much."""
    if name in other or not str(side.get(name, "")).startswith("40"):
        return False
    return any(path.startswith(f"{name}/") for path in side if path not in other)


def _scripts(old: list[Json], new: list[Json], key: str) -> Iterator[tuple[str, Json, Json]]:
    """Lists of texts of several lines: by their place."""
    for number in range(max(len(old), len(new))):
        pair = [items[number] if number < len(items) else None for items in (old, new)]
        if pair[0] != pair[1]:
            yield f"{key} script {number + 1}", pair[0], pair[1]


_MARK = ""  # something is there, and its name says all of it


def _plain(items: list[Json]) -> bool:
    return all(isinstance(item, str | int | float) for item in items)


def _shown(value: Json) -> str:
    """A value for people: without digests, and nothing that is long or has parts."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        return ""
    text = " ".join(_DIGEST.sub("", str(value)).split())
    return text if len(text) <= _LONG and "\n" not in str(value) else ""


def _value(value: Json, before: str, after: str) -> str:
    text = _MODE.sub("", _shown(value))
    return f"{before}{text}{after}" if text else ""
