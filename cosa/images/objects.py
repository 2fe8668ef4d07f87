"""Reading a commit out of an OSTree repository, object by object.

Only reading, and straight from the files: a disk needs every object exactly
once, in the order of the tree, as a stream. The formats are those of
`ostree-core.h`: metadata objects are GVariants, stored as they are in every
repository mode; content objects are plain files in `bare` and `bare-user`
repositories (there with the metadata in an xattr) and zlib streams in `archive`.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cosa.core.errors import CosaError, ExitClass

type Xattrs = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Meta:
    """Owner, mode (with type bits) and xattrs of a directory, file or symlink."""

    uid: int
    gid: int
    mode: int
    xattrs: Xattrs


@dataclass(frozen=True, slots=True)
class Content:
    """A content object: its checksum, metadata, size and (symlinks) target."""

    csum: str
    meta: Meta
    size: int
    target: str = ""

    @property
    def is_link(self) -> bool:
        """Whether the object is a symlink."""
        return stat.S_ISLNK(self.meta.mode)


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory: metadata, files and folders by name, and the two objects it is stored in."""

    meta: Meta
    files: tuple[tuple[str, str], ...]  # name, checksum
    folders: tuple[tuple[str, str, str], ...]  # name, dirtree checksum, dirmeta checksum


# --- GVariant, as much as these objects need ----------------------------------------------


def _width(size: int) -> int:
    """Bytes per framing offset in a container of `size` bytes."""
    for width in (1, 2, 4):
        if size < 1 << (8 * width):
            return width
    return 8


def _offset(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")


def _array(data: bytes) -> list[bytes]:
    """Elements of an array whose elements have variable size and no alignment."""
    if not data:
        return []
    width = _width(len(data))
    ends_at = _offset(data, len(data) - width, width)
    count = (len(data) - ends_at) // width
    out, start = [], 0
    for index in range(count):
        end = _offset(data, ends_at + index * width, width)
        out.append(data[start:end])
        start = end
    return out


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _xattrs(data: bytes) -> Xattrs:
    """`a(ayay)`: each pair has one framing offset, the end of the name."""
    out = []
    for pair in _array(data):
        width = _width(len(pair))
        end = _offset(pair, len(pair) - width, width)
        out.append((_text(pair[:end]), pair[end : len(pair) - width]))
    return tuple(out)


def _dirtree(data: bytes) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...]]:
    """`(a(say)a(sayay))`."""
    width = _width(len(data))
    middle = _offset(data, len(data) - width, width)
    files = []
    for item in _array(data[:middle]):
        end = _offset(item, len(item) - _width(len(item)), _width(len(item)))
        files.append((_text(item[:end]), item[end : end + 32].hex()))
    folders = []
    for item in _array(data[middle : len(data) - width]):
        size = _width(len(item))
        # Framing offsets stand in reverse: the last is the end of the first member.
        name_end = _offset(item, len(item) - size, size)
        tree, meta = item[name_end : name_end + 32], item[name_end + 32 : name_end + 64]
        folders.append((_text(item[:name_end]), tree.hex(), meta.hex()))
    return tuple(files), tuple(folders)


# --- the repository -----------------------------------------------------------------------


