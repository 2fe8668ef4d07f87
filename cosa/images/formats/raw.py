"""The raw disk itself: for bare metal."""

from __future__ import annotations

from pathlib import Path

from cosa.images.sparse import sparse_copy


def convert(source: Path, out: Path) -> None:
    """Copy a raw disk, holes kept."""
    sparse_copy(source, out)
