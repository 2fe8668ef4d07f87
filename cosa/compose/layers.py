"""Folders laid over the packages: overlay.d/NAME, extra layers, overrides/rootfs.

Each becomes a small OSTree commit in the package cache, as coreos-assembler's
`commit_overlay` makes it: everything root's, no xattrs, executables read-only,
modes from a `statoverride` file. `etc` is written `etc` or `usr/etc`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosa.compose import translate
from cosa.compose.tree import Tree
from cosa.core import fs
from cosa.core.errors import CosaError, Problems, Where
from cosa.model.treefile import Treefile
from cosa.tools import ostree

_STATOVERRIDE = "statoverride"
OVERRIDES = "overlay/overrides-rootfs"


@dataclass(frozen=True)
class Layer:
    """A folder to lay over the tree. `replaces` lets it win over what is there."""

    name: str
    folder: Path
    replaces: bool = False

    @property
    def title(self) -> str:
        """What people know it as: `overlay.d/05core`, `overrides/rootfs`."""
        if self.name == OVERRIDES:
            return "overrides/rootfs"
        return self.name.replace("overlay/", "overlay.d/", 1)


@dataclass(frozen=True)
class Item:
    """A path of a layer as the tree has it; `source` is where its content is."""

    path: str
    mode: int
    source: Path
    target: str = ""

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)


def of_treefile(
    tree: Treefile, config: Path, extra: Mapping[str, Path], overrides: Path | None
) -> list[Layer]:
    """Every layer in the order in which they go over the packages.

    `ostree-layers`, then extra layers the treefile does not name, then
    `ostree-override-layers`, then overrides/rootfs. `overlay/NAME` is
    `overlay.d/NAME` of the configuration, or the extra layer NAME.
    Raises `compose/no-layer`, all missing ones at once.
    """
    given = {f"overlay/{name.removeprefix('overlay/')}": path for name, path in extra.items()}
    rows = [(name, False) for name in tree.ostree_layers]
    rows += [(name, False) for name in given if name not in tree.ostree_layers]
    rows += [(name, True) for name in tree.ostree_override_layers]
    problems = Problems()
    layers = []
    for name, replaces in rows:
        short = name.removeprefix("overlay/")
        folder = given.get(name, config / "overlay.d" / short)
        if folder.is_dir() and short != name:
            layers.append(Layer(name, folder, replaces))
            continue
        have = sorted(p.name for p in (config / "overlay.d").glob("*") if p.is_dir())
        problems.add(
            "compose/no-layer",
            f"the layer {name} does not exist",
            why=f"overlay.d has: {', '.join(have) or 'nothing'}",
            fix="a layer overlay/NAME is the folder overlay.d/NAME beside the treefile",
        )
    problems.raise_if_any("layers are missing")
    if overrides and overrides.is_dir() and any(overrides.iterdir()):
        layers.append(Layer(OVERRIDES, overrides, replaces=True))
    return layers


def read_statoverride(folder: Path) -> dict[str, int]:
    """Path to mode from `=MODE /path` (set) and `+MODE /path` (add) lines, MODE in decimal.

    Added bits are marked by a negative number. Raises `compose/statoverride`.
    """
    file = folder / _STATOVERRIDE
    modes: dict[str, int] = {}
    if not file.is_file():
        return modes
    text = file.read_text("utf-8", "surrogateescape")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mode, _, path = line.partition(" ")
        digits = mode[1:] if mode[:1] in {"=", "+"} else mode
        known = re.fullmatch(r"[0-9]{1,4}", digits)
        if not known or not path.startswith("/") or int(digits) > 0o7777:
            raise CosaError(
                "compose/statoverride",
                f"a line of statoverride makes no sense: {line[:80]!r}",
                Where(str(file), number, 1),
                fix="write `=MODE /path`, MODE in decimal: `=288 /etc/secret` is 0440",
            )
        value = int(digits)
        modes[path.strip().strip("/")] = value if mode[0] == "=" else -value - 1
    return modes


def items(layer: Layer) -> Iterator[Item]:
    """What a layer holds, sorted, folders before what is in them.

    Raises `compose/layer` for anything but files, folders and links.
    """
    overrides = {_inside(path): mode for path, mode in read_statoverride(layer.folder).items()}
    used = set()
    for source, rel in _walk(layer.folder, ""):
        if rel == _STATOVERRIDE:
            continue
        info = source.lstat()
        path = _inside(rel)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFLNK:
            yield Item(path, stat.S_IFLNK | 0o777, source, os.readlink(source))
            continue
        if kind not in {stat.S_IFREG, stat.S_IFDIR}:
            raise CosaError(
                "compose/layer",
                f"the layer {layer.name} holds something that is neither file, folder nor link",
                Where(str(source)),
            )
        mode = _mode(info.st_mode, exact=layer.replaces)
        if path in overrides:
            used.add(path)
            given = overrides[path]
            mode = given if given >= 0 else mode | (-given - 1)
        yield Item(path, kind | mode, source)
    for path in sorted(set(overrides) - used):
        raise CosaError(
            "compose/statoverride",
            f"statoverride names /{path}, which the layer {layer.name} does not have",
            Where(str(layer.folder / _STATOVERRIDE)),
        )


def _mode(mode: int, *, exact: bool) -> int:
    """Permissions in the tree: of overrides their own, else what a version control keeps."""
    if exact:
        return mode & 0o755 & (~0o222 if mode & 0o111 and stat.S_ISREG(mode) else ~0)
    if stat.S_ISDIR(mode):
        return 0o755
    return 0o555 if mode & 0o100 else 0o644


def _walk(folder: Path, rel: str) -> Iterator[tuple[Path, str]]:
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        name = f"{rel}/{entry.name}" if rel else entry.name
        yield Path(entry.path), name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), name)


def _inside(rel: str) -> str:
    """A layer's path as the tree has it while it is composed."""
    if rel == "usr/etc" or rel.startswith("usr/etc/"):
        return rel.removeprefix("usr/")
    for name in ("bin", "sbin", "lib", "lib64"):
        if rel.startswith(name + "/"):
            return f"usr/{rel}"
    return rel


