"""VHDX, growing, for Hyper-V.

qemu-img writes it; the ids it draws and the log it leaves behind are taken out, so
that the same disk is the same file (Microsoft's [MS-VHDX]).
"""

from __future__ import annotations

import os
import struct
from functools import cache
from pathlib import Path
from uuid import UUID, uuid5

from cosa.core.errors import CosaError, ExitClass
from cosa.images.layout import DISK_GUID
from cosa.model.platforms import Platform
from cosa.tools import qemu_img

_HEADERS = (64 * 1024, 128 * 1024)
_HEADER = 4096
_REGIONS = 192 * 1024
_METADATA = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
_PAGE83 = UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")  # the id the guest sees


def convert(source: Path, out: Path, platform: Platform) -> None:
    """Convert a raw disk."""
    qemu_img.convert(source, out, "vhdx", options=("subformat=dynamic",))
    disk = uuid5(DISK_GUID, platform.name)
    with out.open("r+b", buffering=0) as file:
        fd = file.fileno()
        _settle_headers(fd, disk)
        metadata = _entry(os.pread(fd, 65536, _REGIONS), 16, _METADATA, out)
        table = os.pread(fd, 65536, metadata)
        os.pwrite(fd, disk.bytes_le, metadata + _entry(table, 32, _PAGE83, out, "<I"))


def _settle_headers(fd: int, disk: UUID) -> None:
    """Both headers: ids that follow from the disk's, small sequence numbers, an empty log.

    A log id of zero says that nothing is to be replayed; what is in the log then
    means nothing, and is removed.
    """
    headers = [bytearray(os.pread(fd, _HEADER, start)) for start in _HEADERS]
    numbers = [struct.unpack_from("<Q", header, 8)[0] for header in headers]
    for start, header, number in zip(_HEADERS, headers, numbers, strict=True):
        # The one with the larger number is in force.
        struct.pack_into("<Q", header, 8, int(number == max(numbers)))
        length, offset = struct.unpack_from("<IQ", header, 68)
        header[16:32] = uuid5(disk, "file").bytes_le
        header[32:48] = uuid5(disk, "data").bytes_le
        header[48:64] = bytes(16)
        header[4:8] = bytes(4)
        header[4:8] = struct.pack("<I", crc32c(bytes(header)))
        os.pwrite(fd, header, start)
        os.pwrite(fd, bytes(length), offset)


def _entry(table: bytes, start: int, name: UUID, out: Path, fmt: str = "<Q") -> int:
    """The offset a table (of regions or metadata items, 32 bytes each) gives for an id."""
    at = table.find(name.bytes_le, start)
    if at < 0 or (at - start) % 32:
        raise CosaError(
            "image/vhdx", f"{out.name} lacks what every VHDX has", why=f"no entry {name}",
            exit_class=ExitClass.STEP,
        )  # fmt: skip
    found: int = struct.unpack_from(fmt, table, at + 16)[0]
    return found


@cache
def _table() -> tuple[int, ...]:
    out = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        out.append(value)
    return tuple(out)


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC, which zlib does not have."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
