"""The raw disk itself."""

from __future__ import annotations

from pathlib import Path

from cosa.images.sparse import sparse_copy
from cosa.model.platforms import Platform


def convert(source: Path, out: Path, platform: Platform) -> None:  # noqa: ARG001  one interface
    """Copy a raw disk, holes kept."""
    sparse_copy(source, out)
