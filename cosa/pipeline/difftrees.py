"""What is inside of commits, ISOs, initramfs images and disks, as folders to compare.

Nothing is mounted and nothing needs a virtual machine: ext4 is read by debugfs, FAT by
mtools, ISOs by bsdtar.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline.diffcache import Side
from cosa.tools import cpio, gpt, ostree
from cosa.tools.ostree_read import Objects

_SUM = re.compile(r"[0-9a-f]{64}")


def ostree_tree(side: Side) -> Path:
    """The commit's tree, checked out with the caller's ownership."""
    need_commit(side)

    def make(out: Path) -> None:
        repo = f"--repo={side.workdir.repo}"
        run.run(["ostree", "checkout", "--user-mode", repo, side.commit, out])

    return side.kept("ostree", side.commit, make)


def initrd_tree(side: Side) -> Path:
    """The initramfs of the commit, unpacked."""
    need_commit(side)

    def make(out: Path) -> None:
        image = out.with_name("initramfs.img")
        image.write_bytes(_initramfs(side))
        out.mkdir()
        cpio.extract(image, out)

    return side.kept("initrd", side.commit, make)


def need_commit(side: Side) -> None:
    """Bring the build's commit into the repository, out of its archive, unless it is there.

    Raises `diff/no-commit` when neither has it.
    """
    repo = side.workdir.repo
    if ostree.has_commit(repo, side.commit):
        return
    entry = side.meta.get("images", {}).get("ostree", {})
    archive = side.folder / str(entry.get("path", ""))
    if not archive.is_file() or archive.suffix != ".ociarchive":
        raise CosaError(
            "diff/no-commit", f"the commit of build {side.id} is not in {repo}",
            why="the repository is a cache, and the archive the commit could come from is not here",
            fix="fetch the build's ostree artefact; --rpms, --sizes and the image modes need none",
        )  # fmt: skip
    from cosa.container.ociread import Image
    from cosa.container.unencapsulate import ref_of, unencapsulate

    image = Image(archive, side.folder.name)
    found = unencapsulate(image, repo, ref_of(side.id))
    if found != side.commit:
        raise CosaError(
            "diff/no-commit", f"{archive.name} holds another commit than build {side.id}",
            why=f"{found} instead of {side.commit}", fix="run `cosa build-validate`",
            exit_class=ExitClass.UNTRUSTED,
        )  # fmt: skip


def _initramfs(side: Side) -> bytes:
    objects = Objects(side.workdir.repo)
    tree = objects.commit_root(side.commit)[0]
    for name in ("usr", "lib", "modules"):
        below = {row[0]: row[1] for row in objects.folder(tree).folders}
        if name not in below:
            raise _no_initramfs(side)
        tree = below[name]
    for _kernel, folder, _meta in objects.folder(tree).folders:
        for name, checksum in objects.folder(folder).files:
            if name == "initramfs.img":
                return objects.read(objects.content(checksum))
    raise _no_initramfs(side)


def _no_initramfs(side: Side) -> CosaError:
    return CosaError(
        "diff/no-initramfs", f"build {side.id} has no usr/lib/modules/VERSION/initramfs.img"
    )


def iso_tree(side: Side) -> Path:
    """The files of the live ISO."""
    path, digest = side.image("live-iso")

    def make(out: Path) -> None:
        out.mkdir()
        run.run(["bsdtar", "-x", "-p", "-f", path, "-C", out])

    return side.kept("iso", digest, make)


def packed_tree(side: Side, image: str) -> Path:
    """What is in live-initramfs or live-rootfs."""
    path, digest = side.image(image)

    def make(out: Path) -> None:
        out.mkdir()
        cpio.extract(path, out)

    return side.kept(image, digest, make)


def sysroot_tree(side: Side) -> Path:
    """What is in the root file system inside of live-rootfs, but for deployments and objects."""
    outer = packed_tree(side, "live-rootfs")
    digest = side.image("live-rootfs")[1]

    def make(out: Path) -> None:
        squashed, eroded = outer / "root.squashfs", outer / "root.erofs"
        hidden = ("ostree/deploy", "ostree/repo/objects")
        if squashed.is_file():
            run.run(
                ["unsquashfs", "-q", "-n", "-no-xattrs", "-d", out, "-excludes", squashed, *hidden]
            )
        elif eroded.is_file():
            run.run(["fsck.erofs", f"--extract={out}", "--no-preserve", eroded])
            run.run(["rm", "-rf", *(out / name for name in hidden)])
        else:
            raise CosaError(
                "diff/no-sysroot", f"live-rootfs of build {side.id} holds no root file system",
                why="neither root.squashfs nor root.erofs is in it",
            )  # fmt: skip

    return side.kept("live-sysroot", digest, make)


def metal_tree(side: Side) -> Path:
    """The files of the metal disk, as a machine sees them; repository objects are left out.

    Names that hold a checksum say CHECKSUM instead, so that like is compared with like.
    """
    path, digest = side.image("metal")

    def make(out: Path) -> None:
        parts = {part.name: part for part in gpt.read(path).partitions}
        out.mkdir()
        if "root" not in parts:
            raise CosaError("diff/no-root", f"{path.name} has no partition 'root'")
        _dump(path, parts["root"], out, {"/ostree/repo/objects", "/lost+found"})
        if "boot" in parts:
            (out / "boot").mkdir(exist_ok=True)
            _dump(path, parts["boot"], out / "boot", {"/lost+found"})
        if "EFI-SYSTEM" in parts:
            efi = out / "boot/efi"
            efi.mkdir(parents=True, exist_ok=True)
            where = f"{path}@@{parts['EFI-SYSTEM'].start}"
            run.run(["mcopy", "-s", "-n", "-i", where, "::*", efi], env={"MTOOLS_SKIP_CHECK": "1"})
        _rename_sums(out)

    return side.kept("metal", digest, make)


def _dump(disk: Path, part: gpt.Partition, out: Path, hidden: set[str]) -> None:
    """Copy an ext4's files, but for some paths."""
    image = f"{disk}?offset={part.start}"
    with disk.open("rb") as file:
        file.seek(part.start + 1080)
        if file.read(2) != b"\x53\xef":
            raise CosaError(
                "diff/file-system", f"the file system on '{part.name}' of {disk.name} is not ext4",
                why="only ext4 can be read without mounting it", exit_class=ExitClass.ENVIRONMENT,
            )  # fmt: skip
    commands: list[str] = []

    def plan(folder: str, target: Path) -> None:
        for name in _names(image, folder):
            path = f"{folder.rstrip('/')}/{name}"
            if path in hidden:
                continue
            if any(each.startswith(f"{path}/") for each in hidden):
                (target / name).mkdir()
                plan(path, target / name)
            else:
                commands.append(f'rdump "{path}" "{target}"')

    plan("/", out)
    run.run(["debugfs", "-f", "-", image], input="".join(f"{line}\n" for line in commands).encode())


def _names(image: str, folder: str) -> list[str]:
    # A line is /inode/mode/uid/gid/name/size/.
    lines = run.run(["debugfs", "-R", f'ls -p "{folder}"', image]).out.splitlines()
    names = [line.split("/")[5] for line in lines if line.count("/") >= 6]
    return [name for name in names if name not in (".", "..", "") and '"' not in name]


def _rename_sums(tree: Path) -> None:
    """Write CHECKSUM where a name or the target of a link holds one."""
    below = ("ostree/deploy/*/deploy/*", "ostree/deploy/*/backing/*", "boot/ostree/*",
             "ostree/boot.*/*/*", "ostree/boot.*/*/*/*")  # fmt: skip
    for pattern in below:
        for path in sorted(tree.glob(pattern)):
            plain = path.with_name(_SUM.sub("CHECKSUM", path.name))
            if path.is_symlink():
                target = _SUM.sub("CHECKSUM", os.readlink(path))
                path.unlink()
                path.symlink_to(target)
            if plain != path and not plain.exists():
                os.rename(path, plain)
