"""Content objects of an OSTree repository, written from streams.

A compose writes an object for every packaged file. libostree hashes with GLib's
portable SHA-256 and pays a stream object per file; this does the same with the
processor's own instructions and a handful of system calls. The formats are
those of libostree's `ostree-core.c`: an object's checksum covers a serialized
header (uid, gid, mode, link target, xattrs) and the content; `bare` keeps the
metadata on the inode, `bare-user` in the xattr `user.ostreemeta`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import stat
import struct
import tempfile
from collections.abc import Buffer, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core import fs
from cosa.core.errors import CosaError

type Xattrs = tuple[tuple[bytes, bytes], ...]  # (name, value), sorted by name


@dataclass(frozen=True, slots=True)
class Meta:
    """What a content object says besides its bytes. `mode` includes the type bits."""

    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    xattrs: Xattrs = ()


def _offset_format(payload: int, count: int) -> str:
    """The struct code of GVariant framing offsets: the least width that reaches the end."""
    for code, width in (("B", 1), ("H", 2), ("I", 4)):
        if payload + width * count < 1 << (8 * width):
            return code
    raise ValueError("larger than 4 GiB")


@functools.lru_cache(maxsize=4096)
def pack_xattrs(xattrs: Xattrs) -> bytes:
    """`a(ayay)` in GVariant's serialized form; names end in NUL."""
    out = bytearray()
    ends = []
    for name, value in xattrs:
        key = name + b"\0"
        pair = key + value
        out += pair + struct.pack("<" + _offset_format(len(pair), 1), len(key))
        ends.append(len(out))
    if not ends:
        return b""
    return bytes(out) + struct.pack(f"<{len(ends)}{_offset_format(len(out), len(ends))}", *ends)


def header(meta: Meta) -> bytes:
    """The bytes hashed before a content object's own: length, padding, `(uuuusa(ayay))`."""
    target = meta.target.encode("utf-8", "surrogateescape") + b"\0"
    body = struct.pack(">IIII", meta.uid, meta.gid, meta.mode, 0) + target
    end = len(body)
    body += pack_xattrs(meta.xattrs)
    body += struct.pack("<" + _offset_format(len(body), 1), end)
    return struct.pack(">II", len(body), 0) + body


def bare_user_meta(meta: Meta) -> bytes:
    """Value of `user.ostreemeta`: `(uuua(ayay))`, numbers big-endian."""
    return struct.pack(">III", meta.uid, meta.gid, meta.mode) + pack_xattrs(meta.xattrs)


def checksum(meta: Meta, content: Buffer = b"") -> str:
    """The OSTree checksum of a file or symlink with this content."""
    digest = hashlib.sha256(header(meta))
    digest.update(content)
    return digest.hexdigest()


def object_path(csum: str) -> str:
    """Place of a content object below a `bare` or `bare-user` repository."""
    return f"objects/{csum[:2]}/{csum[2:]}.file"


def inode_xattrs(path: str | int) -> Xattrs:
    """The xattrs of an inode that belong into a commit, sorted.

    rpm-ostree keeps capabilities, PaX flags and IMA signatures; labels come from the policy.
    """
    kept = (b"security.capability", b"security.ima", b"user.pax.flags")
    try:
        names = os.listxattr(path, follow_symlinks=isinstance(path, int))
    except OSError as err:
        if err.errno == errno.EOPNOTSUPP:
            return ()
        raise
    if not names:
        return ()
    found = sorted(n.encode() for n in names if n.encode() in kept)
    follow = isinstance(path, int)
    return tuple((n, os.getxattr(path, n.decode(), follow_symlinks=follow)) for n in found)