class Objects:
    """The objects of a repository. Raises `ostree/object` for one that is missing or malformed."""

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self.mode = _mode(repo)

    def raw(self, csum: str, kind: str) -> bytes:
        """Bytes of a metadata object: kind is commit, dirtree or dirmeta."""
        try:
            return self._path(csum, kind).read_bytes()
        except OSError as err:
            raise self._bad(f"{csum}.{kind}", str(err)) from err

    def commit_root(self, commit: str) -> tuple[str, str]:
        """Checksums of the root's dirtree and dirmeta.

        A commit is `(a{sv}aya(say)sstayay)`; the last two members are the
        checksums, and the framing offsets behind them are one per earlier
        member of variable size.
        """
        data = self.raw(commit, "commit")
        width = _width(len(data))
        count = 6  # a{sv} ay a(say) s s | t | ay: the last ay has no offset
        meta_start = _offset(data, len(data) - count * width, width)
        tree_start = meta_start - 32
        meta = data[meta_start : len(data) - count * width]
        if len(meta) != 32 or tree_start < 0:
            raise self._bad(f"{commit}.commit", "it is not a commit")
        return data[tree_start:meta_start].hex(), meta.hex()

    def dirmeta(self, csum: str) -> Meta:
        """Metadata of a directory."""
        return _meta(self.raw(csum, "dirmeta"))

    def folder(self, tree: str, meta: str) -> Folder:
        """A directory by its two checksums."""
        files, folders = _dirtree(self.raw(tree, "dirtree"))
        for name in [n for n, _ in files] + [n for n, _, _ in folders]:
            if not name or "/" in name or name in (".", ".."):
                raise self._bad(f"{tree}.dirtree", f"the name {name!r} is not allowed")
        return Folder(self.dirmeta(meta), files, folders)

    def content(self, csum: str) -> Content:
        """What a content object is, without its bytes."""
        path = self._path(csum, "file")
        try:
            if self.mode == "archive":
                return self._archived(csum)
            info = path.lstat()
            if self.mode == "bare":
                meta = Meta(info.st_uid, info.st_gid, info.st_mode, _stored(path))
                target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
            else:
                meta = _meta(os.getxattr(path, "user.ostreemeta"))
                target = path.read_text() if stat.S_ISLNK(meta.mode) else ""
        except OSError as err:
            raise self._bad(f"{csum}.file", str(err)) from err
        return Content(csum, meta, 0 if target else info.st_size, target)

    @contextmanager
    def stream(self, content: Content) -> Iterator[IO[bytes] | Iterator[bytes]]:
        """The bytes of a regular file: an open file, or an iterator of chunks for `archive`."""
        with self._path(content.csum, "file").open("rb") as file:
            yield _inflate(file) if self.mode == "archive" else file

    def _archived(self, csum: str) -> Content:
        """`(tuuuusa(ayay))` behind a length: size, uid, gid, mode, rdev, target, xattrs."""
        with self._path(csum, "file").open("rb") as file:
            head = _filez_header(file)
        size, uid, gid, mode = struct.unpack_from(">QIII", head)
        width = _width(len(head))
        end = _offset(head, len(head) - width, width)
        meta = Meta(uid, gid, mode, _xattrs(head[end : len(head) - width]))
        return Content(csum, meta, size, _text(head[24:end]))

    def _path(self, csum: str, kind: str) -> Path:
        suffix = "filez" if kind == "file" and self.mode == "archive" else kind
        return self.repo / "objects" / csum[:2] / f"{csum[2:]}.{suffix}"

    def _bad(self, name: str, why: str) -> CosaError:
        return CosaError(
            "ostree/object", f"the object {name} of {self.repo} cannot be used", why=why,
            fix="the repository is damaged: remove it and build again", exit_class=ExitClass.STEP,
        )  # fmt: skip


def _mode(repo: Path) -> str:
    modes = {
        "archive-z2": "archive",
        "archive": "archive",
        "bare": "bare",
        "bare-user": "bare-user",
    }
    try:
        text = (repo / "config").read_text()
    except OSError as err:
        raise CosaError(
            "ostree/no-repo", f"{repo} is not an OSTree repository", why=str(err)
        ) from err
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "mode" and value.strip() in modes:
            return modes[value.strip()]
    raise CosaError(
        "ostree/mode", f"{repo} has a mode disks cannot be made from",
        why=f"possible are {', '.join(sorted(set(modes.values())))}",
    )  # fmt: skip


def _meta(data: bytes) -> Meta:
    """`(uuua(ayay))`, numbers big-endian: dirmeta objects and `user.ostreemeta`."""
    uid, gid, mode = struct.unpack_from(">III", data)
    return Meta(uid, gid, mode, _xattrs(data[12:]))


def _stored(path: Path) -> Xattrs:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in names)


def _filez_header(file: IO[bytes]) -> bytes:
    length = struct.unpack(">I", file.read(8)[:4])[0]
    return file.read(length)


def _inflate(file: IO[bytes]) -> Iterator[bytes]:
    _filez_header(file)
    inflater = zlib.decompressobj(-15)
    while chunk := file.read(1 << 18):
        yield inflater.decompress(chunk)
    yield inflater.flush()
