"""The file tree a container image shows, laid out in a folder.

Layers come from anywhere: an entry's path is followed step by step inside the folder, so
that no link placed by one entry leads the next one out; devices and pipes are left out.
Needs root, or a user namespace, for owners and capabilities.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cosa.container.ociread import Image
from cosa.core import events, fs

_XATTR = "SCHILY.xattr."
_GONE, _OPAQUE = ".wh.", ".wh..wh..opq"
_LINKS = 40
_CHUNK = 1 << 20
_KEPT = ("security.capability", "user.", "security.ima")


def flatten(image: Image, root: Path) -> None:
    """Lay the layers of an image over each other in the empty folder `root`.

    Raises `import/damaged`, `untrusted/path`, `env/disk-full`.
    """
    with events.step("unpack layers") as step:
        for number, layer in enumerate(image.layers):
            fs.need_space(root, layer.size * 2, "unpacking the image")
            with image.open_layer(layer) as tar:
                _Layer(root, image).apply(tar)
            step.progress(number + 1, len(image.layers), "layers")


class _Layer:
    """One layer on its way into the folder; what it brings itself, its whiteouts leave alone."""

    def __init__(self, root: Path, image: Image) -> None:
        self.root = root
        self.image = image
        self.fresh: set[Path] = set()
        # Real folders by path, as long as no link comes or goes.
        self._known: dict[tuple[str, ...], Path] = {}

    def apply(self, tar: tarfile.TarFile) -> None:
        """Take all entries of a layer, in order."""
        folders: list[tuple[Path, tarfile.TarInfo]] = []
        for entry in tar:
            rel = PurePosixPath(entry.name)
            if str(rel) == ".":
                folders.append((self.root, entry))
                continue
            fs.safe_join(self.root, str(rel))
            parent = self._folder(rel.parent)
            if rel.name.startswith(_GONE):
                self._whiteout(parent, rel.name)
                continue
            path = parent / rel.name
            if entry.isdir():
                self._make_folder(path)
                folders.append((path, entry))
            else:
                self._place(tar, entry, path)
            self.fresh.add(path)
        # Folders last and inside out: their modes may forbid what comes into them.
        for path, entry in reversed(folders):
            if path.is_dir() and not path.is_symlink():
                _describe(path, entry)

    def _place(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
        if entry.isdev() or entry.isfifo():
            return
        if os.path.lexists(path):
            self._remove(path)
        if entry.issym():
            path.symlink_to(entry.linkname)
        elif entry.islnk():
            source = self._inside(PurePosixPath(entry.linkname))
            if source is None or (source.is_dir() and not source.is_symlink()):
                raise self.image.damaged(f"{entry.name} is a link to what is not there")
            os.link(source, path, follow_symlinks=False)
            return
        elif entry.isreg():
            reader = tar.extractfile(entry)
            assert reader is not None, "it is a regular file"
            with path.open("xb") as out:
                shutil.copyfileobj(reader, out, _CHUNK)
        else:
            raise self.image.damaged(f"{entry.name} is of an unknown kind")
        _describe(path, entry)

    def _make_folder(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            return
        if path.is_symlink() and self._follow(path) is not None:
            return  # as container engines do: a layer may write through lib -> usr/lib
        self._remove(path)
        path.mkdir(mode=0o755)

    def _whiteout(self, parent: Path, name: str) -> None:
        doomed = list(parent.iterdir()) if name == _OPAQUE else [parent / name.removeprefix(_GONE)]
        for path in doomed:
            own = path in self.fresh or any(path in each.parents for each in self.fresh)
            if path.parent == parent and path.name not in ("", ".", "..") and not own:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        if path.is_symlink() or path.is_dir():
            self._known.clear()
        fs.remove_tree(path)

    def _folder(self, rel: PurePosixPath) -> Path:
        """The real folder for a path inside, made where it is missing."""
        if rel.parts in self._known:
            return self._known[rel.parts]
        here = self.root
        for part in rel.parts:
            path = here / part
            if path.is_symlink():
                target = self._follow(path)
                if target is None:
                    raise self.image.damaged(f"{rel} leads through a link to nowhere")
                here = target
                continue
            if not path.is_dir():
                self._remove(path)
                path.mkdir(mode=0o755)
            here = path
        self._known[rel.parts] = here
        return here

    def _follow(self, link: Path) -> Path | None:
        """The folder a symlink means inside the root, None if there is none."""
        found = self._resolve(link.relative_to(self.root).parts)
        return found if found is not None and found.is_dir() else None

    def _inside(self, rel: PurePosixPath) -> Path | None:
        """The real place of a path, every folder on the way resolved; its last part as it is."""
        parts = [part for part in rel.parts if part not in ("/", ".")]
        if not parts or ".." in parts:
            return None
        above = tuple(parts[:-1])
        parent = self._known.get(above) or self._resolve(above)
        if parent is not None and parent.is_dir():
            self._known[above] = parent
        path = parent / parts[-1] if parent is not None else None
        return path if path is not None and (path.is_symlink() or path.exists()) else None

    def _resolve(self, parts: tuple[str, ...]) -> Path | None:
        """A path with all symlinks followed, none of which can leave the root."""
        here, todo, links = self.root, list(parts), 0
        while todo:
            part = todo.pop(0)
            if part in ("/", ".", ""):
                continue
            if part == "..":
                here = here.parent if here != self.root else here
                continue
            path = here / part
            if path.is_symlink():
                links += 1
                if links > _LINKS:
                    return None
                target = PurePosixPath(os.readlink(path))
                here = self.root if target.is_absolute() else here
                todo = [*target.parts, *todo]
                continue
            if not path.exists():
                return None
            here = path
        return here


def _describe(path: Path, entry: tarfile.TarInfo) -> None:
    """Owner, mode and xattrs of an entry."""
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if not entry.issym():
        path.chmod(stat.S_IMODE(entry.mode))
    for name, value in _xattrs(entry):
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as err:
            if err.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise


def _xattrs(entry: tarfile.TarInfo) -> Iterator[tuple[str, bytes]]:
    for key, value in entry.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name != key and name.startswith(_KEPT):
            yield name, value.encode("utf-8", "surrogateescape")
