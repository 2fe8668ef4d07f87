"""VMDK, streamOptimized: what AWS imports and what goes into an OVA.

Written here because qemu-img compresses on one processor with zlib (22 s for an
OS that takes 2 s this way) and draws a random content id. The layout is that of
VMware's "Virtual Disk Format 5.0", chapter "Stream-Optimized Compressed Sparse
Extents": header, descriptor, compressed grains with the tables that point at
them behind each group, directory, footer. Sectors have 512 bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from cosa.core import parallel
from cosa.images import sparse
from cosa.model.platforms import Platform
from cosa.tools import isal

SECTOR = 512
_GRAIN = sparse.UNIT // SECTOR  # sectors
_PER_TABLE = 512  # grains per grain table
_DESCRIPTOR = 20  # sectors, from sector 1 on
_OVERHEAD = 128  # sectors before the first grain
_AT_END = (1 << 64) - 1
# Newlines are checked, grains are compressed, markers stand before everything.
_FLAGS = 1 | 1 << 16 | 1 << 17
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_TABLE, _DIRECTORY, _FOOTER = 1, 2, 3
_BATCH = 16  # grains per task

_TEXT = """\
# Disk DescriptorFile
version=1
CID={cid:08x}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {sectors} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "6"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
ddb.toolsVersion = "2147483647"
"""


def convert(source: Path, out: Path, platform: Platform) -> None:  # noqa: ARG001  one interface
    """Convert a raw disk of whole sectors."""
    sectors = source.stat().st_size // SECTOR
    with out.open("w+b") as file:
        file.seek(_OVERHEAD * SECTOR)
        cid, directory = _write_grains(file, source, sectors)
        end = _marked(file, _DIRECTORY, struct.pack(f"<{len(directory)}I", *directory))
        _marked(file, _FOOTER, _header(sectors, end).ljust(SECTOR, b"\0"))
        file.write(bytes(SECTOR))  # the end of the stream
        file.seek(0)
        file.write(_header(sectors, _AT_END).ljust(SECTOR, b"\0"))
        cylinders = min(sectors // (255 * 63), 65535)
        text = _TEXT.format(cid=cid or 1, sectors=sectors, cylinders=cylinders)
        file.write(text.encode().ljust(_DESCRIPTOR * SECTOR, b"\0"))


def _header(sectors: int, directory: int) -> bytes:
    """The extent's header: magic, version 3, flags, capacity ... deflate."""
    return _HEADER.pack(
        b"KDMV", 3, _FLAGS, sectors, _GRAIN, 1, _DESCRIPTOR, _PER_TABLE, 0, directory,
        _OVERHEAD, 0, b"\n \r\n", 1,
    )  # fmt: skip


def _write_grains(file: IO[bytes], source: Path, sectors: int) -> tuple[int, list[int]]:
    """Grains and their tables; a number that follows from them all, and the directory."""
    span = _GRAIN * _PER_TABLE
    directory = [0] * -(-sectors // span)
    table: list[int] = []
    current = cid = 0

    def finish() -> None:
        if table:
            directory[current] = _marked(file, _TABLE, struct.pack(f"<{_PER_TABLE}I", *table))

    for sector, packed in _packed(source):
        if not table or sector // span != current:
            finish()
            current, table = sector // span, [0] * _PER_TABLE
        table[sector % span // _GRAIN] = file.tell() // SECTOR
        grain = struct.pack("<QI", sector, len(packed)) + packed
        file.write(grain + bytes(-len(grain) % SECTOR))
        cid = zlib.crc32(grain, cid)
    finish()
    return cid, directory


def _marked(file: IO[bytes], kind: int, data: bytes) -> int:
    """Write a marker and what it announces; the sector the latter begins at."""
    count = -(-len(data) // SECTOR)
    file.write(struct.pack("<QII", count, 0, kind).ljust(SECTOR, b"\0"))
    start = file.tell() // SECTOR
    file.write(data.ljust(count * SECTOR, b"\0"))
    return start


def _packed(source: Path) -> Iterator[tuple[int, bytes]]:
    """Compressed grains by first sector, in order, made on all processors."""
    waiting: deque[Future[list[tuple[int, bytes]]]] = deque()
    batch: list[tuple[int, bytes]] = []
    limit = 2 * parallel.jobs() + 2
    with ThreadPoolExecutor(parallel.jobs()) as pool:
        for piece in sparse.pieces(source):
            batch.append(piece)
            if len(batch) == _BATCH:
                waiting.append(pool.submit(_deflate, batch))
                batch = []
            while len(waiting) > limit:
                yield from waiting.popleft().result()
        waiting.append(pool.submit(_deflate, batch))
        while waiting:
            yield from waiting.popleft().result()


def _deflate(batch: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [
        (offset // SECTOR, isal.deflate(data.ljust(sparse.UNIT, b"\0"))) for offset, data in batch
    ]
