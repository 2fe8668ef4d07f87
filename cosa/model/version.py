"""Versions of builds.

Upstream's scheme (`versionary` in fedora-coreos-config) is X.Y.Z.N: releasever,
day, number of the stream, counter. Builds outside a release pipeline count
`X.Y.Z.devN` from the builds there are. A definition whose stream has no number
uses rpm-ostree's `automatic-version-prefix`, or Z = 0 without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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


@dataclass(frozen=True)
class Scheme:
    """What a definition says about its versions. `day` is YYYYMMDD, `moment` seconds (UTC)."""

    releasever: str
    stream: str
    prefix: str | None
    suffix: str
    day: str
    moment: int

    def base(self) -> str:
        """Everything of the next version but its counter."""
        if self.stream in STREAMS:
            return f"{self.releasever}.{self.day}.{STREAMS[self.stream]}.dev"
        if self.prefix:
            return _dated(self.prefix, self.moment) + (self.suffix or ".")
        return f"{self.releasever}.{self.day}.0.dev"


def scheme(
    *,
    releasever: str | None,
    variables: dict[str, object],
    prefix: str | None,
    suffix: str | None,
    lock_day: str | None,
) -> Scheme:
    """The scheme of a definition; `lock_day` is the day its base lockfile was made, if any."""
    pinned = clock.source_date_epoch()
    moment = clock.now() if pinned is None else pinned
    return Scheme(
        str(releasever or "0"), str(variables.get("stream", "")), prefix, suffix or "",
        lock_day or clock.day(moment), moment,
    )  # fmt: skip


def next_version(base: str, existing: Iterable[str]) -> str:
    """`base` with the first number after all those used: `13.20261122.dev.3`.

    Ids of image-only rebuilds (`VERSION-1`) count as their version.
    """
    used = [-1]
    for name in existing:
        version = name.split("-", 1)[0] if name.startswith(base) else name
        rest = version.removeprefix(base)
        if version.startswith(base) and rest.isdigit():
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


def _dated(prefix: str, moment: int) -> str:
    when = datetime.fromtimestamp(moment, UTC)
    return _DATE.sub(lambda found: when.strftime(found[1]), prefix)