def apply(
    layer: Layer, tree: Tree, repo: ostree.Repo, writer: ostree.ObjectWriter
) -> dict[str, str]:
    """Lay a layer over the tree and commit it to the cache as `overlay/...`.

    What comes back are the paths that were there and are another file now, each
    with its object.

    Raises `compose/layer-conflict` with every path where a layer that may not
    replace anything differs from the tree.
    """
    problems = Problems()
    replaced: dict[str, str] = {}
    root = ostree.TreeNode()
    default = ostree.Meta(stat.S_IFDIR | 0o755)
    root.describe(repo, default)
    nodes = {"": root}
    with repo.transaction():
        for item in items(layer):
            path = translate.committed(item.path)
            above, _, name = path.rpartition("/")
            node = _folder(nodes, above, repo)
            if item.is_dir:
                nodes[path] = node.folder(name)
                nodes[path].describe(repo, ostree.Meta(item.mode))
                _place_folder(item, tree)
                continue
            meta = ostree.Meta(item.mode, target=item.target)
            csum = writer.write(meta) if item.target else writer.copy(item.source, meta)
            node.file(name, csum)
            if _differs(item, csum, tree):
                replaced[item.path] = csum
            if not _place(item, csum, layer, tree, repo):
                problems.add(
                    "compose/layer-conflict",
                    f"the layer {layer.name} has /{item.path}, which is there already and differs",
                    Where(str(item.source)),
                    fix="use another name (a drop-in), remove-from-packages, or an override layer",
                )
        problems.raise_if_any("layers do not fit over the packages")
        commit = repo.write_commit(root, ostree.variant("a{sv}", {}), timestamp=0)
        ref = layer.name if "/" in layer.name else f"overlay/{layer.name}"
        repo.set_refs({ref: commit})
    return replaced


def _folder(nodes: dict[str, ostree.TreeNode], path: str, repo: ostree.Repo) -> ostree.TreeNode:
    if path not in nodes:
        above, _, name = path.rpartition("/")
        nodes[path] = _folder(nodes, above, repo).folder(name)
        nodes[path].describe(repo, ostree.Meta(stat.S_IFDIR | 0o755))
    return nodes[path]


def _place_folder(item: Item, tree: Tree) -> None:
    place = tree.resolve(item.path)
    if not place.is_dir():
        tree.mkdir(item.path, stat.S_IMODE(item.mode))


def _place(item: Item, csum: str, layer: Layer, tree: Tree, repo: ostree.Repo) -> bool:
    """Put one file or link in place; False when something else is there and must stay."""
    above, _, name = item.path.rpartition("/")
    folder = tree.mkdir(above) if above else tree.root
    place = folder / name
    if os.path.lexists(place):
        if not layer.replaces:
            return _same(place, item, csum, tree)
        if place.is_dir() and not place.is_symlink():
            fs.remove_tree(place)
        else:
            place.unlink()
    if item.target:
        place.symlink_to(item.target)
    else:
        os.link(repo.path / ostree.object_path(csum), place)
        tree.objects[place.lstat().st_ino] = csum
    return True


def _differs(item: Item, csum: str, tree: Tree) -> bool:
    """Whether something else is in an item's place."""
    above, _, name = item.path.rpartition("/")
    place = tree.resolve(above) / name
    return os.path.lexists(place) and not _same(place, item, csum, tree)


def _same(place: Path, item: Item, csum: str, tree: Tree) -> bool:
    if item.target:
        return place.is_symlink() and os.readlink(place) == item.target
    return tree.objects.get(place.lstat().st_ino) == csum
