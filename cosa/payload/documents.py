"""Manifests as text: the Kubernetes objects in a file of YAML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from cosa.core.errors import Where
from cosa.payload.errors import refused

SUFFIXES = (".yaml", ".yml", ".json")
_BREAK = re.compile(rb"^---(?=\s|$)", re.MULTILINE)
_NESTING = 200
_ALIASES = 200
_DEEP = re.compile(rb"(?:[\[{]\s*){%d}" % _NESTING)
_ALIAS = re.compile(rb"(?:^|[\s\[{,:-])\*[A-Za-z0-9_]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Object:
    """One Kubernetes object of a manifest; `line` is where its document begins, from 1."""

    file: str
    line: int
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its kind, `Deployment`."""
        return str(self.data.get("kind", ""))

    @property
    def group(self) -> str:
        """Its API group, empty for the core group."""
        return str(self.data.get("apiVersion", "")).rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        """Its namespace, empty where it has none."""
        return str(self._metadata.get("namespace") or "")

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations; values that are not strings, as text."""
        found = self._metadata.get("annotations")
        if not isinstance(found, dict):
            return {}
        return {str(key): value if isinstance(value, str) else str(value)
                for key, value in found.items()}  # fmt: skip

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Group, kind, namespace, name."""
        return self.group, self.kind, self.namespace, self.name

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind}{group} {place}{self.name}"

    @property
    def where(self) -> Where:
        """The place of its document."""
        return Where(self.file, self.line, 1)

    @property
    def _metadata(self) -> dict[str, Any]:
        found = self.data.get("metadata")
        return found if isinstance(found, dict) else {}


def objects(data: bytes, file: str) -> list[Object]:
    """Every object of a manifest; a `List` stands for its items.

    Raises `payload/bad-manifest` with the place of the fault.
    """
    found = []
    for line, text in _documents(data):
        value = _load(text, file, line)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise _bad(file, line, "not a valid YAML/JSON object")
        if value.get("kind") == "List" and isinstance(value.get("items"), list):
            found += [Object(file, line, item) for item in value["items"] if isinstance(item, dict)]
        else:
            found.append(Object(file, line, value))
    return found


def check_first(data: bytes, file: str) -> None:
    """What `oc` asks of a manifest: its first document is an object with kind and apiVersion."""
    line, text = next(iter(_documents(data)), (1, b""))
    value = _load(text, file, line)
    if not isinstance(value, dict):
        raise _bad(file, line, "not a valid YAML/JSON object")
    if not value.get("kind") or not value.get("apiVersion"):
        raise _bad(
            file, line,
            "manifests must contain Kubernetes API objects with 'kind' and 'apiVersion' set",
        )  # fmt: skip


def one_object(data: bytes, origin: str) -> Any:
    """A file that holds one value, JSON or YAML."""
    if data.lstrip()[:1] == b"{":
        try:
            return json.loads(data)
        except ValueError:
            pass  # flow mappings of YAML look like JSON
    return _load(data, origin, 1)


def _documents(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The documents of a file with the line each begins in; those without content are left out."""
    if data.lstrip()[:1] in (b"{", b"["):
        yield 1, data
        return
    starts = [0, *(found.end() for found in _BREAK.finditer(data))]
    ends = [*(found.start() for found in _BREAK.finditer(data)), len(data)]
    for start, end in zip(starts, ends, strict=True):
        text = data[start:end]
        if _has_content(text):
            lead = len(text) - len(text.lstrip(b"\r\n"))
            yield data.count(b"\n", 0, start + lead) + 1, text.lstrip(b"\r\n")


def _has_content(text: bytes) -> bool:
    return any(
        line.strip() and not line.lstrip().startswith((b"#", b"%")) for line in text.splitlines()
    )


@lru_cache(maxsize=8192)
def _parsed(text: bytes) -> Any:
    """A document's value, for reading only: who checks it and who lints it share it."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506  the safe loader, in C


def _load(text: bytes, file: str, line: int) -> Any:
    if text.count(b"[") + text.count(b"{") > _NESTING and _DEEP.search(text):
        raise _bad(file, line, "invalid YAML/JSON", why="it is nested too deeply")
    # References multiply: a few lines of them can stand for gigabytes.
    if text.count(b"*") > _ALIASES and len(_ALIAS.findall(text)) > _ALIASES:
        raise _bad(file, line, "invalid YAML/JSON", why="it refers to its own parts too often")
    try:
        return _parsed(text)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark
        place = line + (mark.line if mark else 0)
        column = (mark.column if mark else 0) + 1
        raise _bad(file, place, "invalid YAML/JSON", why=str(err.problem or ""), column=column) \
            from None  # fmt: skip
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeError) as err:
        raise _bad(file, line, "invalid YAML/JSON", why=str(err).partition("\n")[0]) from None


def _bad(file: str, line: int, what: str, *, why: str = "", column: int = 1) -> Exception:
    error = refused("bad-manifest", f"{file}: {what}", why=why)
    error.where = Where(file, line, column)
    return error
