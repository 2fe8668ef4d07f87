"""An OSTree commit out of a container image that carries one, bit by bit as it was.

The form is ostree-ext's (see `layers`): object files below `sysroot/ostree/repo/objects`,
each content object behind an entry with its xattrs. Every object is hashed and must have
the name it came under; the commit itself is written last, once everything it refers to
is there.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from functools import partial
from pathlib import Path

from cosa.container.ociread import Image, Layer
from cosa.core import events
from cosa.core.errors import CosaError
from cosa.tools import ostree
from cosa.tools.ostree_objects import Meta, ObjectWriter, sync_filesystem
from cosa.tools.ostree_read import Objects, unpack_xattrs

FINAL = "ostree.final-diffid"
_OBJECT = re.compile(r"(?:\./)?sysroot/ostree/repo/objects/([0-9a-f]{2})/([0-9a-f]{62})\.([a-z-]+)")
_XATTRS = re.compile(r"(?:\./)?sysroot/ostree/repo/(?:xattrs|objects/..)/[0-9a-f]+\.file-xattrs")
_METADATA = ("dirtree", "dirmeta")
_META_LIMIT = 10 << 20
_XATTR_LIMIT = 1 << 20
_CHUNK = 1 << 20


def is_commit(image: Image) -> bool:
    """Whether the image is an OSTree commit and nothing else (no layers on top of it)."""
    final = image.labels.get(FINAL)
    return final is not None and bool(image.layers) and image.layers[-1].diffid == final


def unencapsulate(image: Image, repo: Path, ref: str) -> str:
    """Write the commit of an image into a repository (made bare-user if absent); its checksum.

    `ref` will point at it. Raises `import/damaged` for anything that is not exactly what
    its checksum says, or is missing.
    """
    opened = ostree.Repo.ensure(repo, "bare-user")
    with events.step("import commit") as step:
        reader = _Reader(image, repo)
        try:
            for number, layer in enumerate(image.layers):
                reader.layer(layer)
                step.progress(number + 1, len(image.layers), "layers")
            commit = reader.finish()
        finally:
            reader.close()
        with opened.transaction():
            opened.set_refs({ref: commit})
        step.summary = f"{commit[:12]}, {reader.count} objects"
        step.size = reader.writer.bytes
        return commit


class _Reader:
    def __init__(self, image: Image, repo: Path) -> None:
        self.image = image
        self.repo = repo
        self.writer = ObjectWriter(repo)
        self.count = 0
        self._commit: tuple[str, bytes] | None = None
        self._detached: bytes | None = None
        self._shared: dict[str, bytes] = {}  # older writers: xattrs once, linked from then on
        self._xattrs: tuple[str, bytes] | None = None

    def close(self) -> None:
        """Let go of the repository."""
        self.writer.close()

    def layer(self, layer: Layer) -> None:
        """Take the objects out of one layer."""
        with self.image.open_layer(layer) as tar:
            for entry in tar:
                found = _OBJECT.fullmatch(entry.name)
                if found:
                    self._object(tar, entry, found[1] + found[2], found[3])
                elif _XATTRS.fullmatch(entry.name) and entry.isreg():
                    self._shared[_base(entry.name)] = self._bytes(tar, entry, _XATTR_LIMIT)

    def finish(self) -> str:
        """Check that nothing is missing, then let the commit appear; its checksum."""
        if self._commit is None:
            raise self.image.damaged("it has no commit object")
        checksum, data = self._commit
        sync_filesystem(self.repo)
        self._put(checksum, "commit", data)
        try:
            self._check(checksum)
            if self._detached is not None:
                self._put(checksum, "commitmeta", self._detached)
        except CosaError as err:
            self._path(checksum, "commit").unlink(missing_ok=True)
            raise self.image.damaged("its commit is not whole", err.what) from err
        sync_filesystem(self.repo)
        return checksum

    def _check(self, commit: str) -> None:
        objects = Objects(self.repo)
        tree, meta = objects.commit_root(commit)
        objects.dirmeta(meta)
        seen: set[str] = set()
        todo = [tree]
        while todo:
            folder = objects.folder(todo.pop())
            for _, checksum in folder.files:
                if checksum not in seen:
                    seen.add(checksum)
                    objects.content(checksum)
            for _, inner, described in folder.folders:
                objects.dirmeta(described)
                if inner not in seen:
                    seen.add(inner)
                    todo.append(inner)

    def _object(
        self, tar: tarfile.TarFile, entry: tarfile.TarInfo, checksum: str, kind: str
    ) -> None:
        if kind == "file":
            self._content(tar, entry, checksum)
        elif kind == "file-xattrs-link":
            data = self._linked(entry) if entry.islnk() else self._bytes(tar, entry, _XATTR_LIMIT)
            self._xattrs = (checksum, data)
        elif kind == "file-xattrs":
            self._shared[_base(entry.name)] = self._bytes(tar, entry, _XATTR_LIMIT)
        elif kind == "commit":
            if self._commit is not None:
                raise self.image.damaged("it has two commit objects")
            self._commit = (checksum, self._checked(tar, entry, checksum, kind))
        elif kind == "commitmeta":
            self._detached = self._bytes(tar, entry, _META_LIMIT)
        elif kind in _METADATA:
            self._put(checksum, kind, self._checked(tar, entry, checksum, kind))

    def _content(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, checksum: str) -> None:
        if entry.islnk():
            return  # a path of the OS to an object of this name cannot be
        if self._xattrs is None or self._xattrs[0] != checksum:
            raise self.image.damaged(f"the xattrs of the object {checksum} are not before it")
        try:
            xattrs = unpack_xattrs(self._xattrs[1])
        except (ValueError, IndexError) as err:
            raise self.image.damaged(f"the xattrs of the object {checksum} are broken") from err
        kind = stat.S_IFLNK if entry.issym() else stat.S_IFREG
        mode = kind | stat.S_IMODE(entry.mode)
        target = entry.linkname if entry.issym() else ""
        meta = Meta(mode, entry.uid, entry.gid, target, xattrs)
        if entry.issym():
            written = self.writer.write(meta)
        elif entry.isreg():
            source = tar.extractfile(entry)
            assert source is not None, "it is a regular file"
            written = self.writer.write_stream(meta, iter(partial(source.read, _CHUNK), b""))
        else:
            raise self.image.damaged(f"the object {checksum} is neither file nor link")
        if written != checksum:
            raise self.image.damaged(f"the object {checksum} is really {written}")
        self.count += 1

    def _linked(self, entry: tarfile.TarInfo) -> bytes:
        found = self._shared.get(_base(entry.linkname))
        if found is None:
            raise self.image.damaged(f"{entry.name} leads nowhere")
        return found

    def _checked(
        self, tar: tarfile.TarFile, entry: tarfile.TarInfo, checksum: str, kind: str
    ) -> bytes:
        data = self._bytes(tar, entry, _META_LIMIT)
        if hashlib.sha256(data).hexdigest() != checksum:
            raise self.image.damaged(f"the object {checksum}.{kind} has another checksum")
        self.count += 1
        return data

    def _bytes(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, limit: int) -> bytes:
        source = tar.extractfile(entry) if entry.isreg() and entry.size <= limit else None
        if source is None:
            raise self.image.damaged(f"{entry.name} is no file of at most {limit} bytes")
        return source.read()

    def _put(self, checksum: str, kind: str, data: bytes) -> None:
        """Place a metadata object, whole or not at all."""
        path = self._path(checksum, kind)
        if path.exists() and kind != "commitmeta":
            return
        path.parent.mkdir(exist_ok=True)
        fresh = self.repo / "tmp" / f"cosa-import-{os.getpid()}"
        fresh.write_bytes(data)
        fresh.chmod(0o644)
        fresh.replace(path)

    def _path(self, checksum: str, kind: str) -> Path:
        return self.repo / "objects" / checksum[:2] / f"{checksum[2:]}.{kind}"


def _base(name: str) -> str:
    return os.path.basename(name)


def ref_of(build: str) -> str:
    """The ref of an imported build: OSTree allows fewer characters than ids have."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", build)
