"""The layers of an OSTree commit as a container image: what is in them, in which order.

Form: ostree-ext's "encapsulated" commit, format 1 (its `tar/export.rs`). Each layer is a tar
that carries a piece of an OSTree repository of mode bare-split-xattrs below
`sysroot/ostree/repo`, and hard links from the paths of the OS to those objects, so that a
container engine sees the file system and an OSTree client the commit. Layer 0 holds the commit,
all directory objects and the directories; the layers behind hold files.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cosa.core.errors import CosaError, ExitClass
from cosa.tools import tarwrite
from cosa.tools.ostree_objects import Meta, pack_xattrs
from cosa.tools.ostree_read import Content, Objects

_CHUNK = 1 << 20
_REPO = "sysroot/ostree/repo"
_CONFIG = b"[core]\nrepo_version=1\nmode=bare-split-xattrs\n"
_PLAIN = Meta(0o755)
_FOLDERS = (
    "extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp", "tmp/cache",
)  # fmt: skip


class Sink(Protocol):
    """Where a tar goes."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


@dataclass
class Walk:
    """A commit's tree, walked in sorted order: what layers are cut from."""

    root_meta: str
    root_tree: str
    folders: list[tuple[str, str]] = field(default_factory=list)  # (path, dirmeta)
    objects: list[tuple[str, str]] = field(default_factory=list)  # (checksum, kind), once each
    paths: dict[str, list[str]] = field(default_factory=dict)  # content checksum -> paths


def walk(objects: Objects, root_tree: str, root_meta: str) -> Walk:
    """Walk a commit's tree. Paths are relative, with usr/etc shown as etc."""
    found = Walk(root_meta, root_tree)
    seen: set[tuple[str, str]] = set()

    def note(checksum: str, kind: str) -> None:
        if (checksum, kind) not in seen:
            seen.add((checksum, kind))
            found.objects.append((checksum, kind))

    def descend(path: str, tree: str, *, shown: bool) -> None:
        note(tree, "dirtree")
        listing = objects.folder(tree)
        for name, checksum in listing.files:
            found.paths.setdefault(checksum, [])
            if shown:
                found.paths[checksum].append(_shown(path, name))
        for name, below, meta in listing.folders:
            note(meta, "dirmeta")
            here = _shown(path, name)
            # The layers' own sysroot/ostree/repo is there; a tar must not name a path twice.
            visible = shown and here != "sysroot"
            if visible:
                found.folders.append((here, meta))
            descend(here, below, shown=visible)

    note(root_meta, "dirmeta")
    descend("", root_tree, shown=True)
    return found


def write_commit_layer(
    out: Sink, objects: Objects, found: Walk, commit: str, commitmeta: bytes | None
) -> None:
    """Layer 0. The commit must come before every other object, its detached metadata next."""
    out.write(_folder("./", objects.dirmeta(found.root_meta)))
    _write_structure(out)
    _write_object(out, commit, "commit", objects.metadata(commit, "commit"))
    if commitmeta is not None:
        _write_object(out, commit, "commitmeta", commitmeta)
    for checksum, kind in found.objects:
        _write_object(out, checksum, kind, objects.metadata(checksum, kind))
    for path, meta in found.folders:
        out.write(_folder(f"./{path}", objects.dirmeta(meta)))
    there = {path for path, _ in found.folders}
    if "var" in there and "var/tmp" not in there:
        out.write(_folder("./var/tmp", Meta(0o1777)))
    out.write(tarwrite.end())


def write_content_layer(out: Sink, objects: Objects, content: Mapping[str, Iterable[str]]) -> None:
    """A layer with file objects, by checksum, each followed by hard links at its paths."""
    _write_structure(out)
    for checksum in sorted(content):
        for piece in _content(objects, checksum, content[checksum]):
            out.write(piece)
    out.write(tarwrite.end())


def _content(objects: Objects, checksum: str, paths: Iterable[str]) -> Iterator[bytes]:
    name = _object(checksum, "file")
    content = objects.content(checksum)
    meta = content.meta
    # Importers want the xattrs directly before the object they belong to.
    packed = pack_xattrs(meta.xattrs)
    link = _object(checksum, "file-xattrs-link")
    yield tarwrite.header(tarwrite.REGULAR, link, size=len(packed))
    yield tarwrite.padded(packed)
    # The label is the client's to set: container engines refuse it.
    xattrs = [pair for pair in meta.xattrs if pair[0] != b"security.selinux"]
    kind = tarwrite.SYMLINK if content.is_link else tarwrite.REGULAR
    mode, uid, gid = stat.S_IMODE(meta.mode), meta.uid, meta.gid
    yield tarwrite.header(
        kind, name, size=content.size, mode=mode, uid=uid, gid=gid,
        target=_bytes(meta.target), xattrs=xattrs,
    )  # fmt: skip
    if content.size:
        yield from _bytes_of(objects, content)
    for path in paths:
        if content.size or content.is_link:
            yield tarwrite.header(
                tarwrite.LINK, _bytes(path), mode=mode, uid=uid, gid=gid, target=name
            )
        else:
            # Engines would write through a link into the object: an empty file stands alone.
            yield tarwrite.header(tarwrite.REGULAR, _bytes(path), mode=mode, uid=uid, gid=gid)


def _bytes_of(objects: Objects, content: Content) -> Iterator[bytes]:
    left = content.size
    with objects.open(content) as source:
        while left:
            data = source.read(min(left, _CHUNK))
            if not data:
                raise CosaError(
                    "ostree/object", f"the object {content.checksum} is shorter than it says",
                    fix="the repository is damaged: remove it and build again",
                    exit_class=ExitClass.STEP,
                )  # fmt: skip
            left -= len(data)
            yield data
    yield bytes(tarwrite.padding(content.size))


def _write_structure(out: Sink) -> None:
    parts = _REPO.split("/")
    for count in range(1, len(parts) + 1):
        out.write(_folder("/".join(parts[:count])))
    out.write(_folder(f"{_REPO}/objects"))
    for number in range(256):
        out.write(_folder(f"{_REPO}/objects/{number:02x}"))
    for name in _FOLDERS:
        out.write(_folder(f"{_REPO}/{name}"))
    out.write(tarwrite.header(tarwrite.REGULAR, _bytes(f"{_REPO}/config"), size=len(_CONFIG)))
    out.write(tarwrite.padded(_CONFIG))


def _write_object(out: Sink, checksum: str, kind: str, data: bytes) -> None:
    out.write(tarwrite.header(tarwrite.REGULAR, _object(checksum, kind), size=len(data)))
    out.write(tarwrite.padded(data))


def _object(checksum: str, kind: str) -> bytes:
    return _bytes(f"{_REPO}/objects/{checksum[:2]}/{checksum[2:]}.{kind}")


def _folder(path: str, meta: Meta = _PLAIN) -> bytes:
    mode = stat.S_IMODE(meta.mode)
    return tarwrite.header(tarwrite.DIRECTORY, _bytes(path), mode=mode, uid=meta.uid, gid=meta.gid)


def _shown(folder: str, name: str) -> str:
    path = f"{folder}/{name}" if folder else name
    return "etc" if path == "usr/etc" else path


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
