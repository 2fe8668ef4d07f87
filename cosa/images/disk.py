"""One unbranded raw disk from a commit: sparse, bootable, the same to the bit each time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO

from cosa.core import events, fs, parallel
from cosa.core.errors import CosaError
from cosa.images import bootloader, layout
from cosa.images.feed import Feed
from cosa.images.layout import MIB, Disk
from cosa.images.sysroot import Deployment, Tree, find_kernel, root_size, write_boot, write_root
from cosa.model.imagespec import ImageSpec
from cosa.tools import gpt, grub, mkfs

# What of a commit ends up on the ESP: source in the tree, name on the ESP.
_SHIM, _GRUB = (
    "/usr/lib/shim/shimx64.efi.signed",
    "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
)
_EFI_FILES = {"EFI/BOOT/BOOTX64.EFI": _SHIM, "EFI/BOOT/grubx64.efi": _GRUB}
_TABLES = 64 * MIB  # of file systems and of the disk, the ESP's programs, GRUB's modules
_EFI_CONFIGS = ("EFI/debian/grub.cfg", "EFI/BOOT/grub.cfg")


def make_raw(
    repo: Path,
    commit: str,
    spec: ImageSpec,
    out: Path,
    *,
    osname: str,
    arch: str,
    epoch: int,
    scratch: Path,
) -> None:
    """Make the disk `out` holding a deployment of `commit`.

    Its root has room for the content and some more; platforms stretch the disk
    to the size they want. `epoch` is the time of everything on it. Raises
    `image/*` for what the commit lacks, `mkfs/failed`, `env/disk-full`.
    """
    if arch != "x86_64":
        raise CosaError(
            "image/arch", f"disks for {arch} cannot be made yet",
            why="only the boot chain of x86_64 is known",
        )  # fmt: skip
    _check_rootfs(spec)
    with events.step("read the commit"):
        tree = Tree.load(repo, commit)
        kargs = ("rw", "$ignition_firstboot", *spec.extra_kargs)
        deployment = Deployment(tree, find_kernel(tree), osname, _ref(repo, commit), kargs, epoch)
    disk = layout.place(arch, _root_bytes(tree))
    # The file is sparse: what is not content is a hole.
    boot = deployment.kernel.vmlinuz.size + deployment.kernel.initramfs.size
    fs.need_space(out.parent, root_size(tree) + boot + _TABLES, "the disk image")
    with fs.private_dir(scratch, "disk") as work:
        image = work / "disk.raw"
        with image.open("wb") as file:
            file.truncate(disk.size)
        parallel.side_by_side(
            partial(_make_root, image, disk, deployment),
            partial(_make_boot, image, disk, deployment, work),
            partial(_make_esp, image, disk, tree, work, epoch),
        )
        gpt.write(
            image,
            layout.DISK_GUID,
            [
                gpt.Partition(p.slot.number, p.slot.label, p.slot.kind, p.start, p.size)
                for p in disk.partitions
            ],
        )
        fs.publish(image, out)


def _check_rootfs(spec: ImageSpec) -> None:
    if spec.rootfs != "ext4":
        raise CosaError(
            "image/rootfs",
            f"a root of {spec.rootfs} cannot be made without mounting it",
            why="mkfs.xfs takes its content from a prototype file, which knows no hard links: each "
            "file would be there twice, in the repository and in the deployment",
            fix="use `rootfs: ext4` in image.yaml",
        )


def _ref(repo: Path, commit: str) -> str:
    """The ref that points at the commit; the commit itself when none does."""
    heads = repo / "refs" / "heads"
    for path in sorted(heads.rglob("*")):
        name = path.relative_to(heads).as_posix()
        internal = name.startswith(("ostree/", "overlay/", "rpmostree/", "cosa/"))
        if path.is_file() and not internal and path.read_text().strip() == commit:
            return name
    return commit


def _root_bytes(tree: Tree) -> int:
    """Upstream's rule: the content and two fifths, and half a GiB to work with."""
    return int(root_size(tree) * 1.4) + 512 * MIB


