"""OSTree repositories: objects written from streams, refs, commits, policies.

libostree does what it does well: repositories, metadata objects, commits, refs,
SELinux labels, fsck. Content objects are written here, because a compose writes
a file object for every packaged file and libostree hashes with GLib's portable
SHA-256 and pays a stream object per file. The formats are those of libostree's
`ostree-core.c`: an object's checksum covers a serialized header (uid, gid, mode,
link target, xattrs) and the content; `bare` keeps the metadata on the inode,
`bare-user` in the xattr `user.ostreemeta`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import struct
import tempfile
from collections.abc import Buffer, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass

type Xattrs = tuple[tuple[bytes, bytes], ...]  # (name, value), sorted by name


@functools.cache
def _gi() -> tuple[Any, Any, Any]:
    """The bindings, loaded on first use so that start-up stays fast: OSTree, GLib, Gio."""
    try:
        import gi

        gi.require_version("OSTree", "1.0")
        from gi.repository import Gio, GLib, OSTree
    except (ImportError, ValueError) as err:
        raise CosaError(
            "env/missing-tool",
            "the Python bindings of libostree are not installed",
            why=str(err),
            fix="run through bin/cosa, which brings every tool, or see `cosa doctor`",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err
    return OSTree, GLib, Gio


@contextlib.contextmanager
def _speaking(what: str) -> Iterator[None]:
    """Turn a GLib error into ours."""
    _, glib, _ = _gi()
    try:
        yield
    except glib.Error as err:
        text = str(err.message)
        full = "No space left" in text
        raise CosaError(
            "env/disk-full" if full else "ostree/failed",
            what,
            why=text,
            fix="free some space, or choose another place with --workdir" if full else "",
            exit_class=ExitClass.ENVIRONMENT if full else ExitClass.STEP,
        ) from err


# --- content objects ---------------------------------------------------------------------


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
    import fcntl

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
    import ctypes

    fd = os.open(path, os.O_RDONLY)
    try:
        ctypes.CDLL(None, use_errno=True).syncfs(fd)
    finally:
        os.close(fd)


# --- repositories ------------------------------------------------------------------------


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


class Repo:
    """An OSTree repository through libostree."""

    def __init__(self, path: Path) -> None:
        ostree, _, gio = _gi()
        self.path = path
        self.mode = repo_mode(path)
        self.raw = ostree.Repo.new(gio.File.new_for_path(str(path)))
        with _speaking(f"cannot open the repository {path}"):
            self.raw.open(None)

    @classmethod
    def ensure(cls, path: Path, mode: str) -> Repo:
        """Open the repository, made first if absent; several processes may try at once."""
        ostree, glib, _ = _gi()
        if not (path / "config").exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            modes = {"bare": ostree.RepoMode.BARE, "bare-user": ostree.RepoMode.BARE_USER}
            with (
                _speaking(f"cannot make the repository {path}"),
                fs.private_dir(path.parent) as tmp,
            ):
                options = glib.Variant("a{sv}", {})
                ostree.Repo.create_at(-1, str(tmp / "r"), modes[mode], options, None)
                try:
                    os.rename(tmp / "r", path)
                except OSError:
                    if not (path / "config").exists():
                        raise
        return cls(path)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Objects and refs set inside become visible together at the end."""
        with _speaking(f"cannot write to the repository {self.path}"):
            self.raw.prepare_transaction(None)
            try:
                yield
                self.raw.commit_transaction(None)
            except BaseException:
                self.raw.abort_transaction(None)
                raise

    def resolve(self, ref: str) -> str | None:
        """The commit a ref points at."""
        with _speaking(f"cannot read the ref {ref}"):
            return self.raw.resolve_rev(ref, allow_noent=True)[1] or None

    def list_refs(self, prefix: str | None = None) -> dict[str, str]:
        """Refs and their commits."""
        with _speaking(f"cannot list the refs of {self.path}"):
            return dict(self.raw.list_refs_ext(prefix, 0, None)[1])

    def set_refs(self, refs: Mapping[str, str]) -> None:
        """Point refs at commits, inside a transaction."""
        for ref, commit in refs.items():
            self.raw.transaction_set_ref(None, ref, commit)

    def commit_metadata(self, commit: str) -> Any:
        """The metadata dictionary (`a{sv}`) of a commit as a GLib.Variant."""
        ostree, _, _ = _gi()
        with _speaking(f"the commit {commit[:12]} cannot be read"):
            return self.raw.load_variant(ostree.ObjectType.COMMIT, commit)[1].get_child_value(0)

    def content_checksum(self, commit: str) -> str:
        """sha256 over the root's tree and metadata checksums: equal content, equal value."""
        ostree, _, _ = _gi()
        with _speaking(f"the commit {commit[:12]} cannot be read"):
            variant = self.raw.load_variant(ostree.ObjectType.COMMIT, commit)[1]
        return str(ostree.commit_get_content_checksum(variant))

    def read_text(self, commit: str, path: str) -> str | None:
        """A text file of a commit, None if it is not there."""
        _, glib, gio = _gi()
        with _speaking(f"the commit {commit[:12]} cannot be read"):
            root = self.raw.read_commit(commit, None)[1]
        try:
            data = root.resolve_relative_path(path).load_contents(None)[1]
        except glib.Error as err:
            if err.matches(gio.io_error_quark(), gio.IOErrorEnum.NOT_FOUND):
                return None
            raise
        return bytes(data).decode("utf-8", "surrogateescape")

    def write_commit(
        self, root: TreeNode, metadata: Any, *, timestamp: int, parent: str | None = None
    ) -> str:
        """Write the trees below `root` and a commit over them; inside a transaction."""
        with _speaking("the commit cannot be written"):
            file = self.raw.write_mtree(root.mutable, None)[1]
            result = self.raw.write_commit_with_time(
                parent, "", None, metadata, file, timestamp, None
            )
        return str(result[1])


