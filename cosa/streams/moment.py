"""Times people write: always absolute, never in the machine's own zone."""

from __future__ import annotations

import re
from datetime import datetime

from cosa.core import clock
from cosa.core.errors import CosaError, ExitClass

_LATEST = 253402300799  # the last second of the year 9999


def parse(text: str, option: str) -> int:
    """Seconds since 1970 from `2026-11-24T14:00Z`, another offset, or the number itself.

    Raises `usage/time`: for words, and for times that do not say their zone.
    """
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CosaError(
            "usage/time", f"{option}: {text!r} is no absolute time",
            fix="write it as 2026-11-24T14:00Z, or as seconds since 1970",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return int(moment.timestamp())


def said(seconds: int) -> str:
    """A time for people, in UTC; those no calendar has are given as seconds."""
    if not 0 <= seconds <= _LATEST:
        return f"{seconds} s after 1970"
    return clock.iso(seconds)
