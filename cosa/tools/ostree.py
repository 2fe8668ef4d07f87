"""OSTree repositories through libostree: metadata objects, commits, refs.

Content objects are written by `ostree_objects`, whose names are also found here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cosa.core import fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.tools.ostree_objects import (
    Meta,
    ObjectWriter,
    Xattrs,
    inode_xattrs,
    object_path,
    pack_xattrs,
    repo_mode,
    sync_filesystem,
)
from cosa.tools.ostree_read import Objects

__all__ = [
    "Meta",
    "ObjectWriter",
    "Repo",
    "TreeNode",
    "Xattrs",
    "inode_xattrs",
    "object_path",
    "pack_xattrs",
    "repo_mode",
    "sync_filesystem",
]


_TURN = "cosa.lock"


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


@dataclass
class Counts:
    """Metadata objects of a transaction: all, and those that were new."""

    total: int = 0
    written: int = 0


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
    def transaction(self) -> Iterator[Counts]:
        """Refs set inside point at what was written inside once the block has ended.

        One at a time for all threads and processes: libostree takes over, or
        clears away, a staging folder another is about to lock. Who wants to
        write side by side writes objects without a transaction; each appears
        whole. Yields counts of metadata objects, filled in at the end.
        """
        counts = Counts()
        with (
            store.lock(self.path / _TURN, "a transaction", wait=True),
            _speaking(f"cannot write to the repository {self.path}"),
        ):
            self.raw.prepare_transaction(None)
            try:
                yield counts
                stats = self.raw.commit_transaction(None)[1]
                counts.total = int(stats.metadata_objects_total)
                counts.written = int(stats.metadata_objects_written)
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

    def timestamp(self, commit: str) -> int:
        """A commit's time, seconds since 1970."""
        ostree, _, _ = _gi()
        with _speaking(f"the commit {commit[:12]} cannot be read"):
            variant = self.raw.load_variant(ostree.ObjectType.COMMIT, commit)[1]
        return int(ostree.commit_get_timestamp(variant))

    def read_text(self, commit: str, path: str) -> str | None:
        """A text file of a commit, None if there is none (or a symlink)."""
        objects = Objects(self.path)
        found = objects.find(commit, path)
        if found is None or found.is_link:
            return None
        return objects.read(found).decode("utf-8", "surrogateescape")

    def write_commit(
        self, root: TreeNode, metadata: Any, *, timestamp: int, parent: str | None = None
    ) -> str:
        """Write the trees below `root` and a commit over them."""
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


def metadata_of(raw: bytes) -> dict[str, Any]:
    """The metadata of a commit object's bytes, as JSON values. Raises `ostree/damaged`."""
    _, glib, _ = _gi()
    kind = glib.VariantType.new("(a{sv}aya(say)sstayay)")
    value = glib.Variant.new_from_bytes(kind, glib.Bytes.new(raw), trusted=False)
    if not value.is_normal_form():
        raise CosaError(
            "ostree/damaged", "this is not a commit object", exit_class=ExitClass.UNTRUSTED
        )
    found: dict[str, Any] = _plain(value.get_child_value(0))
    return found


def commit_parent(raw: bytes) -> str:
    """The parent a commit object's bytes name, or nothing."""
    _, glib, _ = _gi()
    kind = glib.VariantType.new("(a{sv}aya(say)sstayay)")
    value = glib.Variant.new_from_bytes(kind, glib.Bytes.new(raw), trusted=False)
    return bytes(value.get_child_value(1).get_data_as_bytes().get_data()).hex()


def has_commit(repo: Path, commit: str) -> bool:
    """Whether the repository exists and has the commit, whole."""
    if not (repo / "config").exists():
        return False
    opened = Repo(repo)
    with _speaking(f"cannot look for the commit {commit[:12]}"):
        there = opened.raw.has_object(module().ObjectType.COMMIT, commit, None)[1]
        state = opened.raw.load_commit(commit)[2] if there else 1
    return bool(there) and int(state) == 0


def prune(repo: Path, keep: Collection[str]) -> None:
    """Drop every commit but `keep`, which has to hold all that refs point at, and its objects.

    Commits go first: killed in between, objects nobody refers to are left, no broken commit.
    """
    for path in (repo / "objects").glob("??/*.commit"):
        if path.parent.name + path.stem not in keep:
            path.with_suffix(".commitmeta").unlink(missing_ok=True)
            path.unlink()
    with _speaking(f"cannot prune the repository {repo}"):
        Repo(repo).raw.prune(module().RepoPruneFlags.NONE, 0, None)


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


def error() -> type[Exception]:
    """What libostree raises where this module does not say it in our words."""
    glib_error: type[Exception] = _gi()[1].Error
    return glib_error


def module() -> ModuleType:
    """The module of libostree itself, for constants."""
    module_: ModuleType = _gi()[0]
    return module_
