"""Adding a section to an ELF file: a note that nothing loads and that changes nothing else.

Layout and names are those of the ELF specification (gABI, chapters 4 and 5).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

MAGIC = b"\x7fELF"
_SECTION = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}  # by EI_CLASS: 32 and 64 bits
_SHOFF = {1: (0x20, "I"), 2: (0x28, "Q")}
_COUNTS = {1: 0x2E, 2: 0x3A}  # where e_shentsize, e_shnum, e_shstrndx stand
_NOTE = 7  # SHT_NOTE


def with_note(data: bytes, section: str, owner: str, text: str) -> bytes | None:
    """The file with a note section added; None when it has no section table to add it to."""
    if len(data) < 64 or data[:4] != MAGIC or data[4] not in _SECTION or data[5] not in (1, 2):
        return None
    order = "<" if data[5] == 1 else ">"
    layout = struct.Struct(order + _SECTION[data[4]])
    at, width = _SHOFF[data[4]]
    (start,) = struct.unpack_from(order + width, data, at)
    size, count, names = struct.unpack_from(order + "HHH", data, _COUNTS[data[4]])
    if not start or size != layout.size or not 0 < names < count < 0xFF00:
        return None
    if start + count * size > len(data):
        return None
    rows = [list(layout.unpack_from(data, start + index * size)) for index in range(count)]
    offset, length = rows[names][4], rows[names][5]
    if offset + length > len(data):
        return None
    texts = data[offset : offset + length]
    out = bytearray(data)
    note_at = _append(out, _note(order, owner, text))
    note_size = len(out) - note_at
    rows[names][4] = _append(out, texts + section.encode() + b"\0")
    rows[names][5] = len(out) - rows[names][4]
    # name, type, flags, address, offset, size, link, info, alignment, entry size
    rows.append([length, _NOTE, 0, 0, note_at, note_size, 0, 0, 4, 0])
    table = _append(out, b"".join(layout.pack(*row) for row in rows))
    struct.pack_into(order + width, out, at, table)
    struct.pack_into(order + "H", out, _COUNTS[data[4]] + 2, count + 1)
    return bytes(out)


def sections(data: bytes) -> Sequence[tuple[str, bytes]]:
    """Names and contents of a file's sections; none for a file without a table."""
    if len(data) < 64 or data[:4] != MAGIC:
        return ()
    order = "<" if data[5] == 1 else ">"
    layout = struct.Struct(order + _SECTION[data[4]])
    at, width = _SHOFF[data[4]]
    (start,) = struct.unpack_from(order + width, data, at)
    size, count, names = struct.unpack_from(order + "HHH", data, _COUNTS[data[4]])
    rows = [layout.unpack_from(data, start + index * size) for index in range(count)]
    texts = data[rows[names][4] :]
    return [
        (texts[row[0] : texts.index(b"\0", row[0])].decode(), data[row[4] : row[4] + row[5]])
        for row in rows
    ]


def _append(out: bytearray, data: bytes) -> int:
    out += bytes(-len(out) % 8)
    start = len(out)
    out += data
    return start


def _note(order: str, owner: str, text: str) -> bytes:
    name, desc = owner.encode() + b"\0", text.encode() + b"\0"
    padded = [part + bytes(-len(part) % 4) for part in (name, desc)]
    return struct.pack(order + "III", len(name), len(desc), 1) + b"".join(padded)
