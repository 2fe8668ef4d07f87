"""A tar reader for archives nobody vouches for: one pass, bounded, strict.

Reads what dpkg-deb writes (ustar, GNU long names, PAX headers; tar(5)). It
holds at most one header in memory, refuses sizes beyond the limits and knows a
truncated archive from a finished one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cosa.core.errors import CosaError, ExitClass

BLOCK = 512
MAX_HEADER = 1 << 16  # bytes of a long name or a PAX header
MAX_FILE = (1 << 32) - 1  # what a cpio newc entry can hold
MAX_TOTAL = 1 << 34
MAX_MEMBERS = 1_000_000
_QUOTED = 300  # characters of a message
_DECIMAL = re.compile(rb"-?\d{1,18}(?:\.\d{0,18})?")
CHUNK = 1 << 20

FILE, HARDLINK, SYMLINK, CHARDEV, BLOCKDEV, DIRECTORY, FIFO = "0123456"


class Reader(Protocol):
    """Anything bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; nothing at the end."""
        ...


@dataclass
class Member:
    """One entry: names without leading `./` or trailing `/`, `kind` one of the constants."""

    name: str
    kind: str
    mode: int
    size: int
    mtime: int
    user: str
    group: str
    link: str = ""
    xattrs: dict[str, bytes] = field(default_factory=dict)


class TarStream:
    """Iterate the members of a tar stream; `read()` gives the current one's content."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._left = 0
        self._pad = 0
        self._total = 0

    def __iter__(self) -> Iterator[Member]:
        extra: dict[str, bytes] = {}
        for count in range(MAX_MEMBERS):
            block = self._next_header()
            if block is None:
                self._drain()
                return
            kind = chr(block[156]) if block[156] else FILE
            size = _number(block[124:136])
            if kind in "LKxg":
                extra |= self._extended(kind, size)
                continue
            yield self._member(block, kind, size, extra)
            extra = {}
            if count == MAX_MEMBERS - 1:
                break
        raise bad(f"more than {MAX_MEMBERS} entries")

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes of the current member's content; empty at its end."""
        want = min(size, self._left)
        data = self._exactly(want)
        self._left -= want
        return data

    def _next_header(self) -> bytes | None:
        while self._left:
            self.read()
        self._exactly(self._pad)
        self._pad = 0
        block = self._exactly(BLOCK)
        if block.count(0) == BLOCK:
            return None
        told = _number(block[148:156])
        if told != sum(block) - sum(block[148:156]) + 8 * 32:
            raise bad("a header's checksum does not hold")
        return block

    def _drain(self) -> None:
        """Read to the end, or a damaged end of the compressed stream would go unseen."""
        while chunk := self._source.read(CHUNK):
            self._total += len(chunk)
            if chunk.count(0) != len(chunk) or self._total > MAX_TOTAL:
                raise bad("something follows its end")

    def _open(self, size: int) -> None:
        self._total += size
        if size > MAX_FILE or self._total > MAX_TOTAL:
            raise bad("it unpacks to more than is allowed")
        self._left, self._pad = size, -size % BLOCK

    def _extended(self, kind: str, size: int) -> dict[str, bytes]:
        if size > MAX_HEADER:
            raise bad(f"an extended header of {size} bytes")
        self._open(size)
        data = self.read(size)
        if kind == "L":
            return {"path": data.rstrip(b"\0")}
        if kind == "K":
            return {"linkpath": data.rstrip(b"\0")}
        return _pax(data) if kind == "x" else {}

    def _member(self, block: bytes, kind: str, size: int, extra: dict[str, bytes]) -> Member:
        name = block[:100].split(b"\0")[0]
        if block[257:263] == b"ustar\0" and block[345]:
            name = block[345:500].split(b"\0")[0] + b"/" + name
        name = extra.get("path", name)
        link = extra.get("linkpath", block[157:257].split(b"\0")[0])
        size = int(_decimal(extra["size"])) if "size" in extra else size
        if kind == "7":  # "contiguous", which POSIX treats as a plain file
            kind = FILE
        if kind not in "0123456":
            raise bad(f"an entry of the unknown type {kind!r}: {_text(name)!r}")
        # Only plain files have content, whatever the size field says of others.
        self._open(size if kind == FILE else 0)
        path = _text(name)
        if kind == DIRECTORY or path.endswith("/"):
            path = path.rstrip("/")
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        target = _text(link)
        if kind == HARDLINK:
            while target.startswith("./"):
                target = target[2:].lstrip("/")
        prefix = "SCHILY.xattr."
        return Member(
            name="" if path == "." else path,
            kind=kind,
            mode=_number(block[100:108]) & 0o7777,
            size=size if kind == FILE else 0,
            mtime=max(
                0, int(_decimal(extra["mtime"])) if "mtime" in extra else _number(block[136:148])
            ),
            user=_text(extra.get("uname", block[265:297].split(b"\0")[0])),
            group=_text(extra.get("gname", block[297:329].split(b"\0")[0])),
            link=target if kind in (HARDLINK, SYMLINK) else "",
            xattrs={k.removeprefix(prefix): v for k, v in extra.items() if k.startswith(prefix)},
        )

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        while len(data) < size:
            more = self._source.read(size - len(data))
            if not more:
                raise CosaError(
                    "standin/truncated", "the archive ends too early",
                    exit_class=ExitClass.UNTRUSTED,
                )  # fmt: skip
            data += more
        return data


def _number(field_: bytes) -> int:
    """Octal text, or base 256 when the top bit is set (GNU)."""
    if field_[0] & 0x80:
        return int.from_bytes(bytes([field_[0] & 0x7F]) + field_[1:])
    text = field_.split(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise bad(f"a header holds {text!r} where a number belongs") from None


def _decimal(text: bytes) -> float:
    """A number of a PAX header; a time may have a sign and a fraction."""
    if not _DECIMAL.fullmatch(text):
        raise bad(f"a PAX header holds {text[:40]!r} where a number belongs")
    return float(text) if b"." in text else int(text)


def _pax(data: bytes) -> dict[str, bytes]:
    """The records `LENGTH KEY=VALUE` newline of a PAX header."""
    records: dict[str, bytes] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise bad("a PAX header that cannot be read")
        key, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals:
            raise bad("a PAX header that cannot be read")
        if key.startswith(b"GNU.sparse"):
            raise bad("a sparse file")
        records[os.fsdecode(key)] = value
        data = data[int(length) :]
    return records


def _text(raw: bytes) -> str:
    """Names are bytes; odd ones survive as surrogates."""
    return os.fsdecode(raw)


def bad(what: str) -> CosaError:
    """The error for an archive that should not be trusted."""
    what = what if len(what) <= _QUOTED else f"{what[:_QUOTED]}..."
    return CosaError(
        "standin/bad-archive", f"the archive is refused: {what}", exit_class=ExitClass.UNTRUSTED
    )
