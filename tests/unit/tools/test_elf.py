"""A note added to a program changes its bytes, and nothing it does."""

import random
import struct
import subprocess
from pathlib import Path

import pytest

from cosa.tools import elf

PROGRAM = Path("/bin/true").resolve().read_bytes()


def test_a_program_with_a_note_still_runs(tmp_path):
    made = elf.with_note(PROGRAM, ".note.test", "cosa", "hello")
    path = tmp_path / "true"
    path.write_bytes(made)
    path.chmod(0o755)
    assert subprocess.run([path], check=False).returncode == 0
    before, after = elf.sections(PROGRAM), elf.sections(made)
    assert [name for name, _ in after] == [*(name for name, _ in before), ".note.test"]
    assert b"hello" in after[-1][1]
    code = dict(before)
    assert all(data == code[name] for name, data in after if name in (".text", ".rodata", ".data"))
    assert elf.with_note(made, ".note.more", "cosa", "x") is not None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x7fELF", b"#!/bin/sh\n" * 20, PROGRAM[:1000], b"\x7fELF\x02\x01" + bytes(100),
        b"\x7fELF\x09\x01" + bytes(100), bytes(4096),
    ],
)  # fmt: skip
def test_what_has_no_section_table_is_left_alone(data):
    assert elf.with_note(data, ".note.test", "cosa", "x") is None


def test_other_byte_order_and_width(tmp_path):
    """A hand-made 32-bit big-endian file of one section, as on older s390."""

    texts = b"\0.shstrtab\0"
    head = bytearray(b"\x7fELF\x01\x02" + bytes(58))
    struct.pack_into(">I", head, 0x20, 80)
    struct.pack_into(">HHH", head, 0x2E, 40, 2, 1)
    rows = bytes(40) + struct.pack(">10I", 1, 3, 0, 0, 64, len(texts), 0, 0, 1, 0)
    data = bytes(head) + texts.ljust(16, b"\0") + rows
    made = elf.with_note(data, ".note.test", "cosa", "x")
    assert [name for name, _ in elf.sections(made)] == ["", ".shstrtab", ".note.test"]


def test_damaged_programs_are_no_trouble():
    chance = random.Random(1)
    for _ in range(2000):
        raw = bytearray(PROGRAM[:4096] + PROGRAM[-4096:])
        struct.pack_into("<Q", raw, 0x28, 4096 + chance.randrange(4096))
        for _ in range(chance.randint(1, 8)):
            raw[chance.randrange(64)] = chance.randrange(256)
        elf.with_note(bytes(raw), ".note.test", "cosa", "x")