class ObjectWriter:
    """Writes content objects into a `bare` or `bare-user` repository on this file system.

    An object appears under its name whole, by linking an unnamed file; two
    writers of one object are both right. Nothing is synced: call
    `sync_filesystem` before a ref points at what was written.
    """

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self.mode = repo_mode(repo)
        if self.mode not in {"bare", "bare-user"}:
            raise CosaError(
                "ostree/repo-mode",
                f"{repo} is an OSTree repository of mode '{self.mode}', not bare or bare-user",
                fix="initialise it with `ostree init --mode=bare-user`",
            )
        self.written = 0
        self.bytes = 0
        self._objects = os.open(repo / "objects", os.O_RDONLY | os.O_DIRECTORY)
        self._made: set[str] = set()

    def close(self) -> None:
        """Let go of the repository."""
        os.close(self._objects)

    def has(self, csum: str) -> bool:
        """Whether the object is there."""
        try:
            os.stat(f"{csum[:2]}/{csum[2:]}.file", dir_fd=self._objects, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def write(self, meta: Meta, content: Sequence[Buffer] = ()) -> str:
        """Write an object from memory; its checksum."""
        digest = hashlib.sha256(header(meta))
        for chunk in content:
            digest.update(chunk)
        csum = digest.hexdigest()
        if not self.has(csum):
            if stat.S_ISLNK(meta.mode) and self.mode == "bare":
                self._symlink(meta, csum)
            else:
                data = [meta.target.encode("utf-8", "surrogateescape")] if meta.target else content
                with self._unnamed() as fd:
                    for chunk in data:
                        _write_all(fd, chunk)
                    self._finish(fd, meta, csum)
        return csum

    def write_stream(self, meta: Meta, chunks: Iterable[Buffer]) -> str:
        """Write a regular file's object of any size; its checksum."""
        digest = hashlib.sha256(header(meta))
        with self._unnamed() as fd:
            for chunk in chunks:
                digest.update(chunk)
                _write_all(fd, chunk)
            csum = digest.hexdigest()
            if not self.has(csum):
                self._finish(fd, meta, csum)
        return csum

    def copy(self, source: Path | str, meta: Meta) -> str:
        """Write a regular file's object with the content of `source`; its checksum."""
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size <= fs.CHUNK:
                return self.write(meta, [_read_all(fd, size)])
            digest = hashlib.sha256(header(meta))
            while chunk := os.read(fd, fs.CHUNK):
                digest.update(chunk)
            csum = digest.hexdigest()
            if not self.has(csum):
                with self._unnamed() as out:
                    _clone(fd, out, size)
                    self._finish(out, meta, csum)
            return csum
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _unnamed(self) -> Iterator[int]:
        fd = os.open(self.repo / "objects", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    def _finish(self, fd: int, meta: Meta, csum: str) -> None:
        self.bytes += os.fstat(fd).st_size
        if self.mode == "bare":
            if meta.uid or meta.gid:
                os.fchown(fd, meta.uid, meta.gid)
            for name, value in meta.xattrs:
                os.setxattr(fd, name, value)
            os.fchmod(fd, stat.S_IMODE(meta.mode))
            os.utime(fd, ns=(0, 0))  # what a deployment shows; scripts must see no other
        else:
            os.setxattr(fd, "user.ostreemeta", bare_user_meta(meta))
            # libostree keeps the harmless bits; a link is a plain file holding its target.
            mode = 0o644 if meta.target else (meta.mode & 0o775) | 0o400
            os.fchmod(fd, mode)
        with self._slot(csum), contextlib.suppress(FileExistsError):
            os.link(f"/proc/self/fd/{fd}", f"{csum[:2]}/{csum[2:]}.file", dst_dir_fd=self._objects)
            self.written += 1

    def _symlink(self, meta: Meta, csum: str) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.repo / "tmp", prefix="cosa-link-"))
        try:
            name = folder / "l"
            os.symlink(meta.target, name)
            if meta.uid or meta.gid:
                os.chown(name, meta.uid, meta.gid, follow_symlinks=False)
            for key, value in meta.xattrs:
                os.setxattr(name, key, value, follow_symlinks=False)
            with self._slot(csum):
                os.rename(name, f"{csum[:2]}/{csum[2:]}.file", dst_dir_fd=self._objects)
                self.written += 1
        finally:
            fs.remove_tree(folder)

    @contextlib.contextmanager
    def _slot(self, csum: str) -> Iterator[None]:
        if csum[:2] not in self._made:
            with contextlib.suppress(FileExistsError):
                os.mkdir(csum[:2], 0o755, dir_fd=self._objects)
            self._made.add(csum[:2])
        yield


def _write_all(fd: int, chunk: Buffer) -> None:
    view = memoryview(chunk).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _read_all(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    if len(data) >= size:
        return data
    parts = [data]
    while chunk := os.read(fd, fs.CHUNK):
        parts.append(chunk)
    return b"".join(parts)


_FICLONE = 0x40049409


def _clone(src: int, dst: int, size: int) -> None:
    """Share the blocks where the file system can, else copy inside the kernel."""
    try:
        fcntl.ioctl(dst, _FICLONE, src)
    except OSError:
        offset = 0
        while offset < size:
            done = os.sendfile(dst, src, offset, size - offset)
            if not done:
                raise OSError(errno.EIO, "the file shrank while it was copied") from None
            offset += done


def sync_filesystem(path: Path) -> None:
    """Bring everything written to the file system of `path` to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        ctypes.CDLL(None, use_errno=True).syncfs(fd)
    finally:
        os.close(fd)


def repo_mode(repo: Path) -> str:
    """`bare`, `bare-user`, `archive` ... of an existing repository. Raises `ostree/no-repo`."""
    try:
        text = (repo / "config").read_text()
    except OSError as err:
        raise CosaError(
            "ostree/no-repo", f"{repo} is not an OSTree repository", why=str(err)
        ) from err
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "mode":
            return {"archive-z2": "archive"}.get(value.strip(), value.strip())
    return "bare"