def _make_root(image: Path, disk: Disk, deployment: Deployment) -> None:
    part = disk["root"]
    aleph = {
        "version": _version(deployment), "ref": deployment.ref,
        "ostree-commit": deployment.tree.commit,
    }  # fmt: skip
    extra = {".aleph-version.json": (json.dumps(aleph, indent=2) + "\n").encode()}

    def feed(pipe: IO[bytes]) -> list[mkfs.LateXattr]:
        tar = Feed(pipe, deployment.epoch)
        write_root(tar, deployment, extra)
        tar.close()
        return tar.late

    with events.step("root file system") as step:
        mkfs.ext4_from_tar(
            image, feed, offset=part.start, size=part.size, label="root",
            uuid=layout.ROOT_UUID, epoch=deployment.epoch,
        )  # fmt: skip
        # ostree forbids changes to the deployment's own folder this way (EXT4_IMMUTABLE_FL),
        # 0x80000 says that the folder has extents, as every one here.
        mkfs.debugfs(
            image, [f"sif /{deployment.folder} flags 0x80010"], epoch=deployment.epoch,
            offset=part.start,
        )  # fmt: skip
        step.size = part.size


def _version(deployment: Deployment) -> str:
    from cosa.images.sysroot import os_release

    text = deployment.tree.read("/usr/lib/os-release").decode("utf-8", "replace")
    release = os_release(text)
    return release.get("OSTREE_VERSION") or release.get("VERSION_ID", "")


def boot_files() -> Mapping[str, bytes]:
    """What GRUB finds on the boot partition, besides kernels and entries."""
    files = {
        "ignition.firstboot": b"",
        "grub2/grub.cfg": bootloader.GRUB_CONFIG.encode(),
        "grub2/console.cfg": bootloader.console_block([]).encode(),
    }
    # Loaded by a menu entry, not earlier: bootloader.py says why.
    files |= {f"grub2/i386-pc/{name}": data for name, data in grub.loadable(["linux"]).items()}
    return files


def _make_boot(image: Path, disk: Disk, deployment: Deployment, work: Path) -> None:
    part, bios = disk["boot"], disk["BIOS-BOOT"]

    def feed(pipe: IO[bytes]) -> list[mkfs.LateXattr]:
        tar = Feed(pipe, deployment.epoch)
        write_boot(tar, deployment, boot_files())
        tar.close()
        return tar.late

    with events.step("boot file system"):
        mkfs.ext4_from_tar(
            image, feed, offset=part.start, size=part.size, label="boot",
            uuid=layout.BOOT_UUID, epoch=deployment.epoch,
        )  # fmt: skip
        core = work / "core.img"
        grub.core_image(core, prefix="(,gpt3)/grub2")
        grub.install_bios(image, core, bios.start, bios.size)


def _make_esp(image: Path, disk: Disk, tree: Tree, work: Path, epoch: int) -> None:
    part = disk["EFI-SYSTEM"]
    with events.step("EFI system partition"):
        sources: list[tuple[str, Path]] = []
        for index, (name, path) in enumerate(_EFI_FILES.items()):
            local = work / f"efi.{index}"
            local.write_bytes(tree.read(path))
            sources.append((name, local))
        config = work / "esp.cfg"
        config.write_text(bootloader.ESP_CONFIG)
        sources += [(name, config) for name in _EFI_CONFIGS]
        esp = work / "esp.fat"
        mkfs.fat(
            esp, size=part.size, label="EFI-SYSTEM", volume_id=layout.ESP_VOLUME_ID,
            epoch=epoch, files=sources,
        )  # fmt: skip
        fs_copy(esp, image, part.start)


def fs_copy(source: Path, image: Path, offset: int) -> None:
    """Copy a file into an image at `offset`, leaving blocks of zeros as holes."""
    with source.open("rb") as src, image.open("r+b") as dst:
        while chunk := src.read(64 * 1024):
            if chunk.count(0) != len(chunk):
                dst.seek(offset)
                dst.write(chunk)
            offset += len(chunk)
