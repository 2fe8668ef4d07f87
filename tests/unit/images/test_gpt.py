"""Partition tables: what we write is a sound GPT, what is not one is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from cosa.core.errors import CosaError
from cosa.images import layout
from cosa.tools import gpt


def make(tmp_path: Path, arch: str = "x86_64") -> tuple[Path, layout.Disk]:
    disk = layout.place(arch, 700 * layout.MIB + 1)
    image = tmp_path / "disk"
    image.write_bytes(b"")
    with image.open("r+b") as file:
        file.truncate(disk.size)
    parts = [
        gpt.Partition(p.slot.number, p.slot.label, p.slot.kind, p.start, p.size)
        for p in disk.partitions
    ]
    gpt.write(image, layout.DISK_GUID, parts)
    return image, disk


@pytest.mark.parametrize("arch", layout.LAYOUTS)
def test_reads_back_what_was_written(tmp_path, arch):
    image, disk = make(tmp_path, arch)
    table = gpt.read(image)
    assert table.disk == layout.DISK_GUID
    assert [(p.number, p.name, p.kind, p.start, p.size) for p in table.partitions] == [
        (p.slot.number, p.slot.label, p.slot.kind, p.start, p.size) for p in disk.partitions
    ]


def test_both_tables_are_sound_and_point_at_each_other(tmp_path):
    image, _ = make(tmp_path)
    data = image.read_bytes()
    last = len(data) // 512 - 1
    for here, other, table in ((1, last, 2), (last, 1, last - 32)):
        head = bytearray(data[here * 512 :][:92])
        crc = struct.unpack("<I", head[16:20])[0]
        head[16:20] = bytes(4)
        assert zlib.crc32(head) == crc
        assert struct.unpack("<QQ", head[24:40]) == (here, other)
        assert struct.unpack("<Q", head[72:80])[0] == table
        assert zlib.crc32(data[table * 512 :][: 128 * 128]) == struct.unpack("<I", head[88:92])[0]
    assert data[510:512] == b"\x55\xaa"
    assert data[450] == 0xEE


def test_upstreams_ids_numbers_and_labels():
    """The values other tools rely on, written out once more, by hand."""
    slots = {s.number: (s.label, str(s.kind).upper(), s.size) for s in layout.slots("x86_64")}
    mib = 1 << 20
    assert slots == {
        1: ("BIOS-BOOT", "21686148-6449-6E6F-744E-656564454649", mib),
        2: ("EFI-SYSTEM", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", 127 * mib),
        3: ("boot", "BC13C2FF-59E6-4262-A352-B275FD6F7172", 384 * mib),
        4: ("root", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", 0),
    }
    assert str(layout.DISK_GUID) == "00000000-0000-4000-a000-000000000001"


@pytest.mark.parametrize("offset", [512, 512 + 16, 512 + 60, 1024 + 3])
def test_a_damaged_table_is_refused(tmp_path, offset):
    image, _ = make(tmp_path)
    with image.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))
    with pytest.raises(CosaError, match="no valid partition table"):
        gpt.read(image)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(CosaError, match="no valid partition table"):
        gpt.read(tmp_path / "x")
