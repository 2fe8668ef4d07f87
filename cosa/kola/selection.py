"""Which tests run: names by glob, tags, platform, shards."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cosa.core.errors import CosaError, ExitClass


def glob_matches(pattern: str, name: str) -> bool:
    """Match as Go's filepath.Match does: `*` and `?` stop at a slash. Raises `usage/glob`."""
    return _compiled(pattern).fullmatch(name) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    rest = pattern
    while rest:
        if rest[0] == "*":
            parts.append("[^/]*")
        elif rest[0] == "?":
            parts.append("[^/]")
        elif rest[0] == "\\" and len(rest) > 1:
            rest = rest[1:]
            parts.append(re.escape(rest[0]))
        elif rest[0] == "[":
            found = re.match(r"\[(\^?)((?:\\.|[^\]\\])+)\]", rest)
            if not found:
                raise _bad_glob(pattern)
            inside = re.sub(r"\\(.)|([\[&~|])", lambda m: "\\" + (m[1] or m[2]), found[2])
            parts.append(f"[{found[1]}{inside}]")
            rest = rest[found.end() - 1 :]
        elif rest[0] == "\\":
            raise _bad_glob(pattern)
        else:
            parts.append(re.escape(rest[0]))
        rest = rest[1:]
    try:
        return re.compile("".join(parts))
    except re.error as err:
        raise _bad_glob(pattern) from err


def _bad_glob(pattern: str) -> CosaError:
    return CosaError(
        "usage/glob", f"'{pattern}' is not a pattern",
        fix="* and ? stand for characters, [a-z] for one of several, \\ takes the next as it is",
        exit_class=ExitClass.USAGE,
    )  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Globs and tags; `!` before either excludes."""

    globs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def takes(self, name: str, tags: Sequence[str], required: str = "") -> bool:
        """With globs a name *or* a tag selects; without, tags filter.

        A test with a required tag runs only when that tag is asked for.
        """
        excluded = {tag[1:] for tag in self.tags if tag.startswith("!")}
        wanted = {tag for tag in self.tags if not tag.startswith("!")}
        have = {*tags, *([required] if required else [])}
        if have & excluded or (required and required not in wanted):
            return False
        if any(glob_matches(glob[1:], name) for glob in self.globs if glob.startswith("!")):
            return False
        positive = [glob for glob in self.globs if not glob.startswith("!")]
        if positive:
            return bool(have & wanted) or any(glob_matches(glob, name) for glob in positive)
        return not wanted or bool(have & wanted)

    def unmatched(self, names: Sequence[str]) -> list[str]:
        """Globs that name none of the tests."""
        return [
            glob
            for glob in self.globs
            if not any(glob_matches(glob.removeprefix("!"), name) for name in names)
        ]


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the tests, chosen by a hash of their names; parts count from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`hash:m/n`. Raises `usage/sharding`."""
        found = re.fullmatch(r"hash:(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise CosaError(
                "usage/sharding", f"'{text}' is not a shard",
                fix="write hash:m/n, m from 1 to n", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        return cls(int(found[1]), int(found[2]))

    def takes(self, name: str) -> bool:
        """Is the test in this part."""
        return fnv1_64(name.encode()) % self.count + 1 == self.number


def fnv1_64(data: bytes) -> int:
    """FNV-1, 64 bit (not 1a): the hash by which upstream deals out tests."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = value * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF ^ byte
    return value
