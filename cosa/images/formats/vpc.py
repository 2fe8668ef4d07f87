"""VHD, fixed size, as Azure takes it: the raw disk and a footer of 512 bytes.

qemu-img writes it; the footer's random id and the time are replaced, so that the same
disk is the same file (Microsoft's "Virtual Hard Disk Image Format Specification").
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from uuid import uuid5

from cosa.core.errors import CosaError, ExitClass
from cosa.images.layout import DISK_GUID, MIB
from cosa.model.platforms import Platform
from cosa.tools import qemu_img

_FOOTER = 512
_TIME, _SUM, _ID = 24, 64, 68


def convert(source: Path, out: Path, platform: Platform) -> None:
    """Convert a raw disk of whole MiB. Raises `image/size` for another."""
    if source.stat().st_size % MIB:
        raise CosaError(
            "image/size", f"a disk for {platform.name} must have whole MiB",
            why=f"it has {source.stat().st_size} bytes", exit_class=ExitClass.STEP,
        )  # fmt: skip
    # force_size: else the size is rounded to what old geometries can say.
    qemu_img.convert(source, out, "vpc", options=("subformat=fixed", "force_size"))
    with out.open("r+b") as file:
        file.seek(-_FOOTER, os.SEEK_END)
        footer = bytearray(file.read())
        footer[_TIME : _TIME + 4] = bytes(4)
        footer[_ID : _ID + 16] = uuid5(DISK_GUID, platform.name).bytes
        footer[_SUM : _SUM + 4] = bytes(4)
        footer[_SUM : _SUM + 4] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
        file.seek(-_FOOTER, os.SEEK_END)
        file.write(footer)
