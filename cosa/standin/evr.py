"""Versions: from dpkg's form to RPM's, and both orders.

dpkg writes `[epoch:]upstream[-revision]` (deb-version(7)); RPM keeps epoch,
version and release apart. The mapping must keep every comparison that is
actually made in a repository; `cosa.standin.meaning` checks that it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest

from cosa.core.errors import CosaError, ExitClass

_VERSION = re.compile(r"(?:(\d+):)?([A-Za-z0-9.+~-]+?)(?<!-)(?:-([A-Za-z0-9.+~]+))?")
_DPKG_PART = re.compile(r"(\D*)(\d*)")


@dataclass(frozen=True)
class Evr:
    """Epoch (0 when absent), version and release as RPM takes them."""

    epoch: int
    version: str
    release: str

    def __str__(self) -> str:
        """`1:2.3-4`; the epoch is left out when it is 0."""
        return f"{self.epoch}:{self.version}-{self.release}" if self.epoch else self.bare

    @property
    def bare(self) -> str:
        """`2.3-4`, as file names have it."""
        return f"{self.version}-{self.release}"


def convert(text: str) -> Evr:
    """A Debian version as RPM's.

    A dash inside the upstream version becomes `_`, which is a separator to RPM
    too. A missing revision is `0`: that is what dpkg compares it as, and only
    with it written out do `<<`, `<=`, `=`, `>=` keep their meaning.

    >>> str(convert("1:2.41-12+deb13u4"))
    '1:2.41-12+deb13u4'
    >>> str(convert("12.3"))
    '12.3-0'

    Raises `standin/version` for anything that is not a Debian version.
    """
    match = _VERSION.fullmatch(text)
    if not match:
        raise CosaError(
            "standin/version",
            f"{text!r} is not a Debian version",
            exit_class=ExitClass.UNTRUSTED,
        )
    epoch, upstream, revision = match.groups()
    return Evr(int(epoch or 0), upstream.replace("-", "_"), revision or "0")


def rpm_compare(one: Evr, two: Evr) -> int:
    """-1, 0 or 1 as RPM orders them."""
    import rpm

    def triple(evr: Evr) -> tuple[str, str, str]:
        return str(evr.epoch), evr.version, evr.release

    return int(rpm.labelCompare(triple(one), triple(two)))


def dpkg_compare(one: str, two: str) -> int:
    """-1, 0 or 1 as dpkg orders them (deb-version(7), "Sorting algorithm")."""
    left, right = _split(one), _split(two)
    if left[0] != right[0]:
        return -1 if left[0] < right[0] else 1
    return _part_compare(left[1], right[1]) or _part_compare(left[2], right[2])


def _split(text: str) -> tuple[int, str, str]:
    epoch, colon, rest = text.partition(":")
    if not colon:
        epoch, rest = "0", text
    upstream, _, revision = rest.rpartition("-")
    if not upstream:
        upstream, revision = revision, "0"
    return int(epoch), upstream, revision


def _part_compare(one: str, two: str) -> int:
    pairs = zip_longest(_DPKG_PART.findall(one), _DPKG_PART.findall(two), fillvalue=("", ""))
    for (text1, number1), (text2, number2) in pairs:
        for char1, char2 in zip_longest(text1, text2, fillvalue=""):
            order1, order2 = _weight(char1), _weight(char2)
            if order1 != order2:
                return -1 if order1 < order2 else 1
        value1, value2 = int(number1 or 0), int(number2 or 0)
        if value1 != value2:
            return -1 if value1 < value2 else 1
    return 0


def _weight(char: str) -> int:
    """Tilde before the end, the end before letters, letters before the rest."""
    if char == "~":
        return -1
    if not char:
        return 0
    return ord(char) if char.isalpha() else ord(char) + 256
