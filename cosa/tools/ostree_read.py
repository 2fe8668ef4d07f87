"""Reading a commit out of an OSTree repository, straight from its files.

A disk or an archive of an OS reads some ten thousand small objects; through
libostree each costs a stream object. The formats are libostree's
(`ostree-core.h`): metadata objects are GVariants, stored as they are in every
repository mode; content objects are plain files in `bare` and `bare-user`
repositories (there with the metadata in an xattr), zlib streams in `archive`.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from cosa.core.errors import CosaError, ExitClass
from cosa.tools.ostree_objects import Meta, Xattrs, repo_mode

_CHUNK = 1 << 18
_SUM = 32  # bytes of a checksum


class Source(Protocol):
    """Where a content object's bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Content:
    """A content object: checksum, metadata (with a symlink's target), bytes (0 for symlinks)."""

    checksum: str
    meta: Meta
    size: int

    @property
    def is_link(self) -> bool:
        """Whether the object is a symlink."""
        return stat.S_ISLNK(self.meta.mode)


@dataclass(frozen=True, slots=True)
class Folder:
    """A dirtree: files as (name, checksum), folders as (name, dirtree, dirmeta), sorted."""

    files: tuple[tuple[str, str], ...]
    folders: tuple[tuple[str, str, str], ...]


