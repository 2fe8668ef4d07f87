"""The one door to the time of day, so that a build can be given another day.

`COSA_FAKE_TIME` (seconds since 1970) replaces the wall clock for everything
that ends up in a build; durations always come from the monotonic clock.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


def now() -> int:
    """Seconds since 1970, as builds see them."""
    fake = os.environ.get("COSA_FAKE_TIME")
    return int(fake) if fake else int(time.time())


def now_ns() -> int:
    """Nanoseconds since 1970, as builds see them."""
    return now() * 10**9 if os.environ.get("COSA_FAKE_TIME") else time.time_ns()


def wall() -> float:
    """Seconds since 1970, as they are: for guests and other things of this machine, not builds."""
    return time.time()


def source_date_epoch() -> int | None:
    """`SOURCE_DATE_EPOCH` if the caller set it (reproducible-builds.org), else None."""
    value = os.environ.get("SOURCE_DATE_EPOCH")
    return int(value) if value else None


def monotonic() -> float:
    """Seconds for measuring durations."""
    return time.monotonic()


def iso(seconds: int) -> str:
    """`2026-11-22T17:00:00Z`, the form meta.json uses."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(seconds: int) -> str:
    """`20261122` in UTC, the Y part of a version."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d")


def sleep(seconds: float) -> None:
    """Wait, in a loop that looks for something now and then."""
    time.sleep(seconds)
