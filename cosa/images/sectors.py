"""A disk for machines whose disks have sectors of 4096 bytes.

Partitions stay where they are, in bytes; the tables and the FAT count in sectors and
are written again. A BIOS does not boot from such disks: its boot code goes.
"""

from __future__ import annotations

import os
from pathlib import Path

from cosa.core import run
from cosa.images import layout, sparse
from cosa.tools import gpt, mkfs

_ENV = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": os.devnull}


def widen(image: Path, scratch: Path, sector: int) -> None:
    """Turn a raw disk with sectors of 512 bytes into one with larger ones, in place."""
    table = gpt.read(image)
    esp = table.named("EFI-SYSTEM")
    files = scratch / "esp"
    files.mkdir()
    run.run(["mcopy", "-s", "-i", f"{image}@@{esp.start}", "::", files], env=_ENV)
    fresh = scratch / "esp.fat"
    found = sorted(path for path in files.rglob("*") if path.is_file())
    mkfs.fat(
        fresh, size=esp.size, label="EFI-SYSTEM", volume_id=layout.ESP_VOLUME_ID,
        epoch=_epoch(image, table), sector=sector,
        files=[(str(path.relative_to(files)), path) for path in found],
    )  # fmt: skip
    with image.open("r+b", buffering=0) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        os.pwrite(fd, bytes(layout.MIB), 0)
        os.pwrite(fd, bytes(layout.MIB), size - layout.MIB)
        for part in table.partitions:
            if part.name == "BIOS-BOOT":
                os.pwrite(fd, bytes(part.size), part.start)
        for offset, data in sparse.pieces(image, esp.start, esp.start + esp.size):
            os.pwrite(fd, bytes(len(data)), offset)
        for offset, data in sparse.pieces(fresh):
            os.pwrite(fd, data, esp.start + offset)
    gpt.write(image, table.disk, table.partitions, sector)


def _epoch(image: Path, table: gpt.Table) -> int:
    """The disk's own time: when its boot file system was made (superblock, s_mkfs_time)."""
    with image.open("rb") as file:
        file.seek(table.named("boot").start + 1024 + 264)
        return int.from_bytes(file.read(4), "little")
