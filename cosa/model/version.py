"""Versions of builds.

Upstream's scheme (`versionary` in fedora-coreos-config) is X.Y.Z.N: releasever,
day, number of the stream, counter. A production build (`--versionary`) counts the
definition's commits since the lockfile was made, so that every machine gives the
same commit the same id; without git it counts on from the newest build. A build
outside a release pipeline is `X.Y.Z.devN`, counted from the builds there are.

A definition whose stream has no number uses rpm-ostree's `automatic-version-prefix`
(RHCOS: `414.92.<date:%Y%m%d%H%M>` with the suffix `-` gives `414.92.202307170903-0`),
or Z = 0 without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cosa.core import clock
from cosa.core.errors import CosaError, ExitClass

STREAMS = {
    "next": 1, "testing": 2, "stable": 3, "next-devel": 10, "testing-devel": 20,
    "rawhide": 91, "branched": 92, "bodhi-updates-testing": 93, "bodhi-updates": 94,
}  # fmt: skip

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
_DATE = re.compile(r"<date:([^>]*)>")
_PARTS = re.compile(r"(\d+)\.(\d{8})\.(\d+)\.(dev)?(\d+)")


@dataclass(frozen=True)
class Parts:
    """X.Y.Z.N taken apart; `dev` is whether N counts development builds."""

    release: int
    day: str
    stream: int
    count: int
    dev: bool

    @property
    def stream_name(self) -> str:
        """The stream its number stands for; empty for an unknown one."""
        return next((name for name, number in STREAMS.items() if number == self.stream), "")


@dataclass(frozen=True)
class Scheme:
    """What a definition says about its versions.

    `moment` (seconds since 1970) is when the base lockfile was made, else now; `today` is now.
    """

    releasever: str
    stream: str
    prefix: str | None
    suffix: str
    moment: int
    today: int

    @property
    def numbered(self) -> str:
        """`X.Y.Z.`, empty when the stream has no number."""
        if self.stream not in STREAMS:
            return ""
        return f"{self.releasever}.{clock.day(self.moment)}.{STREAMS[self.stream]}."

    def production(self, existing: Iterable[str], commits: int | None) -> str:
        """The id of a production build.

        `existing` are build ids, newest first; `commits` counts the definition's commits
        since `moment`, None without git. Raises `usage/version`.
        """
        if not self.numbered:
            raise CosaError(
                "usage/version",
                f"--versionary has no number for the stream '{self.stream or 'none'}'",
                why=f"the streams are: {', '.join(STREAMS)}",
                fix="set the variable 'stream' in the treefile, or give --version",
                exit_class=ExitClass.USAGE,
            )
        if commits is not None:
            return f"{self.numbered}{commits}"
        newest = parse(next(iter(existing), ""))
        same = newest is not None and self.numbered == _numbers(newest)
        return f"{self.numbered}{newest.count + 1 if newest and same else 0}"

    def development(self, existing: Iterable[str]) -> str:
        """The next id of a build that is not for production."""
        if self.numbered:
            return next_version(f"{self.numbered}dev", existing)
        if not self.prefix:
            day = clock.day(self.moment)
            return next_version(f"{self.releasever}.{day}.0.dev", existing)
        names = tuple(existing)
        base = _dated(self.prefix, self.today)
        counted = next_version(f"{base}{self.suffix}", names)
        if _DATE.search(self.prefix) or not counted.endswith(f"{self.suffix}0"):
            return counted
        # rpm-ostree: a prefix without date is itself the first version.
        rebuilt = re.compile(re.escape(base) + r"(-\d+)?")
        taken = any(rebuilt.fullmatch(name) for name in names)
        return f"{base}{self.suffix}1" if taken else base


def scheme(
    *,
    releasever: str | None,
    variables: Mapping[str, object],
    prefix: str | None,
    suffix: str | None,
    locked: int | None,
) -> Scheme:
    """The scheme of a definition; `locked` is when its base lockfile was made (seconds), if any."""
    pinned = clock.source_date_epoch()
    today = clock.now() if pinned is None else pinned
    return Scheme(
        str(releasever or "0"), str(variables.get("stream", "")), prefix,
        "." if suffix is None else suffix, today if locked is None else locked, today,
    )  # fmt: skip


def parse(version: str) -> Parts | None:
    """X.Y.Z.N or X.Y.Z.devN taken apart, `-1` of an image-only rebuild aside; None for others."""
    found = _PARTS.fullmatch(version.partition("-")[0])
    if not found:
        return None
    try:
        datetime.strptime(found[2], "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Parts(int(found[1]), found[2], int(found[3]), int(found[5]), bool(found[4]))


def next_version(base: str, existing: Iterable[str]) -> str:
    """`base` with the first number after all those used: `13.20261122.dev.3`.

    Ids of image-only rebuilds (`VERSION-1`) count as their version.
    """
    used = [-1]
    for name in existing:
        rest = name.removeprefix(base).partition("-")[0]
        if name.startswith(base) and rest.isdecimal():
            used.append(int(rest))
    return f"{base}{max(used) + 1}"


def image_rebuild_id(version: str, existing: Iterable[str]) -> tuple[str, int]:
    """Id and generation of a new build of the same commit: `VERSION-1`, 1; then `-2` ..."""
    names = set(existing)
    if version not in names:
        return version, 0
    generation = 1
    while f"{version}-{generation}" in names:
        generation += 1
    return f"{version}-{generation}", generation


def check_id(version: str) -> str:
    """A version given by the user, fit for a folder name and an OCI tag.

    Raises `usage/version`.
    """
    if not _ID.fullmatch(version):
        raise CosaError(
            "usage/version",
            f"'{version}' cannot be a version",
            why="it names folders, files and container tags",
            fix="letters, digits and . _ + ~ - only, at most 128, starting with a letter or digit",
            exit_class=ExitClass.USAGE,
        )
    return version


def _numbers(parts: Parts) -> str:
    return f"{parts.release}.{parts.day}.{parts.stream}."


def _dated(prefix: str, moment: int) -> str:
    when = datetime.fromtimestamp(moment, UTC)
    return _DATE.sub(lambda found: when.strftime(found[1]), prefix)
