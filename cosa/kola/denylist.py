"""kola-denylist.yaml: tests known to fail, with where, until when, and why.

A list of entries; one applies when each of its lists (streams, arches,
platforms, osversion) is empty or names what is tested. `snooze` is a date (UTC): before it
the test is skipped, from it on it runs again. `warn` lets it run and makes a
failure a warning. Read strictly: a key nobody knows would silently widen an
entry.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cosa.core.errors import CosaError, Problems, Where
from cosa.kola.selection import glob_matches

NAME = "kola-denylist.yaml"
CONSOLE = "skip-console-warnings"  # not a test: findings of the console only warn
_LISTS = ("streams", "arches", "platforms", "osversion")
_TEXTS = ("pattern", "tracker")


@dataclass(frozen=True)
class Subject:
    """What is tested. An empty word is unknown: entries that ask for it do not apply."""

    stream: str = ""
    arch: str = "x86_64"
    platform: str = "qemu"
    osversion: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of the list; `where` is its place in the file."""

    pattern: str
    tracker: str = ""
    streams: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    osversion: tuple[str, ...] = ()
    snooze: dt.date | None = None
    warn: bool = False
    where: Where | None = None

    def applies(self, subject: Subject) -> bool:
        """Does the entry concern what is tested."""
        pairs = (
            (self.streams, subject.stream), (self.arches, subject.arch),
            (self.platforms, subject.platform), (self.osversion, subject.osversion),
        )  # fmt: skip
        return all(not names or word in names for names, word in pairs)

    def action(self, today: dt.date) -> str:
        """`skip`, `warn`, or nothing."""
        if self.snooze:
            if today < self.snooze:
                return "skip"
            return "warn" if self.warn else ""
        return "warn" if self.warn else "skip"

    @property
    def reason(self) -> str:
        """Why, in a line."""
        until = f" until {self.snooze}" if self.snooze else ""
        return f"denylisted{until}: {self.tracker or f'pattern {self.pattern}'}"


@dataclass(frozen=True)
class Decision:
    """What is to become of a test, and the reason."""

    action: str = ""  # skip, warn or nothing
    reason: str = ""


class Denylist:
    """The entries that concern what is tested, on a given day."""

    def __init__(self, entries: Iterable[Entry], subject: Subject, today: dt.date) -> None:
        acting = [(entry, entry.action(today)) for entry in entries if entry.applies(subject)]
        self._acting = [(entry, action) for entry, action in acting if action]

    def decide(self, name: str) -> Decision:
        """What the list says of a test; skipping goes before warning."""
        said = [
            Decision(action, entry.reason)
            for entry, action in self._acting
            if glob_matches(entry.pattern, name)
        ]
        return min(said, key=lambda decision: decision.action, default=Decision())

    @property
    def console_warns(self) -> bool:
        """Do findings of the console only warn."""
        return any(entry.pattern == CONSOLE for entry, _ in self._acting)


def load(path: Path) -> list[Entry]:
    """Read a denylist. Raises `kola/denylist` with every finding and its place."""
    try:
        text = path.read_text("utf-8")
        values = yaml.safe_load(text)
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = Where(str(path), mark.line + 1 if mark else 0, mark.column + 1 if mark else 0)
        raise CosaError(
            "kola/denylist", f"not YAML: {getattr(err, 'problem', err)}", where
        ) from err
    if values is None:
        return []
    if not isinstance(values, list) or not isinstance(node, yaml.SequenceNode):
        raise CosaError("kola/denylist", "a denylist is a list of entries", Where(str(path)))
    problems = Problems()
    entries = []
    for value, place in zip(values, node.value, strict=True):
        where = Where(str(path), place.start_mark.line + 1, place.start_mark.column + 1)
        before = len(list(problems))
        fields = _fields(value, where, problems)
        if len(list(problems)) == before:
            entries.append(Entry(**fields, where=where))
    problems.raise_if_any(f"{path} is not a valid denylist")
    return entries


def _fields(value: Any, where: Where, problems: Problems) -> dict[str, Any]:
    def bad(what: str) -> None:
        problems.add("kola/denylist", what, where)

    if not isinstance(value, dict):
        bad("an entry has keys and values")
        return {}
    found: dict[str, Any] = {}
    for key, content in value.items():
        if key in _LISTS:
            if isinstance(content, list) and all(isinstance(word, str) for word in content):
                found[key] = tuple(content)
            else:
                bad(f"{key} is a list of words")
        elif key in _TEXTS:
            found[key] = content
            if not isinstance(content, str) or not content:
                bad(f"{key} is a text")
        elif key == "warn":
            found[key] = content
            if not isinstance(content, bool):
                bad("warn is true or false")
        elif key == "snooze":
            found[key] = _date(content)
            if not found[key]:
                bad(f"snooze: '{content}' is not YYYY-MM-DD")
        else:
            bad(f"unknown key '{key}'")
    if "pattern" not in value:
        bad("an entry needs a pattern")
    return found


def _date(content: object) -> dt.date | None:
    if isinstance(content, dt.datetime):
        return None
    if isinstance(content, dt.date):
        return content
    try:
        return dt.date.fromisoformat(str(content))
    except ValueError:
        return None


def find(folders: Sequence[Path]) -> list[Entry]:
    """The entries of the denylists in these folders, as far as they have one."""
    return [e for folder in folders if (folder / NAME).is_file() for e in load(folder / NAME)]
