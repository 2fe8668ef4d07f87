"""JSON (RFC 8259) with positions.

The standard library's parser makes the value; positions are found by a second
walk over the text, and only when somebody asks for one, that is for an error.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable

from cosa.core.errors import CosaError, Problem, Problems, Where
from cosa.model.place import Place

_TOKEN = re.compile(r'[ \t\n\r]*(?:([{}\[\]:,])|("(?:[^"\\]|\\.)*")|([^\s{}\[\]:,"]+))')


def parse(text: str, path: str, max_depth: int) -> tuple[object, Callable[[], Place]]:
    """The value, and a function that finds the places of its parts.

    Raises `document/syntax`, `document/duplicate-key`, `document/too-deep`.
    """
    lines = _Lines(text)
    if not text.strip(" \t\r\n"):
        raise CosaError("document/syntax", "not valid JSON: the file is empty", Where(path, 1, 1))
    repeated = False

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal repeated
        result = dict(items)
        repeated = repeated or len(result) != len(items)
        return result

    def constant(name: str) -> object:
        where = Where(path, *lines.at(text.find(name)))
        raise CosaError("document/syntax", f"not valid JSON: {name} is no JSON number", where)

    _check_depth(text, path, lines, max_depth)
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as err:
        where = Where(path, *lines.at(err.pos))
        what = f"not valid JSON: {err.msg[0].lower()}{err.msg[1:].removesuffix(' at')}"
        raise CosaError("document/syntax", what, where) from None
    except ValueError:  # an integer of thousands of digits
        raise CosaError("document/syntax", "a number is too long", Where(path)) from None
    found = Problems()
    places = functools.cache(lambda: _Walk(text, path, found).run())
    if repeated:
        places()
        found.raise_if_any("the file is not valid")
    if "\\u" in text:
        _check_surrogates(value, path)
    return value, places


def _check_depth(text: str, path: str, lines: _Lines, limit: int) -> None:
    # The C scanner recurses on the machine's stack.
    if text.count("[") + text.count("{") <= limit:
        return
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[1] in ("[", "{"):
            depth += 1
            if depth > limit:
                where = Where(path, *lines.at(match.start(1)))
                what = f"nested deeper than {limit} levels"
                raise CosaError("document/too-deep", what, where)
        elif match[1] in ("]", "}"):
            depth -= 1


def _check_surrogates(value: object, path: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        what = "a \\u escape names half of a character"
        raise CosaError("document/syntax", what, Where(path)) from None


class _Lines:
    """Line and column, from 1, of an offset."""

    def __init__(self, text: str) -> None:
        self._text = text

    def at(self, index: int) -> tuple[int, int]:
        line = self._text.count("\n", 0, index) + 1
        return line, index - self._text.rfind("\n", 0, index)


class _Walk:
    """Places of valid JSON, in one pass over its tokens; notes keys given twice."""

    def __init__(self, text: str, path: str, found: Problems) -> None:
        self._tokens = _TOKEN.finditer(text)
        self._text, self._path, self._found = text, path, found
        self._line, self._start, self._seen = 1, 0, 0

    def run(self) -> Place:
        token = next(self._tokens)
        return self._value(token, self._spot(token))

    def _spot(self, token: re.Match[str]) -> tuple[int, int]:
        assert token.lastindex is not None
        index = token.start(token.lastindex)
        newlines = self._text.count("\n", self._seen, index)
        if newlines:
            self._line += newlines
            self._start = self._text.rfind("\n", self._seen, index) + 1
        self._seen = index
        return self._line, index - self._start + 1

    def _value(self, token: re.Match[str], spot: tuple[int, int]) -> Place:
        place = Place(*spot)
        if token[1] == "{":
            self._object(place)
        elif token[1] == "[":
            self._array(place)
        return place

    def _object(self, place: Place) -> None:
        for token in self._tokens:
            if token[1] == "}":
                return
            if token[1] == ",":
                continue
            spot, key = self._spot(token), str(json.loads(token[2]))
            if key in place.keys:
                what = f"the key {key!r} is given twice"
                fix = f"it is already set in line {place.keys[key][0]}; remove one of the two"
                where = Where(self._path, *spot)
                self._found.extend([Problem("document/duplicate-key", what, where, fix=fix)])
            next(self._tokens)  # the colon
            value = next(self._tokens)
            place.keys[key] = spot
            place.children[key] = self._value(value, self._spot(value))

    def _array(self, place: Place) -> None:
        for token in self._tokens:
            if token[1] == "]":
                return
            if token[1] != ",":
                place.children[len(place.children)] = self._value(token, self._spot(token))
