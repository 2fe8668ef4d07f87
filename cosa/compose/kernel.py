"""The kernel's place in an OSTree tree: usr/lib/modules/KVER/vmlinuz, and /boot emptied."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.compose import closure, kept
from cosa.compose.digests import Digests
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.scripts import ScriptRun
from cosa.compose.tree import Tree, absorb
from cosa.core import fs
from cosa.core.errors import CosaError
from cosa.core.store import Json, Store

_MODULES = "usr/lib/modules"
_BOOT = "usr/lib/ostree-boot"
_DEPMOD = frozenset({"usr/bin/kmod", "bin/kmod", "usr/sbin/depmod", "sbin/depmod"})
_DEPMOD_READS = ("etc/depmod.d", "usr/lib/depmod.d", "usr/local/lib/depmod.d")


@dataclass(frozen=True)
class Kernel:
    """The one kernel of a tree."""

    version: str

    @property
    def folder(self) -> str:
        """Where kernel, initramfs and modules are."""
        return f"{_MODULES}/{self.version}"


def settle(tree: Tree) -> Kernel | None:
    """Move /boot to usr/lib/ostree-boot and the kernel to its modules; None without a kernel.

    Files of /boot that carry the kernel's version (`config-KVER`) move to its
    modules folder, as Fedora's kernel packages have them from the start.
    Raises `compose/kernel` unless there is exactly one.
    """
    _move_boot(tree)
    found = _find(tree)
    if not found:
        return None
    if len(found) > 1:
        raise CosaError(
            "compose/kernel",
            f"the tree has {len(found)} kernels: {', '.join(sorted(found))}",
            why="a commit boots exactly one",
            fix="choose one kernel package in the treefile",
        )
    kernel = Kernel(*found)
    _gather(tree, kernel)
    _relative_hmac(tree, kernel)
    return kernel


def _move_boot(tree: Tree) -> None:
    boot = tree.path("boot")
    if boot.is_dir() and any(boot.iterdir()):
        target = tree.mkdir(_BOOT)
        for entry in sorted(boot.iterdir()):
            place = target / entry.name
            if place.is_dir() and not place.is_symlink():
                shutil.copytree(entry, place, symlinks=True, dirs_exist_ok=True)
                fs.remove_tree(entry)
            else:
                os.replace(entry, place)


def _find(tree: Tree) -> set[str]:
    modules, boot = tree.path(_MODULES), tree.path(_BOOT)
    versions = [path.name for path in modules.glob("*") if path.is_dir()]
    return {
        version for version in versions
        if (modules / version / "vmlinuz").is_file() or (boot / f"vmlinuz-{version}").is_file()
    }  # fmt: skip


def _gather(tree: Tree, kernel: Kernel) -> None:
    folder, boot = tree.path(kernel.folder), tree.path(_BOOT)
    if not boot.is_dir():
        return
    for entry in sorted(boot.iterdir()):
        for mark in (f"-{kernel.version}.img", f"-{kernel.version}"):
            if not entry.name.endswith(mark):
                continue
            name = entry.name.removesuffix(mark)
            if name in {"initramfs", "initrd.img", "initrd"} or os.path.lexists(folder / name):
                entry.unlink()
            else:
                entry.rename(folder / name)
            break
    if not any(boot.iterdir()):
        boot.rmdir()


def _relative_hmac(tree: Tree, kernel: Kernel) -> None:
    """FIPS's checksum file names the kernel by its path in /boot; the deployment has another."""
    rel = f"{kernel.folder}/.vmlinuz.hmac"
    text = tree.read(rel)
    if text and "/" in text:
        digest, _, _ = text.partition(" ")
        tree.write(rel, f"{digest}  vmlinuz\n")


def depmod(
    tree: Tree, kernel: Kernel, packages: Sequence[PackageIndex], store: Store, scratch: Path
) -> None:
    """Index the kernel's modules with the tree's own depmod, or take the index kept of before."""
    digests = Digests(tree)
    makers = [
        package.name for package in packages
        if any(entry.path in _DEPMOD for entry in package.entries)
    ]  # fmt: skip
    inputs: dict[str, Json] = {
        "kernel": kernel.version,
        "files": {path: digests.below(path) for path in (kernel.folder, *_DEPMOD_READS)},
        "packages": dict(closure.digests(closure.Packages(packages).closure(makers))),
    }
    upper = scratch / "depmod-kept"
    if not kept.restore(store, "depmod", inputs, upper):
        run = ScriptRun(tree, scratch, 0, "depmod")
        run.program(["/usr/sbin/depmod", "-a", kernel.version], "depmod")
        kept.keep(store, "depmod", inputs, run.layers.upper)
        upper = run.layers.upper
    absorb(upper, tree)


def boot_copies(tree: Tree, kernel: Kernel) -> None:
    """What `boot-location: new` wants besides: links in usr/lib/ostree-boot named by digest."""
    folder = tree.path(kernel.folder)
    target = tree.mkdir(_BOOT)
    image, initramfs = folder / "vmlinuz", folder / "initramfs.img"
    files = {image: "vmlinuz-{}", initramfs: "initramfs-{}.img"}
    present = [path for path in files if path.is_file()]
    digest = _joint_digest(present)
    for path in present:
        place = target / (files[path].format(kernel.version) + f"-{digest}")
        place.unlink(missing_ok=True)
        os.link(path, place)


def _joint_digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(fs.CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
