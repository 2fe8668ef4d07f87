"""GUID partition tables, written and read without a block device (UEFI 2.10, chapter 5)."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from cosa.core.errors import CosaError

SECTOR = 512
_ENTRIES = 128
_ENTRY = 128  # bytes
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")  # 92 bytes
# Partitions get ids that follow from the disk's, so that equal disks have equal ones.
_NAMESPACE = UUID("8b1c9e9e-6e5d-4a53-9d3f-0b1f7c6a2d11")


@dataclass(frozen=True)
class Partition:
    """One entry; `start` and `size` in bytes, whole sectors."""

    number: int
    name: str
    kind: UUID
    start: int
    size: int


@dataclass(frozen=True)
class Table:
    """What a disk's primary table says."""

    disk: UUID
    partitions: tuple[Partition, ...]

    def named(self, name: str) -> Partition:
        """The partition called so. Raises `gpt/no-partition`."""
        for partition in self.partitions:
            if partition.name == name:
                return partition
        raise CosaError("gpt/no-partition", f"the disk has no partition '{name}'")


def write(image: Path, disk: UUID, partitions: Sequence[Partition], sector: int = SECTOR) -> None:
    """Write protective MBR, primary and backup table into an image of its final size.

    `sector` is the disk's logical sector in bytes. The MBR's boot code (first 440 bytes) is
    left as it is.
    """
    sectors = image.stat().st_size // sector
    entries = bytearray(_ENTRIES * _ENTRY)
    for part in partitions:
        entry = struct.pack(
            "<16s16sQQQ72s",
            part.kind.bytes_le, uuid5(_NAMESPACE, f"{disk}/{part.number}").bytes_le,
            part.start // sector, (part.start + part.size) // sector - 1, 0,
            part.name.encode("utf-16le"),
        )  # fmt: skip
        offset = (part.number - 1) * _ENTRY
        entries[offset : offset + _ENTRY] = entry
    last = sectors - 1
    table = len(entries) // sector  # sectors
    primary = _header(disk, bytes(entries), last, table, primary=True)
    backup = _header(disk, bytes(entries), last, table, primary=False)
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), _protective(sectors), 440)
        os.pwrite(file.fileno(), primary.ljust(sector, b"\0") + entries, sector)
        os.pwrite(file.fileno(), bytes(entries), (last - table) * sector)
        os.pwrite(file.fileno(), backup.ljust(sector, b"\0"), last * sector)


def _protective(sectors: int) -> bytes:
    """Bytes 440..511 of sector 0: one partition of type EE over everything."""
    size = min(sectors - 1, 0xFFFFFFFF)
    entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, size)
    return bytes(6) + entry + bytes(48) + b"\x55\xaa"


def _header(disk: UUID, entries: bytes, last: int, size: int, *, primary: bool) -> bytes:
    """One of the two headers of a disk whose last sector is `last`; the entries fill `size`."""
    here, other, table = (1, last, 2) if primary else (last, 1, last - size)
    usable = 2 + size, last - 1 - size
    fields = (
        b"EFI PART", 0x10000, _HEADER.size, 0, 0, here, other, *usable, disk.bytes_le,
        table, _ENTRIES, _ENTRY, zlib.crc32(entries),
    )  # fmt: skip
    raw = bytearray(_HEADER.pack(*fields))
    raw[16:20] = struct.pack("<I", zlib.crc32(bytes(raw)))
    return bytes(raw)


def read(image: Path, sector: int = SECTOR) -> Table:
    """The primary table of a raw image with sectors of that size.

    Raises `gpt/invalid` for anything but a sound GPT.
    """
    with image.open("rb") as file:
        head = os.pread(file.fileno(), SECTOR, sector)
        if len(head) < SECTOR:
            raise _invalid(image, "the file is shorter than a table")
        fields = _HEADER.unpack(head[: _HEADER.size])
        zeroed = head[:16] + bytes(4) + head[20 : _HEADER.size]
        if fields[0] != b"EFI PART" or fields[3] != zlib.crc32(zeroed):
            raise _invalid(image, "signature or checksum of the header is wrong")
        start, count, size, crc = fields[10:]
        if size != _ENTRY or count > 1024:
            raise _invalid(image, f"{count} entries of {size} bytes are not usual")
        if start * sector + count * size > os.fstat(file.fileno()).st_size:
            raise _invalid(image, "its entries lie beyond its end")
        entries = os.pread(file.fileno(), count * size, start * sector)
    if zlib.crc32(entries) != crc:
        raise _invalid(image, "the checksum of the entries is wrong")
    found = []
    for number in range(1, count + 1):
        raw = entries[(number - 1) * _ENTRY : number * _ENTRY]
        kind, _, first, last, _, name = struct.unpack("<16s16sQQQ72s", raw)
        if any(kind):
            text = name.decode("utf-16le", "replace").split("\0")[0]
            if not 0 < first <= last < 1 << 55:
                raise _invalid(image, f"partition {number} ends before it begins, or nowhere")
            length = (last - first + 1) * sector
            found.append(Partition(number, text, UUID(bytes_le=kind), first * sector, length))
    return Table(UUID(bytes_le=fields[9]), tuple(found))


def _invalid(image: Path, why: str) -> CosaError:
    return CosaError("gpt/invalid", f"{image} holds no valid partition table", why=why)
