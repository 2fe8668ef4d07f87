"""The tar a file system is made from, written straight to mke2fs."""

from __future__ import annotations

import os
import stat
from io import FileIO
from typing import IO

from cosa.core.errors import CosaError, ExitClass
from cosa.tools import tarwrite
from cosa.tools.mkfs import LateXattr
from cosa.tools.ostree_objects import Meta
from cosa.tools.ostree_read import Source

_CHUNK = 1 << 20
_TAKEN = b"security.capability"


class Feed:
    """Writes members in the order given, each with owner, mode, time and capabilities.

    `late` collects the other xattrs: mke2fs takes none but capabilities from a
    tar (e2fsprogs 1.47, misc/create_inode_libarchive.c), they are set afterwards.
    """

    def __init__(self, out: IO[bytes], mtime: int) -> None:
        self._out = out
        self.mtime = mtime
        self.late: list[LateXattr] = []

    def folder(self, path: str, meta: Meta, mtime: int | None = None) -> None:
        """A directory."""
        self._member(path, meta, tarwrite.DIRECTORY, mtime=mtime)

    def symlink(self, path: str, target: str, meta: Meta, mtime: int | None = None) -> None:
        """A symbolic link."""
        self._member(path, meta, tarwrite.SYMLINK, target=target, mtime=mtime)

    def hardlink(self, path: str, first: str, meta: Meta, mtime: int | None = None) -> None:
        """Another name for a file written before.

        mke2fs gives the inode the owner, mode and time of the last name, so they
        are repeated; the xattrs stay.
        """
        plain = Meta(meta.mode, meta.uid, meta.gid)
        self._member(path, plain, tarwrite.LINK, target=first, mtime=mtime)

    def data(self, path: str, meta: Meta, content: bytes, mtime: int | None = None) -> None:
        """A file from memory."""
        self._member(path, meta, tarwrite.REGULAR, size=len(content), mtime=mtime)
        self._out.write(tarwrite.padded(content))

    def file(
        self, path: str, meta: Meta, size: int, source: Source,
        mtime: int | None = None,
    ) -> None:  # fmt: skip
        """A file of known size from an open file or whatever can be read."""
        self._member(path, meta, tarwrite.REGULAR, size=size, mtime=mtime)
        sent = self._send(source, size)
        if sent != size:
            raise CosaError(
                "image/short-file", f"{path} should have {size} bytes, there are {sent}",
                exit_class=ExitClass.STEP,
            )  # fmt: skip
        self._out.write(bytes(tarwrite.padding(size)))

    def close(self) -> None:
        """Write the end of the archive."""
        self._out.write(tarwrite.end())
        self._out.flush()

    def _send(self, source: Source, size: int) -> int:
        """Copy, in the kernel where that is worth emptying the buffer for."""
        sent = 0
        if isinstance(source, FileIO) and size > _CHUNK // 8:
            self._out.flush()
            while sent < size:
                done = os.sendfile(self._out.fileno(), source.fileno(), sent, size - sent)
                if not done:
                    break
                sent += done
            return sent
        while sent <= size and (chunk := source.read(_CHUNK)):
            sent += self._out.write(chunk)
        return sent

    def _member(
        self, path: str, meta: Meta, kind: bytes, *, size: int = 0, target: str = "",
        mtime: int | None = None,
    ) -> None:  # fmt: skip
        taken = []
        for name, value in meta.xattrs:
            if name == _TAKEN:
                taken.append((name, value))
            else:
                self.late.append((path, os.fsdecode(name), value))
        self._out.write(
            tarwrite.header(
                kind, os.fsencode(path), size=size, mode=stat.S_IMODE(meta.mode), uid=meta.uid,
                gid=meta.gid, mtime=self.mtime if mtime is None else mtime,
                target=os.fsencode(target), xattrs=taken,
            )
        )  # fmt: skip