class TreeNode:
    """A directory on its way into a commit."""

    def __init__(self, mutable: Any | None = None) -> None:
        ostree, _, _ = _gi()
        self.mutable = mutable or ostree.MutableTree.new()

    def describe(self, repo: Repo, meta: Meta) -> None:
        """Set the directory's own mode, owner and xattrs."""
        self.mutable.set_metadata_checksum(_dirmeta(repo, meta))

    def folder(self, name: str) -> TreeNode:
        """The directory `name` inside, made if absent."""
        return TreeNode(self.mutable.ensure_dir(name)[1])

    def file(self, name: str, csum: str) -> None:
        """Place a content object under `name`."""
        self.mutable.replace_file(name, csum)


def _dirmeta(repo: Repo, meta: Meta) -> str:
    ostree, glib, _ = _gi()
    body = struct.pack(">III", meta.uid, meta.gid, meta.mode) + pack_xattrs(meta.xattrs)
    csum = hashlib.sha256(body).hexdigest()
    known: set[str] = repo.__dict__.setdefault("_dirmetas", set())
    if csum not in known:
        variant = glib.Variant.new_from_bytes(
            glib.VariantType.new("(uuua(ayay))"), glib.Bytes.new(body), trusted=True
        )
        repo.raw.write_metadata(ostree.ObjectType.DIR_META, csum, variant, None)
        known.add(csum)
    return csum


def commit_variant(repo: Path, commit: str) -> bytes:
    """A commit object as it is stored: a GVariant."""
    opened = Repo(repo)
    with _speaking(f"the commit {commit[:12]} cannot be read"):
        found = opened.raw.load_variant(module().ObjectType.COMMIT, commit)[1]
    return bytes(found.get_data_as_bytes().get_data())


def commit_metadata(repo: Path, commit: str) -> dict[str, Any]:
    """A commit's metadata as JSON values; numbers stored big-endian are turned round."""
    found: dict[str, Any] = _plain(Repo(repo).commit_metadata(commit))
    return found


def has_commit(repo: Path, commit: str) -> bool:
    """Whether the repository exists and has the commit, whole."""
    if not (repo / "config").exists():
        return False
    opened = Repo(repo)
    with _speaking(f"cannot look for the commit {commit[:12]}"):
        there = opened.raw.has_object(module().ObjectType.COMMIT, commit, None)[1]
        state = opened.raw.load_commit(commit)[2] if there else 1
    return bool(there) and int(state) == 0


def version() -> str:
    """The version of libostree."""
    lib = module()
    return f"{lib.YEAR_VERSION}.{lib.RELEASE_VERSION}"


def _plain(value: Any) -> Any:
    """A GLib.Variant as JSON values."""
    kind = value.get_type_string()
    if kind in {"v", "mv"}:
        return _plain(value.get_child_value(0)) if value.n_children() else None
    if kind in {"t", "x"}:
        signed = kind == "x"
        return int.from_bytes(
            value.unpack().to_bytes(8, "little", signed=signed), "big", signed=signed
        )
    if kind.startswith("a{s"):
        rows = (value.get_child_value(i) for i in range(value.n_children()))
        return {row.get_child_value(0).get_string(): _plain(row.get_child_value(1)) for row in rows}
    if kind.startswith(("a", "(")):
        return [_plain(value.get_child_value(i)) for i in range(value.n_children())]
    return value.unpack()


def variant(signature: str, value: object) -> Any:
    """A GLib.Variant, for commit metadata."""
    _, glib, _ = _gi()
    return glib.Variant(signature, value)


def byte_variant(data: bytes) -> Any:
    """An `ay` without a detour over a list of numbers."""
    _, glib, _ = _gi()
    return glib.Variant.new_from_bytes(
        glib.VariantType.new("ay"), glib.Bytes.new(data), trusted=True
    )


def module() -> ModuleType:
    """The module of libostree itself, for constants."""
    module_: ModuleType = _gi()[0]
    return module_