class Objects:
    """The objects of a repository.

    Everything here raises `ostree/missing-object` for one that is not there and
    `ostree/object` for one that is malformed; the constructor `ostree/no-repo`,
    `ostree/repo-mode`.
    """

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self.mode = repo_mode(repo)
        if self.mode not in ("bare", "bare-user", "archive"):
            raise CosaError(
                "ostree/repo-mode",
                f"{repo} is a repository of mode '{self.mode}', which cannot be read here",
            )
        self._suffix = "filez" if self.mode == "archive" else "file"
        self._root = str(repo / "objects")

    def metadata(self, checksum: str, kind: str) -> bytes:
        """The bytes of a commit, commitmeta, dirtree or dirmeta."""
        try:
            fd = os.open(self._path(checksum, kind), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise self._unreadable(checksum, kind, err) from err
        with open(fd, "rb", buffering=0) as file:
            return file.readall()

    def commit_root(self, commit: str) -> tuple[str, str]:
        """Checksums of the root's dirtree and dirmeta.

        A commit is `(a{sv}aya(say)sstayay)`: the last two members are the
        checksums, behind them one framing offset for each earlier member of
        variable size.
        """
        data = self.metadata(commit, "commit")
        offsets = 6  # a{sv} ay a(say) s s | t | ay; the last ay needs none
        end = len(data) - offsets * _width(len(data))
        if end < 2 * _SUM or _offset(data, end, _width(len(data))) != end - _SUM:
            raise self._bad(commit, "commit", "it is not a commit")
        return data[end - 2 * _SUM : end - _SUM].hex(), data[end - _SUM : end].hex()

    def dirmeta(self, checksum: str) -> Meta:
        """Owner, mode and xattrs of a directory."""
        with self._parsing(checksum, "dirmeta"):
            return _meta(self.metadata(checksum, "dirmeta"))

    def folder(self, checksum: str) -> Folder:
        """What a directory holds; names are checked, they may come from anywhere."""
        with self._parsing(checksum, "dirtree"):
            found = _dirtree(self.metadata(checksum, "dirtree"))
        for name in [row[0] for row in (*found.files, *found.folders)]:
            if not name or "/" in name or name in (".", ".."):
                raise self._bad(checksum, "dirtree", f"the name {name!r} is not allowed")
        return found

    def content(self, checksum: str) -> Content:
        """What a content object is, without its bytes."""
        path = self._path(checksum, self._suffix)
        try:
            with self._parsing(checksum, "file"):
                if self.mode == "archive":
                    with open(path, "rb") as file:
                        return _archived(checksum, file)
                info = os.lstat(path)
                if self.mode == "bare":
                    return _bare(checksum, path, info)
                meta = _meta(os.getxattr(path, "user.ostreemeta"))
                if stat.S_ISLNK(meta.mode):
                    return _link(checksum, meta, Path(path).read_bytes())
                return Content(checksum, meta, info.st_size)
        except OSError as err:
            raise self._unreadable(checksum, "file", err) from err

    @contextmanager
    def open(self, content: Content) -> Iterator[Source]:
        """The bytes of a regular file; an `io.FileIO` unless the repository compresses."""
        try:
            file = open(self._path(content.checksum, self._suffix), "rb", buffering=0)  # noqa: SIM115
        except OSError as err:
            raise self._unreadable(content.checksum, "file", err) from err
        with file:
            yield _Inflater(file) if self.mode == "archive" else file

    def read(self, content: Content) -> bytes:
        """All bytes of a regular file that fits into memory."""
        with self.open(content) as source:
            return b"".join(iter(functools.partial(source.read, _CHUNK), b""))

    def find(self, commit: str, path: str) -> Content | None:
        """What a commit has at a path (no symlinks are followed); None for nothing or a folder."""
        tree, _ = self.commit_root(commit)
        *above, name = [part for part in path.split("/") if part]
        for part in above:
            below = {child: where for child, where, _ in self.folder(tree).folders}
            if part not in below:
                return None
            tree = below[part]
        checksum = dict(self.folder(tree).files).get(name)
        return self.content(checksum) if checksum else None

    def _path(self, checksum: str, kind: str) -> str:
        return f"{self._root}/{checksum[:2]}/{checksum[2:]}.{kind}"

    @contextmanager
    def _parsing(self, checksum: str, kind: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, IndexError, struct.error, zlib.error) as err:
            raise self._bad(checksum, kind, str(err)) from err

    def _unreadable(self, checksum: str, kind: str, err: OSError) -> CosaError:
        if err.errno != errno.ENOENT:
            return self._bad(checksum, kind, str(err))
        return CosaError(
            "ostree/missing-object", f"{self.repo} lacks the object {checksum}.{kind}",
            fix="run `ostree fsck` on it, or remove it and build again",
            exit_class=ExitClass.STEP,
        )  # fmt: skip

    def _bad(self, checksum: str, kind: str, why: str) -> CosaError:
        return CosaError(
            "ostree/object", f"the object {checksum}.{kind} of {self.repo} cannot be used",
            why=why, fix="the repository is damaged: remove it and build again",
            exit_class=ExitClass.STEP,
        )  # fmt: skip


class _Inflater:
    """The bytes of an `archive` repository's file: raw deflate behind a header."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._engine = zlib.decompressobj(-15)
        _filez_header(file)

    def read(self, size: int, /) -> bytes:
        while not self._engine.eof:
            data = self._engine.unconsumed_tail or self._file.read(_CHUNK)
            if not data:
                break
            if plain := self._engine.decompress(data, size):
                return plain
        return b""


# --- formats ------------------------------------------------------------------------------
#
# GVariant's serialized form: an array of variable-size items ends in a table of their end
# offsets, a tuple in the end offsets of its variable-size members but the last, in
# reverse; offsets are little-endian and as wide as the container's size needs.


def _width(size: int) -> int:
    """Bytes per framing offset in a container of `size` bytes."""
    if size <= 0xFF:
        return 1
    return 2 if size <= 0xFFFF else 4


def _offset(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")


def _array(data: bytes) -> list[bytes]:
    """Elements of an array whose elements have variable size and no alignment."""
    if not data:
        return []
    width = _width(len(data))
    table = _offset(data, len(data) - width, width)
    if not 0 < table < len(data):
        raise ValueError("an array's offsets lie outside of it")
    out, start = [], 0
    for at in range(table, len(data), width):
        end = _offset(data, at, width)
        out.append(data[start:end])
        start = end
    return out


def _first(item: bytes) -> tuple[bytes, bytes]:
    """A tuple's first member (a text with its NUL) and what follows, framing offsets cut off."""
    end = item.index(b"\0") + 1
    return item[: end - 1], item[end:]


def _checksums(data: bytes, count: int) -> list[str]:
    if len(data) < count * _SUM:
        raise ValueError("a checksum is cut off")
    return [data[at : at + _SUM].hex() for at in range(0, count * _SUM, _SUM)]


def _dirtree(data: bytes) -> Folder:
    """`(a(say)a(sayay))`."""
    width = _width(len(data))
    middle = _offset(data, len(data) - width, width)
    files, folders = [], []
    for item in _array(data[:middle]):
        name, rest = _first(item)
        files.append((os.fsdecode(name), _checksums(rest, 1)[0]))
    for item in _array(data[middle : len(data) - width]):
        name, rest = _first(item)
        tree, meta = _checksums(rest, 2)
        folders.append((os.fsdecode(name), tree, meta))
    return Folder(tuple(files), tuple(folders))


@functools.lru_cache(maxsize=4096)
def unpack_xattrs(data: bytes) -> Xattrs:
    """`a(ayay)`, the reverse of `ostree_objects.pack_xattrs`: names without their NUL."""
    out = []
    for pair in _array(data):
        width = _width(len(pair))
        end = _offset(pair, len(pair) - width, width)
        out.append((pair[:end].rstrip(b"\0"), pair[end : len(pair) - width]))
    return tuple(out)


def _meta(data: bytes) -> Meta:
    """`(uuua(ayay))`, numbers big-endian: dirmeta objects and `user.ostreemeta`."""
    uid, gid, mode = struct.unpack_from(">III", data)
    return Meta(mode, uid, gid, xattrs=unpack_xattrs(data[12:]))


def _link(checksum: str, meta: Meta, target: bytes) -> Content:
    full = Meta(meta.mode, meta.uid, meta.gid, os.fsdecode(target), meta.xattrs)
    return Content(checksum, full, 0)


def _bare(checksum: str, path: str, info: os.stat_result) -> Content:
    """An object of a `bare` repository: the inode says all of it."""
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = tuple((n.encode(), os.getxattr(path, n, follow_symlinks=False)) for n in names)
    meta = Meta(info.st_mode, info.st_uid, info.st_gid, xattrs=xattrs)
    if stat.S_ISLNK(info.st_mode):
        return _link(checksum, meta, os.fsencode(os.readlink(path)))
    return Content(checksum, meta, info.st_size)


def _archived(checksum: str, file: IO[bytes]) -> Content:
    """`(tuuuusa(ayay))` behind a length: size, uid, gid, mode, rdev, target, xattrs."""
    head = _filez_header(file)
    size, uid, gid, mode = struct.unpack_from(">QIII", head)
    target = head[24 : head.index(b"\0", 24)]
    width = _width(len(head))
    packed = head[_offset(head, len(head) - width, width) : len(head) - width]
    meta = Meta(mode, uid, gid, xattrs=unpack_xattrs(packed))
    if stat.S_ISLNK(mode):
        return _link(checksum, meta, target)
    return Content(checksum, meta, size)


def _filez_header(file: IO[bytes]) -> bytes:
    length: int = struct.unpack(">I", file.read(8)[:4])[0]
    return file.read(length)
