"""YAML and JSON files as plain values that know where in the file they stand.

YAML is read under the core schema of YAML 1.2.2 (section 10.3), as upstream's
tools read it: `yes`, `no`, `on` and `off` are strings, there are no dates, no
base-60 numbers and no merge keys. Digits with a leading zero (`0644`, `08`) stay
strings, because reading them as decimal loses what was written; octal is
`0o644`. JSON is read as RFC 8259 says, by a JSON parser. In both, a key given
twice is an error. Sizes, depth and what aliases unfold to are bounded, so a
hostile file costs a bounded amount of time and memory.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import yaml
from pydantic import BaseModel, ValidationError

from cosa.core.errors import CosaError, Problems, Where
from cosa.core.fs import mib
from cosa.model import explain, jsontext
from cosa.model.place import Place

MAX_BYTES = 32 << 20
MAX_DEPTH = 64
MAX_NODES = 1_000_000  # after unfolding aliases

_PLAIN, _STR, _SEQ, _MAP = "plain", "str", "seq", "map"
_CORE = "tag:yaml.org,2002:"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# What YAML 1.2.2 section 5.1 does not let into a stream.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
)

type Format = Literal["yaml", "json"]


@dataclass(frozen=True)
class Document:
    """One parsed file: its value in plain dicts, lists and scalars, and where each part stands."""

    value: object
    path: str
    _place: Callable[[], Place] = field(repr=False, compare=False)

    def where(self, *keys: str | int) -> Where:
        """Where the value at `keys` begins; of its nearest existing ancestor when there is none."""
        return self._where(self._walk(keys)[1])

    def where_key(self, *keys: str | int) -> Where:
        """Where the last of `keys` itself is written (for a list: its item)."""
        above, place = self._walk(keys)
        spot = above.keys.get(keys[-1]) if above and keys else None
        return Where(self.path, *spot) if spot else self._where(place)

    def _walk(self, keys: Sequence[str | int]) -> tuple[Place | None, Place]:
        above, place = None, self._place()
        for key in keys:
            inner = place.children.get(key)
            if inner is None:
                return None, place
            above, place = place, inner
        return above, place

    def _where(self, place: Place) -> Where:
        return Where(self.path, place.line, place.column)


@dataclass(frozen=True)
class Spot:
    """A part of a document, and the word its problems' codes begin with.

    `renamed` maps keys of the part to how they are written, where that differs.
    """

    doc: Document
    keys: tuple[str | int, ...]
    code: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    def where(self, *keys: str | int) -> Where:
        """Where the value at `keys` below the spot begins."""
        return self.doc.where(*self._full(keys))

    def where_key(self, *keys: str | int) -> Where:
        """Where the last of `keys` below the spot is written."""
        return self.doc.where_key(*self._full(keys))

    def inside(self, *keys: str | int) -> Spot:
        """The part of this part at `keys`."""
        return Spot(self.doc, self._full(keys), self.code)

    def _full(self, keys: tuple[str | int, ...]) -> tuple[str | int, ...]:
        written = tuple(self.renamed.get(str(key), key) for key in keys[:1])
        return (*self.keys, *written, *keys[1:])


def load(path: Path, fmt: Format | None = None) -> Document:
    """Read a file; JSON when it is named `*.json`, else YAML, unless `fmt` says which.

    Raises `document/missing`, `document/unreadable`, `document/too-big`, and what `parse` raises.
    """
    name = str(path)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise CosaError("document/unreadable", "this is not a file", Where(name))
        if info.st_size > MAX_BYTES:
            what = f"the file has {mib(info.st_size)}; more than {mib(MAX_BYTES)} is refused"
            raise CosaError("document/too-big", what, Where(name))
        raw = path.read_bytes()
    except FileNotFoundError:
        raise CosaError("document/missing", "there is no such file", Where(name)) from None
    except OSError as err:
        what = "the file cannot be read"
        raise CosaError("document/unreadable", what, Where(name), why=err.strerror or "") from None
    return parse(raw, name, fmt or ("json" if path.suffix == ".json" else "yaml"))


def parse(raw: bytes | str, path: str, fmt: Format = "yaml") -> Document:
    """Parse text; `path` is what messages call it.

    Raises `document/syntax`, `document/duplicate-key`, `document/key-type`,
    `document/encoding`, `document/too-deep`, `document/too-big`.
    """
    text = _decode(raw, path)
    if fmt == "json":
        value, places = jsontext.parse(text, path, MAX_DEPTH)
        return Document(value, path, places)
    builder = _Builder(path)
    node = _compose(text, path)
    value, place, _ = builder.build(node) if node else (None, Place(1, 1), 1)
    builder.problems.raise_if_any("the file is not valid")
    return Document(value, path, lambda: place)


def _decode(raw: bytes | str, path: str) -> str:
    if isinstance(raw, str):
        return raw.removeprefix("\ufeff")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        before = raw[: err.start].decode("utf-8", "replace")
        what = "the file is not UTF-8 text"
        raise CosaError("document/encoding", what, _offset(path, before, len(before))) from None


def _offset(path: str, text: str, index: int) -> Where:
    line = text.count("\n", 0, index) + 1
    return Where(path, line, index - text.rfind("\n", 0, index))


# The C parser without its YAML 1.1 resolver: a scalar only says whether it was written plain.
class _Loader(yaml.CSafeLoader):
    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:
        del value
        if kind is yaml.ScalarNode:
            plain = isinstance(implicit, tuple) and implicit[0]
            return _PLAIN if plain else _STR
        return _SEQ if kind is yaml.SequenceNode else _MAP

    # Called once for each level on the way in and out; the C code itself has no bound.
    def descend_resolver(self, current_node: object, current_index: object) -> None:
        del current_index
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > MAX_DEPTH:
            mark = current_node.start_mark if isinstance(current_node, yaml.Node) else None
            raise _TooDeepError(None, None, None, mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _TooDeepError(yaml.MarkedYAMLError):
    """Nested deeper than MAX_DEPTH."""


def _compose(text: str, path: str) -> yaml.Node | None:
    bad = _UNPRINTABLE.search(text)
    if bad:
        what = f"the character U+{ord(bad.group()):04X} may not stand in a YAML file"
        raise CosaError("document/syntax", what, _offset(path, text, bad.start()))
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        where = Where(path, mark.line + 1, mark.column + 1) if mark else Where(path)
        if isinstance(err, _TooDeepError):
            what = f"nested deeper than {MAX_DEPTH} levels"
            raise CosaError("document/too-deep", what, where) from None
        what, why = err.problem or err.context or "", err.context or "" if err.problem else ""
        if what.startswith("but "):  # libyaml's sentence goes over both parts
            what, why = f"{why}, {what}", ""
        what = f"not valid YAML: {what}"
        fix = _syntax_hint(text, mark.line if mark else -1)
        raise CosaError("document/syntax", what, where, why, fix) from None
    except yaml.YAMLError as err:
        raise CosaError("document/syntax", f"not valid YAML: {err}", Where(path)) from None
    finally:
        loader.dispose()


def _syntax_hint(text: str, line: int) -> str:
    lines = text.splitlines()
    indents = (row[: len(row) - len(row.lstrip())] for row in lines[max(line - 1, 0) : line + 1])
    if any("\t" in indent for indent in indents):
        return "indent with spaces; YAML does not take tabs there"
    return ""


class _Builder:
    """Values and places from composed nodes. An alias shares the value of its anchor."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems = Problems()
        self._done: dict[int, tuple[object, Place, int]] = {}
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> tuple[object, Place, int]:
        """The value, its place, and how many nodes it unfolds to."""
        known = self._done.get(id(node))
        if known:
            return known
        if id(node) in self._open:
            what = "an alias stands inside the value it repeats"
            raise CosaError("document/syntax", what, self._where(node))
        self._open.add(id(node))
        place = Place(node.start_mark.line + 1, node.start_mark.column + 1)
        value: object
        if isinstance(node, yaml.MappingNode):
            value, size = self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode):
            value, size = self._sequence(node, place)
        else:
            value, size = self._scalar(cast("yaml.ScalarNode", node)), 1
        if size > MAX_NODES:
            what = f"holds more than {MAX_NODES:,} values once its aliases are unfolded"
            raise CosaError("document/too-big", what, self._where(node))
        self._open.discard(id(node))
        self._done[id(node)] = (value, place, size)
        return self._done[id(node)]

    def _mapping(self, node: yaml.MappingNode, place: Place) -> tuple[dict[str, object], int]:
        self._expect_tag(node, _MAP)
        result: dict[str, object] = {}
        total = 1
        for key_node, value_node in node.value:
            value, inner, size = self.build(value_node)
            total += size
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            where = self._where(key_node)
            if not isinstance(key, str):
                scalar = isinstance(key_node, yaml.ScalarNode)
                fix = f"put quotes around {key_node.value}" if scalar else ""
                self.problems.add("document/key-type", "a key must be a string", where, fix=fix)
            elif key in result:
                first = place.keys[key][0]
                what = f"the key {key!r} is given twice"
                fix = f"it is already set in line {first}; remove one of the two"
                self.problems.add("document/duplicate-key", what, where, fix=fix)
            else:
                result[key] = value
                place.keys[key] = (where.line, where.column)
                place.children[key] = inner
        return result, total

    def _sequence(self, node: yaml.SequenceNode, place: Place) -> tuple[list[object], int]:
        self._expect_tag(node, _SEQ)
        result: list[object] = []
        total = 1
        for index, item in enumerate(node.value):
            value, place.children[index], size = self.build(item)
            result.append(value)
            total += size
        return result, total

    def _scalar(self, node: yaml.ScalarNode) -> object:
        text, tag = str(node.value), node.tag
        if tag == _PLAIN:
            return plain(text)
        if tag in (_STR, _CORE + "str"):
            return text
        if tag.removeprefix(_CORE) in ("int", "float", "bool", "null"):
            value = plain(text)
            wanted = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
            if isinstance(value, wanted[tag.removeprefix(_CORE)]):  # type: ignore[arg-type]
                return value
            self.problems.add(
                "document/syntax",
                f"{text!r} is no {tag.removeprefix(_CORE)}, as its tag says",
                self._where(node),
            )
            return text
        self._unknown_tag(node)
        return text

    def _expect_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag not in (kind, _CORE + kind):
            self._unknown_tag(node)

    def _unknown_tag(self, node: yaml.Node) -> None:
        what = f"the tag {node.tag!r} is not known here"
        self.problems.add("document/syntax", what, self._where(node), fix="remove the tag")

    def _where(self, node: yaml.Node) -> Where:
        return Where(self.path, node.start_mark.line + 1, node.start_mark.column + 1)


