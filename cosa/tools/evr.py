"""Which of two versions is newer, as rpm sees it."""

from __future__ import annotations

from cosa.model.package import Package


def compare(one: Package, other: Package) -> int:
    """-1, 0 or 1: whether the first is older, of the same version, or newer (rpm's own rules)."""
    import rpm

    first = (one.epoch or "0", one.version, one.release)
    second = (other.epoch or "0", other.version, other.release)
    return int(rpm.labelCompare(first, second))
