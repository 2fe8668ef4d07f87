"""qcow2, version 3 (`compat=1.1`): what QEMU and most clouds run from."""

from __future__ import annotations

from pathlib import Path

from cosa.model.platforms import Platform
from cosa.tools import qemu_img


def convert(source: Path, out: Path, platform: Platform) -> None:
    """Convert a raw disk; compressed inside where the platform wants it. Holes take no room."""
    qemu_img.convert(
        source, out, "qcow2", options=("compat=1.1",), compress=platform.compressed
    )  # fmt: skip
