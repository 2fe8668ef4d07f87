"""A tar written straight to mke2fs: pax records for what ustar cannot hold.

Python's tarfile spends more time on thirty thousand headers than mke2fs does
on the file system they describe; this one knows only what a disk needs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from cosa.core.errors import CosaError, ExitClass
from cosa.images.objects import Meta

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_TAKEN = ("security.capability",)
_PLAIN = Meta(0, 0, stat.S_IFREG | 0o644, ())


class TarStream:
    """Writes members in the order given, each with owner, mode, time and capabilities.

    `late` collects the other xattrs: mke2fs takes none but capabilities from a
    tar (e2fsprogs 1.47, misc/create_inode_libarchive.c), they are set afterwards.
    """

    def __init__(self, out: IO[bytes], mtime: int) -> None:
        self._out = out
        self.mtime = mtime
        self.late: list[tuple[str, str, bytes]] = []  # path, name, value

    def folder(self, path: str, meta: Meta, mtime: int | None = None) -> None:
        """A directory."""
        self._member(path, meta, b"5", mtime=mtime)

    def symlink(self, path: str, target: str, meta: Meta, mtime: int | None = None) -> None:
        """A symbolic link."""
        self._member(path, meta, b"2", target=target, mtime=mtime)

    def hardlink(self, path: str, first: str, meta: Meta, mtime: int | None = None) -> None:
        """Another name for a file written before.

        mke2fs gives the inode the owner, mode and time of the last name, so they
        are repeated; the xattrs stay.
        """
        self._member(path, replace(meta, xattrs=()), b"1", target=first, mtime=mtime)

    def data(self, path: str, meta: Meta, content: bytes, mtime: int | None = None) -> None:
        """A file from memory."""
        self._member(path, meta, b"0", size=len(content), mtime=mtime)
        self._out.write(content)
        self._pad(len(content))

    def file(
        self, path: str, meta: Meta, size: int, source: IO[bytes] | Iterator[bytes],
        mtime: int | None = None,
    ) -> None:  # fmt: skip
        """A file of known size from an open file or from chunks."""
        self._member(path, meta, b"0", size=size, mtime=mtime)
        sent = 0
        if isinstance(source, Iterator) and not hasattr(source, "fileno"):
            for chunk in source:
                self._out.write(chunk)
                sent += len(chunk)
        else:
            self._out.flush()
            while sent < size:
                done = os.sendfile(self._out.fileno(), source.fileno(), sent, size - sent)
                if not done:
                    break
                sent += done
        if sent != size:
            raise CosaError(
                "image/short-file", f"{path} should have {size} bytes, there are {sent}",
                exit_class=ExitClass.STEP,
            )  # fmt: skip
        self._pad(size)

    def close(self) -> None:
        """Write the end of the archive."""
        self._out.write(_ZEROS * 2)
        self._out.flush()

    def _pad(self, size: int) -> None:
        if size % _BLOCK:
            self._out.write(_ZEROS[size % _BLOCK :])

    def _member(
        self, path: str, meta: Meta, kind: bytes, *, size: int = 0, target: str = "",
        mtime: int | None = None,
    ) -> None:  # fmt: skip
        name = path.encode("utf-8", "surrogateescape")
        link = target.encode("utf-8", "surrogateescape")
        records = b""
        if len(name) > 100:
            records += _record(b"path", name)
        if len(link) > 100:
            records += _record(b"linkpath", link)
        for key, value in meta.xattrs:
            if key in _TAKEN:
                records += _record(b"SCHILY.xattr." + key.encode(), value)
            else:
                self.late.append((path, key, value))
        if size >= 1 << 33:
            records += _record(b"size", str(size).encode())
        when = self.mtime if mtime is None else mtime
        if records:
            self._out.write(_header(b"x", b"x", b"", _PLAIN, (len(records), when)))
            self._out.write(records)
            self._pad(len(records))
        self._out.write(_header(kind, name[:100], link[:100], meta, (size % (1 << 33), when)))


def _record(key: bytes, value: bytes) -> bytes:
    """Length, key, value and a newline; the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _header(kind: bytes, name: bytes, link: bytes, meta: Meta, sizes: tuple[int, int]) -> bytes:
    """A ustar header; `sizes` are the content's bytes and the time."""
    head = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\00000" % (
        name.ljust(100, b"\0"), stat.S_IMODE(meta.mode), meta.uid, meta.gid, *sizes, kind,
        link.ljust(100, b"\0"),
    )  # fmt: skip
    block = bytearray(head.ljust(_BLOCK, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
