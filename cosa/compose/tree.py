"""The tree being composed: hard links to cached objects, changed only by replacing.

No program ever sees the tree writable. Scripts run on an overlay whose lower
layer it is (cosa.tools.sandbox); what they changed is then moved in with
`absorb`. Our own code replaces files by renaming. So an inode of the package
cache is never written to, and a file that still has its inode is known to be
that object.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cosa.compose.plan import Plan
from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import ostree

# Folders every root has while scripts run; finalize.py makes links of most of them.
_SKELETON = ("dev", "proc", "run", "sys", "sysroot", "var", "etc", "usr", "boot",
             "home", "media", "mnt", "root", "srv")  # fmt: skip
_MERGED = ("bin", "sbin", "lib", "lib64")


@dataclass
class Tree:
    """`root` is the tree's folder; `objects` maps inode numbers to the object they are."""

    root: Path
    objects: dict[int, str] = field(default_factory=dict)

    def path(self, rel: str) -> Path:
        """The place of a tree path, whatever it is."""
        return self.root / rel.lstrip("/")

    def exists(self, rel: str) -> bool:
        """Whether the path is there, links not followed."""
        return os.path.lexists(self.path(rel))

    def resolve(self, rel: str) -> Path:
        """The place a tree path leads to, following links as inside the tree."""
        here, rest, hops = self.root, rel.strip("/").split("/"), 0
        while rest:
            name = rest.pop(0)
            if name in {"", "."}:
                continue
            if name == "..":
                here = self.root if here == self.root else here.parent
                continue
            here = here / name
            if here.is_symlink():
                hops += 1
                if hops > 40:
                    raise CosaError("compose/link-loop", f"the link /{rel} leads round in a circle")
                target = os.readlink(here)
                here = self.root if target.startswith("/") else here.parent
                rest = target.strip("/").split("/") + rest
        return here

    def read(self, rel: str) -> str | None:
        """A text file's content as seen inside the tree, None if there is none."""
        place = self.resolve(rel)
        try:
            return place.read_text(encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, rel: str, data: str | bytes, mode: int | None = None) -> None:
        """Replace a file; a new inode, the old owner and mode unless `mode` is given."""
        place = self.resolve(rel)
        self.mkdir(os.path.dirname(os.path.relpath(place, self.root)))
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        old = place.lstat() if os.path.lexists(place) else None
        temporary = place.with_name(f".cosa-new.{place.name}"[:255])
        with temporary.open("wb") as out:
            out.write(raw)
            if old:
                os.fchown(out.fileno(), old.st_uid, old.st_gid)
            wanted = mode if mode is not None else stat.S_IMODE(old.st_mode) if old else 0o644
            os.fchmod(out.fileno(), wanted)
        temporary.rename(place)

    def mkdir(self, rel: str, mode: int = 0o755) -> Path:
        """Make a folder and those above it, following links inside the tree."""
        place = self.resolve(rel)
        if not place.is_dir():
            if place.parent != self.root:
                self.mkdir(os.path.relpath(place.parent, self.root))
            place.mkdir()
            place.chmod(mode)
        return place

    def link(self, rel: str, target: str) -> None:
        """Make a symlink, replacing whatever is there."""
        place = self.path(rel)
        self.remove(rel)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def remove(self, rel: str) -> None:
        """Remove a path and everything below; absent is fine."""
        place = self.path(rel)
        if place.is_symlink() or not place.is_dir():
            place.unlink(missing_ok=True)
        else:
            fs.remove_tree(place)

    def own(self, rel: str) -> Path:
        """Make sure the file has an inode of its own, so that its metadata may be changed."""
        place = self.path(rel)
        info = place.lstat()
        if stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
            temporary = place.with_name(f".cosa-own.{place.name}"[:255])
            shutil.copyfile(place, temporary)
            os.chown(temporary, info.st_uid, info.st_gid)
            for name, value in ostree.inode_xattrs(str(place)):
                os.setxattr(temporary, name, value)
            temporary.chmod(stat.S_IMODE(info.st_mode))
            os.utime(temporary, ns=(info.st_mtime_ns, info.st_mtime_ns))
            temporary.rename(place)
        return place

    def clone(self, root: Path) -> Tree:
        """Another farm of links to the same files; neither sees what changes in the other."""
        link_tree(self.root, root)
        return Tree(root, self.objects)

    def walk(self, rel: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Everything below a folder, sorted, folders before what they hold; no links followed."""
        top = self.path(rel) if rel else self.root
        for entry in sorted(os.scandir(top), key=lambda item: item.name):
            name = f"{rel}/{entry.name}" if rel else entry.name
            yield name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(name)


def checkout(plan: Plan, repo: Path, root: Path) -> Tree:
    """Lay out a plan below `root` (which must not exist) as hard links into `repo`."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    tree = Tree(root)
    made = {""}

    def folder(path: str) -> None:
        if path not in made:
            folder(path.rpartition("/")[0])
            with contextlib.suppress(FileExistsError):
                os.mkdir(root / path, 0o755)
            made.add(path)

    for path in sorted(plan.nodes):
        entry = plan.nodes[path].entry
        folder(path.rpartition("/")[0])
        place = f"{root}/{path}"
        if entry.is_dir:
            folder(path)
            mode = stat.S_IMODE(entry.mode)
            if mode != 0o755:
                os.chmod(place, mode)
        elif entry.is_link:
            os.symlink(entry.target, place)
        else:
            source = f"{repo}/{ostree.object_path(entry.csum)}"
            _link(source, place)
            tree.objects[os.lstat(place).st_ino] = entry.csum
    _skeleton(tree, plan)
    return tree


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except FileNotFoundError as err:
        raise CosaError(
            "compose/cache",
            f"the package cache lacks the object {source.rpartition('objects/')[2]}",
            fix="remove the working directory's cache/pkgcache and build again",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err
    except OSError as err:
        if err.errno != errno.EMLINK:  # ext4 allows 65,000 names for an inode
            raise
        shutil.copy2(source, place)


def _skeleton(tree: Tree, plan: Plan) -> None:
    for name in _SKELETON:
        with contextlib.suppress(FileExistsError):
            os.mkdir(tree.path(name), 0o755)
    for name in _MERGED:
        if not tree.exists(name) and tree.path(f"usr/{name}").is_dir():
            tree.link(name, f"usr/{name}")
    if not tree.exists("tmp"):
        tree.path("tmp").mkdir()
        tree.path("tmp").chmod(0o1777)
    # The policy's modules belong to the system; semodule looks for them in /var.
    links = dict(plan.links)
    if tree.path("etc/selinux").is_dir():
        links["var/lib/selinux"] = "/etc/selinux"
    for path, target in sorted(links.items()):
        top = path.partition("/")[0]
        if top != "opt" and not tree.exists(path):
            tree.link(path, os.path.relpath(target, os.path.join("/", os.path.dirname(path))))
    if tree.path("usr/lib/opt").is_dir():
        tree.link("opt", "usr/lib/opt")
    elif not tree.exists("opt"):
        tree.path("opt").mkdir()
    # Where scripts look for the factory /etc; finalize.py puts the real one there.
    if not tree.exists("usr/etc"):
        tree.link("usr/etc", "../etc")


def link_tree(source: Path, target: Path) -> None:
    """Copy an overlay's layer: folders anew, everything else as hard links."""
    target.mkdir()
    info = source.lstat()
    for entry in os.scandir(source):
        place = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            link_tree(Path(entry.path), place)
        else:
            os.link(entry.path, place, follow_symlinks=False)
    for name in os.listxattr(source):
        if name.startswith("user.overlay."):
            os.setxattr(target, name, os.getxattr(source, name))
    os.chown(target, info.st_uid, info.st_gid)
    os.chmod(target, info.st_mode & 0o7777)


def absorb(upper: Path, tree: Tree) -> None:
    """Move the upper layer of an overlay over `tree` into it; `upper` is used up.

    Knows overlayfs's marks with `userxattr`: a 0:0 character device hides a
    name, `user.overlay.opaque` hides what was in a folder.
    """
    _absorb(str(upper), str(tree.root))


def _absorb(upper: str, lower: str) -> None:
    for entry in os.scandir(upper):
        target = f"{lower}/{entry.name}"
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
            _clear(target)
        elif stat.S_ISDIR(info.st_mode):
            if _is_opaque(entry.path) or not _is_dir(target):
                _clear(target)
                os.mkdir(target)
            _absorb(entry.path, target)
            os.chown(target, info.st_uid, info.st_gid)
            os.chmod(target, stat.S_IMODE(info.st_mode))
        else:
            if _is_dir(target):
                fs.remove_tree(Path(target))
            os.rename(entry.path, target)


def _is_dir(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _is_opaque(path: str) -> bool:
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"y":
                return True
    return False


def _clear(path: str) -> None:
    if os.path.lexists(path):
        fs.remove_tree(Path(path))
