"""`cosa diff`: how two builds differ. Each way to compare is one row of `DIFFERS`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cosa.core import events, fs, run
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline import difftrees as trees
from cosa.pipeline import pkgdiff
from cosa.pipeline.diffcache import Side, cache_of, listing, text_of, usage
from cosa.pipeline.pkgdiff import Kind
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools import gpt

type Texts = list[str]  # lines to print
type Paths = tuple[Path, Path]  # files or folders for `git diff`


@dataclass(frozen=True)
class Differ:
    """A way to compare two builds: its option, and what it finds."""

    name: str
    text: str
    compare: Callable[[Side, Side], Texts | Paths]


def sides(workdir: Workdir, old: str, new: str, arch: str) -> tuple[Side, Side]:
    """The builds to compare: previous and latest unless named; one alone against the latest.

    Raises `diff/one-build`, `diff/same`, `build/unknown`.
    """
    workdir.need_init()
    arch = arch or basearch()
    listed = [b.id for b in workdir.read_builds().builds if workdir.has(b.id, arch)]
    latest = listed[0] if listed else workdir.latest(arch)
    if not old and not new:
        if len(listed) < 2:
            raise CosaError(
                "diff/one-build", f"there is only one {arch} build here: {latest}",
                fix="make another, or name two with --from and --to", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        old = listed[1]
    names = [latest if name in ("", "latest") else name for name in (old, new)]
    if names[0] == names[1]:
        raise CosaError(
            "diff/same", f"both sides are build {names[0]}", fix="name another with --from or --to",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    first, second = (
        Side(workdir, name, workdir.build(name, arch), workdir.meta(name, arch).to_json())
        for name in names
    )
    return first, second


def compare(pair: tuple[Side, Side], names: Sequence[str], *, difftool: bool) -> Iterator[str]:
    """Lines of each comparison; folders are shown by git, on our own terminal."""
    chosen = [differ for differ in DIFFERS if differ.name in names]
    for differ in chosen:
        if len(chosen) > 1:
            events.note(f"--{differ.name}")
        found = differ.compare(*pair)
        if isinstance(found, tuple):
            _git(found, difftool=difftool)
        else:
            yield from found


def collect_garbage(workdir: Workdir) -> None:
    """Remove what was unpacked."""
    fs.remove_tree(cache_of(workdir))


def _git(paths: Paths, *, difftool: bool) -> None:
    """Show the difference as git does. Raises `diff/git`."""
    old, new = paths
    verb = "difftool" if difftool else "diff"
    argv = ["git", verb, "--no-index", "--", old.name, new.name]
    # 1 says that there are differences, which is what we are here for.
    if run.interactive(argv, cwd=old.parent) > 1:
        fix = "configure a tool: `git config --global diff.tool NAME`" if difftool else ""
        raise CosaError("diff/git", f"`git {verb}` failed", fix=fix, exit_class=ExitClass.STEP)


def _contents(old: Side, new: Side) -> tuple[pkgdiff.Content, pkgdiff.Content]:
    found = [pkgdiff.content_of(side.folder) for side in (old, new)]
    if found[0] is None or found[1] is None:
        lacking = old.id if found[0] is None else new.id
        raise CosaError(
            "diff/no-packages", f"build {lacking} does not say which packages it has",
            why="neither commitmeta.json nor a generated lockfile is in its folder",
        )  # fmt: skip
    return found[0], found[1]


def _rpms(old: Side, new: Side) -> Texts:
    """As `rpm-ostree db diff` prints it."""
    before, after = _contents(old, new)
    rows: Any = pkgdiff.packages(before.packages, after.packages)
    lines = [f"from: {old.id} ({old.commit})", f"to:   {new.id} ({new.commit})"]
    for kind in (Kind.UPGRADED, Kind.DOWNGRADED, Kind.REMOVED, Kind.ADDED):
        found = [(name, parts) for name, number, parts in rows if number == kind]
        if found:
            lines.append(f"{kind.name.capitalize()}:")
        for name, parts in found:
            evrs = [parts[key][1] for key in ("PreviousPackage", "NewPackage") if key in parts]
            arch = "" if len(evrs) == 2 else f".{next(iter(parts.values()))[2]}"
            lines.append(f"  {name} {' -> '.join(evrs)}{arch}")
    return lines if rows else [*lines, "the same packages"]


def _rpms_json(old: Side, new: Side) -> Texts:
    before, after = _contents(old, new)
    found = {
        "pkgdiff": pkgdiff.packages(before.packages, after.packages),
        "advisories": pkgdiff.advisories(before.advisories, after.advisories) or [],
    }
    return [json.dumps(found, indent=4)]


def _source_control(old: Side, new: Side) -> Texts:
    lines = []
    for key in ("coreos-assembler.container-config-git", "coreos-assembler.container-image-git"):
        before, after = old.meta.get(key), new.meta.get(key)
        if not isinstance(before, dict) or not isinstance(after, dict):
            if before != after:
                lines += [f"from: {before or 'not known'}", f"to: {after or 'not known'}"]
        elif any(before.get(name) != after.get(name) for name in ("origin", "branch", "dirty")):
            lines += [f"from: {before}", f"to: {after}"]
        else:
            ends = [str(side.get("commit", ""))[:7] for side in (before, after)]
            origin = str(before.get("origin", ""))
            lines.append(f"{origin or key}: {ends[0]}..{ends[1]}")
            if "github.com" in origin:
                lines.append(f"    --> {origin.removesuffix('.git')}/compare/{'...'.join(ends)}")
    return lines or ["neither build says which sources it was made from"]


def _sizes(old: Side, new: Side) -> Texts:
    lines = []
    images = [side.meta.get("images", {}) for side in (old, new)]
    for name in sorted({*images[0], *images[1]}):
        sizes = [side.get(name, {}).get("size") for side in images]
        shown = [fs.mib(size) if isinstance(size, int) else "none" for size in sizes]
        change = ""
        if isinstance(sizes[0], int) and isinstance(sizes[1], int) and sizes[0]:
            change = f"  ({(sizes[1] - sizes[0]) / sizes[0]:+.1%})"
        lines.append(f"{name:<16} {shown[0]:>12} -> {shown[1]:>12}{change}")
    return lines


def _ostree_ls(old: Side, new: Side) -> Texts:
    trees.need_commit(old)
    trees.need_commit(new)
    argv = ["ostree", "diff", f"--repo={old.workdir.repo}", old.commit, new.commit]
    return run.run(argv).out.splitlines()


def _partitions(old: Side, new: Side) -> Paths:
    def table(path: Path) -> str:
        found = gpt.read(path)
        lines = [f"disk {found.disk}\n"]
        for part in found.partitions:
            where = f"{part.start:>14} {part.size:>14}"
            lines.append(f"{part.number:>2} {part.name:<14} {part.kind} {where}\n")
        return "".join(lines)

    def one(side: Side) -> Path:
        path, digest = side.image("metal")
        return side.kept("metal-part-table", digest, text_of(lambda: table(path)))

    return one(old), one(new)


def _iso_listing(old: Side, new: Side) -> Paths:
    def one(side: Side) -> Path:
        path, digest = side.image("live-iso")
        made = text_of(lambda: run.run(["bsdtar", "-t", "-v", "-f", path]).out)
        return side.kept("iso-ls", digest, made)

    return one(old), one(new)


def _trees(make: Callable[[Side], Path], old: Side, new: Side) -> Paths:
    return make(old), make(new)


def _texts(
    kind: str, make: Callable[[Side], Path], show: Callable[[Path], str], old: Side, new: Side
) -> Paths:
    """Texts about trees, kept like them."""

    def one(side: Side) -> Path:
        tree = make(side)
        key = tree.with_name(f".{tree.name}.key").read_text()
        return side.kept(kind, key, text_of(lambda: show(tree)))

    return one(old), one(new)


_INITRAMFS = partial(trees.packed_tree, image="live-initramfs")
_ROOTFS = partial(trees.packed_tree, image="live-rootfs")

DIFFERS = (
    Differ("rpms", "packages and their versions", _rpms),
    Differ("rpms-json", "the same and advisories, as JSON", _rpms_json),
    Differ("source-control", "commits of the definition and of the tool", _source_control),
    Differ("sizes", "sizes of the artefacts", _sizes),
    Differ("ostree-ls", "names of files in the commits", _ostree_ls),
    Differ("ostree", "content of the commits", partial(_trees, trees.ostree_tree)),
    Differ("initrd", "content of the initramfs", partial(_trees, trees.initrd_tree)),
    Differ("live-iso-ls", "names of files in the live ISO", _iso_listing),
    Differ("live-iso", "content of the live ISO", partial(_trees, trees.iso_tree)),
    Differ(
        "live-initrd-ls", "names of files in the live initramfs",
        partial(_texts, "live-initrd-ls", _INITRAMFS, listing),
    ),
    Differ("live-initrd", "content of the live initramfs", partial(_trees, _INITRAMFS)),
    Differ(
        "live-rootfs-img-ls", "names of files in live-rootfs",
        partial(_texts, "live-rootfs-img-ls", _ROOTFS, listing),
    ),
    Differ("live-rootfs-img", "content of live-rootfs", partial(_trees, _ROOTFS)),
    Differ(
        "live-sysroot-ls", "names of files in the root file system inside of live-rootfs",
        partial(_texts, "live-sysroot-ls", trees.sysroot_tree, listing),
    ),
    Differ(
        "live-sysroot", "content of the root file system inside of live-rootfs",
        partial(_trees, trees.sysroot_tree),
    ),
    Differ("metal-part-table", "partition tables of the metal disks", _partitions),
    Differ("metal", "content of the metal disks", partial(_trees, trees.metal_tree)),
    Differ(
        "metal-du", "how much each folder of the metal disks holds",
        partial(_texts, "metal-du", trees.metal_tree, usage),
    ),
    Differ(
        "metal-ls", "names of files on the metal disks",
        partial(_texts, "metal-ls", trees.metal_tree, listing),
    ),
)  # fmt: skip
