"""qcow2, version 3 (`compat=1.1`), not compressed: what QEMU and most clouds run from."""

from __future__ import annotations

from pathlib import Path

from cosa.tools import qemu_img


def convert(source: Path, out: Path) -> None:
    """Convert a raw disk. Holes take no room."""
    qemu_img.convert(source, out, "qcow2", options=("compat=1.1",))
