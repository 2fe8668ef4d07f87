"""Where the parts of a parsed file stand."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Place:
    """Where a value begins (line and column count from 1), and the places of its parts."""

    line: int
    column: int
    children: dict[str | int, Place] = field(default_factory=dict)
    keys: dict[str | int, tuple[int, int]] = field(default_factory=dict)