def plain(text: str) -> str | int | float | bool | None:
    """What an unquoted YAML scalar means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        # Python refuses to convert absurdly long digit strings; so does every consumer.
        return int(text) if len(text) <= 40 else text
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) <= 40 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.fullmatch(text)
    if special:
        if special.group(1) is None:
            return math.nan
        return -math.inf if special.group(1) == "-" else math.inf
    return text


def validate[M: BaseModel](model: type[M], doc: Document, code: str) -> M:
    """The document as a model, every problem at once with its place.

    Types are strict: `"5"` is no number and `1` no bool; a list may fill a
    tuple or a set, and a string a path or an enum. Each finding's code is
    `code/KIND`, KIND one of unknown-key, missing-key, wrong-type, wrong-value.
    """
    found = Problems()
    result = check(model, doc.value, Spot(doc, (), code), found)
    found.raise_if_any(f"{doc.path} is not valid")
    assert result is not None
    return result


def check[M: BaseModel](model: type[M], value: object, spot: Spot, found: Problems) -> M | None:
    """`validate` for a part of a document; adds to `found` and returns None when it is wrong."""
    try:
        # JSON mode is pydantic's own way to be strict and still fill tuples and paths.
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as err:
        found.extend(explain.problems(err, model, value, spot))
        return None
