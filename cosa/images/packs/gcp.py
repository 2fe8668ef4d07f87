"""Google Compute Engine's archive: gzip of a GNU tar (the old format) with one sparse `disk.raw`.

Written here because where tar finds the holes depends on the file system the disk lies
on; these are the disk's zeros themselves, in units of 64 KiB. GNU's header for sparse files is in
the tar manual, "Basic Tar Format", `struct oldgnu_header` and `struct sparse_header`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cosa.images import sparse
from cosa.images.packs import Facts
from cosa.tools import tarwrite
from cosa.tools.gzipstream import GzipWriter

_IN_HEADER, _IN_BLOCK = 4, 21  # parts of the map in the header and in each block behind it

type Part = tuple[int, int]  # offset, bytes


def pack(disk: Path, out: Path, facts: Facts) -> None:
    """Write the archive of a raw disk."""
    size = disk.stat().st_size
    parts = _parts(disk)
    with out.open("wb") as file, GzipWriter(file) as gz:
        gz.write(sparse_header(b"disk.raw", size, parts, facts.epoch))
        total = 0
        for _, data in sparse.pieces(disk):
            gz.write(data)
            total += len(data)
        gz.write(bytes(tarwrite.padding(total)) + tarwrite.end())


def _parts(disk: Path) -> list[Part]:
    """The ranges that hold data, neighbours joined, and an empty one that says where the end is."""
    parts: list[Part] = []
    for offset, data in sparse.pieces(disk):
        if parts and sum(parts[-1]) == offset:
            parts[-1] = (parts[-1][0], parts[-1][1] + len(data))
        else:
            parts.append((offset, len(data)))
    size = disk.stat().st_size
    if not parts or sum(parts[-1]) != size:
        parts.append((size, 0))
    return parts


def sparse_header(name: bytes, size: int, parts: Sequence[Part], mtime: int) -> bytes:
    """The header (type S) and the blocks that continue its map."""
    stored = sum(length for _, length in parts)
    block = bytearray(tarwrite.header(b"S", name, size=stored, mtime=mtime))
    first, rest = parts[:_IN_HEADER], parts[_IN_HEADER:]
    block[386 : 386 + 24 * len(first)] = _map(first)
    block[482] = bool(rest)
    block[483:495] = tarwrite.number(size, 12)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    out = bytes(block)
    while rest:
        now, rest = rest[:_IN_BLOCK], rest[_IN_BLOCK:]
        out += _map(now).ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7)
    return out


def _map(parts: Sequence[Part]) -> bytes:
    return b"".join(
        tarwrite.number(offset, 12) + tarwrite.number(length, 12) for offset, length in parts
    )
