"""A gzip stream made on all processors, the same bytes whatever their number.

The input is cut into fixed pieces, each compressed on its own and ended on a byte
boundary (a sync flush); joined they are one deflate stream in one gzip member, which every
reader takes (some read only the first of several members).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Self

from cosa.core import parallel
from cosa.tools import isal

_PIECE = 1 << 20
# No name, no time, unknown system: nothing of the machine.
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST = b"\x03\x00"  # an empty final deflate block


class GzipWriter:
    """Compresses what is written to it into `out`; use as a context manager.

    After the block `digest` and `size` are those of the compressed stream, `plain_digest`
    (an OCI diffid) and `plain_size` those of what was written; digests are hex sha256.
    """

    def __init__(self, out: IO[bytes], workers: int = 0) -> None:
        self._out = out
        count = workers or parallel.jobs()
        self._pool = ThreadPoolExecutor(count)
        self._limit = 2 * count + 2
        self._waiting: deque[Future[bytes]] = deque()
        self._piece = bytearray()
        self._plain = hashlib.sha256()
        self._hash = hashlib.sha256()
        self._crc = 0
        self.plain_size = 0
        self.size = 0
        self.digest = self.plain_digest = ""
        self._emit(_HEAD)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes in; full pieces are compressed beside."""
        self._piece += data
        if len(self._piece) >= _PIECE:
            view = memoryview(self._piece)
            whole = len(view) - len(view) % _PIECE
            for at in range(0, whole, _PIECE):
                self._submit(bytes(view[at : at + _PIECE]))
            view.release()
            del self._piece[:whole]

    def copy(self, read: Callable[[int], bytes]) -> int:
        """Take in everything `read(n)` gives; how many bytes that was."""
        total = 0
        while data := read(_PIECE):
            self.write(data)
            total += len(data)
        return total

    def _submit(self, piece: bytes) -> None:
        self._waiting.append(self._pool.submit(_deflate, piece))
        self._plain.update(piece)
        self._crc = zlib.crc32(piece, self._crc)
        self.plain_size += len(piece)
        while len(self._waiting) > self._limit:
            self._emit(self._waiting.popleft().result())

    def _finish(self) -> None:
        if self._piece:
            self._submit(bytes(self._piece))
            self._piece.clear()
        while self._waiting:
            self._emit(self._waiting.popleft().result())
        self._emit(_LAST + struct.pack("<II", self._crc, self.plain_size & 0xFFFFFFFF))
        self.digest = self._hash.hexdigest()
        self.plain_digest = self._plain.hexdigest()

    def _emit(self, data: bytes) -> None:
        self._out.write(data)
        self._hash.update(data)
        self.size += len(data)


def _deflate(piece: bytes) -> bytes:
    engine = isal.engine()
    press = engine.compressobj(isal.LEVEL, engine.DEFLATED, -15)
    return bytes(press.compress(piece) + press.flush(engine.Z_SYNC_FLUSH))


def engine_version() -> str:
    """What decides the compressed bytes beside the input; part of a build's inputs."""
    return f"{isal.version()} piece {_PIECE}"
