"""Reads an OSTree repository's objects straight from its files.

An archive of an OS reads some thousands of small objects; through libostree each costs
a stream object. The formats are libostree's (`ostree-core.h`): dirtree `(a(say)a(sayay))`,
dirmeta `(uuua(ayay))`, `.file` of bare and bare-user, `.filez` of archive repositories.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosa.core.errors import CosaError, ExitClass
from cosa.tools import ostree

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Tree:
    """A directory: files as (name, checksum), folders as (name, dirtree, dirmeta)."""

    files: tuple[tuple[str, str], ...]
    folders: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Content:
    """A content object's description. `xattrs` is its `a(ayay)` as stored, names with NUL."""

    uid: int
    gid: int
    mode: int
    size: int
    target: bytes
    xattrs: bytes

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The xattrs one by one."""
        found = []
        for raw in _array(self.xattrs):
            width = _offset_size(len(raw))
            end = int.from_bytes(raw[-width:], "little")
            found.append((raw[:end].rstrip(b"\0"), raw[end:-width]))
        return found


class Objects:
    """The objects of one repository."""

    def __init__(self, repo: Path) -> None:
        self.mode = ostree.repo_mode(repo)
        self._root = repo / "objects"
        if self.mode not in ("bare", "bare-user", "archive"):
            raise CosaError(
                "ostree/repo-mode",
                f"{repo} is a repository of mode '{self.mode}', which cannot be read here",
            )

    def metadata(self, checksum: str, kind: str) -> bytes:
        """The bytes of a commit, commitmeta, dirtree or dirmeta. Raises `ostree/missing-object`."""
        path = self._path(checksum, kind)
        try:
            return path.read_bytes()
        except FileNotFoundError as err:
            raise _missing(path) from err

    def tree(self, checksum: str) -> Tree:
        """A directory's listing."""
        raw = self.metadata(checksum, "dirtree")
        width = _offset_size(len(raw))
        end = int.from_bytes(raw[-width:], "little")
        files, folders = raw[:end], raw[end:-width]
        return Tree(tuple(map(_file, _array(files))), tuple(map(_folder, _array(folders))))

    def folder_meta(self, checksum: str) -> tuple[int, int, int]:
        """uid, gid and mode of a directory."""
        uid, gid, mode = struct.unpack(">III", self.metadata(checksum, "dirmeta")[:12])
        return uid, gid, mode

    @contextmanager
    def open(self, checksum: str) -> Iterator[tuple[Content, Callable[[int], bytes]]]:
        """A content object and a function that reads its next bytes."""
        path = self._path(checksum, "filez" if self.mode == "archive" else "file")
        try:
            if self.mode == "bare" and path.is_symlink():
                yield self._bare_link(path), lambda _size: b""
                return
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as err:
            raise _missing(path) from err
        try:
            yield self._describe(fd)
        finally:
            os.close(fd)

    def _describe(self, fd: int) -> tuple[Content, Callable[[int], bytes]]:
        size = os.fstat(fd).st_size
        if self.mode == "archive":
            return _unpack_archive(fd)
        if self.mode == "bare":
            info = os.fstat(fd)
            xattrs = _inode_xattrs(fd)
            content = Content(info.st_uid, info.st_gid, info.st_mode, size, b"", xattrs)
        else:
            raw = os.getxattr(fd, "user.ostreemeta")
            uid, gid, mode = struct.unpack(">III", raw[:12])
            if stat.S_ISLNK(mode):
                return Content(uid, gid, mode, 0, os.read(fd, 65536), raw[12:]), lambda _size: b""
            content = Content(uid, gid, mode, size, b"", raw[12:])
        return content, lambda count: os.read(fd, count)

    def _bare_link(self, path: Path) -> Content:
        info = path.lstat()
        target = os.fsencode(os.readlink(path))
        return Content(info.st_uid, info.st_gid, info.st_mode, 0, target, _inode_xattrs(path))

    def _path(self, checksum: str, kind: str) -> Path:
        return self._root / checksum[:2] / f"{checksum[2:]}.{kind}"


def _inode_xattrs(inode: Path | int) -> bytes:
    """All xattrs of an object in a bare repository, as libostree hashes them."""
    follow = isinstance(inode, int)
    names = sorted(os.listxattr(inode, follow_symlinks=follow))
    return ostree.pack_xattrs(
        tuple((n.encode(), os.getxattr(inode, n, follow_symlinks=follow)) for n in names)
    )


def _unpack_archive(fd: int) -> tuple[Content, Callable[[int], bytes]]:
    """`.filez`: length, padding, `(tuuuusa(ayay))` in big-endian, raw deflate."""
    length = struct.unpack(">I", os.read(fd, 8)[:4])[0]
    head = os.read(fd, length)
    size, uid, gid, mode, _rdev = struct.unpack(">QIIII", head[:24])
    end = head.index(b"\0", 24)
    target = head[24:end]
    xattrs = head[end + 1 : len(head) - _offset_size(len(head))]
    engine = zlib.decompressobj(-15)

    def read(count: int) -> bytes:
        while not engine.eof:
            data = engine.unconsumed_tail or os.read(fd, _CHUNK)
            if not data:
                break
            plain = engine.decompress(data, count)
            if plain:
                return plain
        return b""

    link = stat.S_ISLNK(mode)
    content = Content(uid, gid, mode, 0 if link else size, target, xattrs)
    return content, (lambda _size: b"") if link else read


# GVariant's serialized form: an array of variable-size items ends in a table of their end
# offsets, a tuple in the end offsets of its variable-size members but the last, in
# reverse; offsets are little-endian and as wide as the container's size needs.


def _offset_size(container: int) -> int:
    if container <= 0xFF:
        return 1
    return 2 if container <= 0xFFFF else 4


def _array(raw: bytes) -> Iterator[bytes]:
    if not raw:
        return
    width = _offset_size(len(raw))
    table = int.from_bytes(raw[-width:], "little")
    start = 0
    for at in range(table, len(raw), width):
        end = int.from_bytes(raw[at : at + width], "little")
        yield raw[start:end]
        start = end


def _file(raw: bytes) -> tuple[str, str]:
    """`(say)`."""
    name = raw[: raw.index(b"\0")]
    return os.fsdecode(name), raw[len(name) + 1 : len(name) + 33].hex()


def _folder(raw: bytes) -> tuple[str, str, str]:
    """`(sayay)`."""
    name = raw[: raw.index(b"\0")]
    at = len(name) + 1
    return os.fsdecode(name), raw[at : at + 32].hex(), raw[at + 32 : at + 64].hex()


def _missing(path: Path) -> CosaError:
    return CosaError(
        "ostree/missing-object",
        f"the repository lacks the object {path.parent.name}{path.name}",
        fix="run `ostree fsck` on it, or remove tmp/repo and build again",
        exit_class=ExitClass.STEP,
    )
