"""GNU tar headers, written by hand: every byte of a layer is ours, so that it is reproducible.

Python's tarfile drops PAX records in GNU format and adds records of its own in PAX format
for binary values; a layer needs GNU headers with a PAX record for xattrs in front of some.
"""

from __future__ import annotations

from collections.abc import Iterable

BLOCK = 512
REGULAR, LINK, SYMLINK, DIRECTORY = b"0", b"1", b"2", b"5"

_MAGIC = b"ustar  \0"  # GNU's, not POSIX's
_NAME = 100


def header(
    kind: bytes,
    name: bytes,
    *,
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    target: bytes = b"",
    xattrs: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """Everything before an entry's data. Times are 0; names longer than 100 bytes get GNU's
    extra entries; `xattrs` become SCHILY.xattr records of a PAX entry in front.
    """
    out = b""
    records = b"".join(
        _record(b"SCHILY.xattr." + key.rstrip(b"\0"), value) for key, value in xattrs
    )
    if records:
        out += _plain(b"x", b"././@PaxHeader", len(records)) + padded(records)
    if len(target) > _NAME:
        out += _long(b"K", target)
    if len(name) > _NAME:
        out += _long(b"L", name)
    return out + _plain(
        kind, name[:_NAME], size, mode=mode, uid=uid, gid=gid, target=target[:_NAME]
    )


def padded(data: bytes) -> bytes:
    """Data filled up to whole blocks."""
    return data + b"\0" * padding(len(data))


def padding(size: int) -> int:
    """How many bytes are missing to whole blocks."""
    return -size % BLOCK


def end() -> bytes:
    """What ends an archive."""
    return b"\0" * (2 * BLOCK)


def _plain(
    kind: bytes,
    name: bytes,
    size: int,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    target: bytes = b"",
) -> bytes:
    raw = bytearray(BLOCK)
    raw[0 : len(name)] = name
    raw[100:108] = b"%07o\0" % mode
    raw[108:116] = _number(uid, 8)
    raw[116:124] = _number(gid, 8)
    raw[124:136] = _number(size, 12)
    raw[136:148] = b"00000000000\0"
    raw[148:156] = b"        "
    raw[156:157] = kind
    raw[157 : 157 + len(target)] = target
    raw[257:265] = _MAGIC
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def _number(value: int, width: int) -> bytes:
    """Octal, or GNU's base 256 for what does not fit."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def _long(kind: bytes, text: bytes) -> bytes:
    data = text + b"\0"
    return _plain(kind, b"././@LongLink", len(data)) + padded(data)


def _record(key: bytes, value: bytes) -> bytes:
    """A PAX record, length, blank, `KEY=VALUE`, newline; the length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    length = 0
    while length != (new := len(body) + len(str(length))):
        length = new
    return b"%d" % length + body
