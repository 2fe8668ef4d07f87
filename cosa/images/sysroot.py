"""What is on the root and boot file systems: a sysroot as `ostree admin deploy` leaves it.

Laid out here rather than by ostree on a scratch folder, because then a disk is
one pass over the repository's objects into mke2fs, with nothing in between on
the builder's disk, and every byte follows from the commit. docs/adr/ tells why,
and that it has to follow ostree when ostree's own layout changes.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from cosa.core.errors import CosaError
from cosa.images.feed import Feed
from cosa.tools.ostree_objects import Meta, Xattrs
from cosa.tools.ostree_read import Content, Objects

_DIR, _FILE, _LINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK
_SELINUX = b"security.selinux"
# What is in the repository of a new sysroot; the options are upstream's: the real
# root keeps /sysroot read-only, boot entries are written without any boot loader's
# help, and their paths begin with /boot.
REPO_CONFIG = """\
[core]
repo_version=1
mode=bare

[sysroot]
readonly=true
bootloader=none
bls-append-except-default=grub_users=""
bootprefix=true
"""


@dataclass
class Tree:
    """A commit read into memory: folders and contents by path, and what is needed of it."""

    objects: Objects
    commit: str
    folders: dict[str, Meta] = field(default_factory=dict)
    files: dict[str, Content] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    metadata: set[tuple[str, str]] = field(default_factory=set)  # checksum, kind

    @classmethod
    def load(cls, repo: Path, commit: str) -> Tree:
        """Read everything but the contents."""
        tree = cls(Objects(repo), commit)
        tree.metadata.add((commit, "commit"))
        contents: dict[str, Content] = {}

        def walk(path: str, dirtree: str, dirmeta: str) -> None:
            tree.metadata |= {(dirtree, "dirtree"), (dirmeta, "dirmeta")}
            folder = tree.objects.folder(dirtree)
            tree.folders[path] = tree.objects.dirmeta(dirmeta)
            names = tree.children.setdefault(path, [])
            for name, csum in folder.files:
                names.append(name)
                content = contents.get(csum)
                if content is None:
                    content = contents[csum] = tree.objects.content(csum)
                tree.files[f"{path}/{name}"] = content
            for name, child, meta in folder.folders:
                names.append(name)
                walk(f"{path}/{name}", child, meta)
            names.sort()

        walk("", *tree.objects.commit_root(commit))
        return tree

    def below(self, path: str) -> Iterator[str]:
        """Every path under `path` (itself included), parents first, names sorted."""
        yield path
        for name in self.children.get(path, ()):
            child = f"{path}/{name}"
            if child in self.folders:
                yield from self.below(child)
            else:
                yield child

    def read(self, path: str) -> bytes:
        """A file's bytes, symlinks within the tree followed. Raises `image/tree` when absent."""
        for _ in range(8):
            content = self.files.get(path)
            if content is None:
                break
            if not content.is_link:
                return self.objects.read(content)
            path = _resolve(path, content.meta.target)
        raise CosaError("image/tree", f"the commit {self.commit[:12]} has no file {path}")

    def label(self, path: str) -> Xattrs:
        """SELinux label of a folder of the tree, as xattrs for files we add; () without one."""
        meta = self.folders.get(path)
        return tuple(x for x in meta.xattrs if x[0] == _SELINUX) if meta else ()


def _resolve(path: str, target: str) -> str:
    parts: list[str] = []
    for part in PurePosixPath(path).parent.joinpath(target).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != "/":
            parts.append(part)
    return "/" + "/".join(parts)


@dataclass(frozen=True)
class Kernel:
    """The kernel of a commit: version, its two files in the tree, ostree's boot checksum."""

    version: str
    vmlinuz: Content
    initramfs: Content
    checksum: str


def find_kernel(tree: Tree) -> Kernel:
    """The one kernel below usr/lib/modules. Raises `image/no-kernel`.

    The boot checksum is that of `ostree-sysroot-deploy.c`: sha256 over the
    kernel's bytes followed by the initramfs's.
    """
    found = re.compile(r"^/usr/lib/modules/([^/]+)/vmlinuz$")
    kernels = [m for m in (found.match(path) for path in tree.files) if m]
    if len(kernels) != 1:
        raise CosaError(
            "image/no-kernel",
            f"the commit {tree.commit[:12]} must have one kernel, it has {len(kernels)}",
            why="a kernel is usr/lib/modules/VERSION/vmlinuz with initramfs.img beside it",
        )
    version = kernels[0].group(1)
    paths = [f"/usr/lib/modules/{version}/{name}" for name in ("vmlinuz", "initramfs.img")]
    if paths[1] not in tree.files:
        raise CosaError("image/no-kernel", f"the kernel {version} has no initramfs.img beside it")
    digest = hashlib.sha256()
    for path in paths:
        digest.update(tree.read(path))
    return Kernel(version, tree.files[paths[0]], tree.files[paths[1]], digest.hexdigest())


@dataclass(frozen=True)
class Deployment:
    """What a disk is made of besides the tree: names and kernel arguments."""

    tree: Tree
    kernel: Kernel
    osname: str
    ref: str
    kargs: tuple[str, ...]
    epoch: int

    @property
    def folder(self) -> str:
        """The deployment's folder, relative to the sysroot."""
        return f"ostree/deploy/{self.osname}/deploy/{self.tree.commit}.0"

    @property
    def boot_folder(self) -> str:
        """Where kernel and initramfs are, relative to the boot partition."""
        return f"ostree/{self.osname}-{self.kernel.checksum}"

    def entry(self) -> str:
        """The boot loader entry, in ostree's words (`install_deployment_kernel`)."""
        kernel, tree = self.kernel, self.tree
        release = os_release(tree.read("/usr/lib/os-release").decode("utf-8", "replace"))
        title = release.get("PRETTY_NAME") or release.get("ID") or self.osname
        version = release.get("OSTREE_VERSION", "")
        if version and version not in title:
            title += f" {version}"
        target = f"ostree=/ostree/boot.1/{self.osname}/{kernel.checksum}/0"
        deployed = f"/{self.folder}/usr/lib/ostree-boot"
        return (
            f"title {title} (ostree:0)\n"
            "version 1\n"
            f"options {' '.join([*self.kargs, target])}\n"
            f"linux /boot/{self.boot_folder}/vmlinuz-{kernel.version}\n"
            f"initrd /boot/{self.boot_folder}/initramfs-{kernel.version}.img\n"
            f"aboot {deployed}/aboot.img\n"
            f"abootcfg {deployed}/aboot.cfg\n"
        )


def os_release(text: str) -> dict[str, str]:
    """os-release as a mapping; shell quoting of the simple kind removed."""
    out = {}
    for line in text.splitlines():
        key, sep, value = line.partition("=")
        if sep and not key.startswith("#"):
            out[key.strip()] = value.strip().strip("\"'")
    return out


# --- streams ------------------------------------------------------------------------------


def write_boot(tar: Feed, deployment: Deployment, extra: Mapping[str, bytes]) -> None:
    """The boot file system: kernel, initramfs, entries, and `extra` files by path."""
    tree = deployment.tree
    label = tree.label("/boot")
    folder = Meta(_DIR | 0o755, xattrs=label)
    plain = Meta(_FILE | 0o644, xattrs=label)
    link = Meta(_LINK | 0o777, xattrs=label)
    files = dict(extra)
    files["loader.1/entries/ostree-1.conf"] = deployment.entry().encode()
    places = {
        f"{deployment.boot_folder}/vmlinuz-{deployment.kernel.version}": deployment.kernel.vmlinuz,
        f"{deployment.boot_folder}/initramfs-{deployment.kernel.version}.img":
            deployment.kernel.initramfs,
    }  # fmt: skip
    tar.folder(".", folder)
    for path in _folders([*files, *places]):
        tar.folder(path, folder)
    tar.symlink("boot", ".", link)
    tar.symlink("loader", "loader.1", link)
    for path in sorted(files):
        tar.data(path, plain, files[path])
    for path, content in sorted(places.items()):
        with tree.objects.open(content) as source:
            tar.file(path, plain, content.size, source, 0)


def _folders(paths: Sequence[str]) -> list[str]:
    return sorted({str(p) for path in paths for p in PurePosixPath(path).parents if str(p) != "."})


def write_root(tar: Feed, deployment: Deployment, extra: Mapping[str, bytes]) -> None:
    """The root file system: repository, one deployment, an empty stateroot, `extra` files."""
    tree, osname = deployment.tree, deployment.osname
    usr, var = tree.label("/usr"), tree.label("/var") or tree.label("/usr")
    plain = Meta(_DIR | 0o755, xattrs=usr)
    private = replace(plain, mode=_DIR | 0o700)
    file = Meta(_FILE | 0o644, xattrs=usr)
    link = Meta(_LINK | 0o777, xattrs=usr)
    state = f"ostree/deploy/{osname}"
    boot = f"ostree/boot.1.1/{osname}/{deployment.kernel.checksum}"

    tar.folder(".", tree.folders[""])
    tar.folder("boot", replace(plain, xattrs=tree.label("/boot") or usr))
    folders = [
        "ostree", "ostree/deploy", state, f"{state}/deploy",
        "ostree/boot.1.1", f"ostree/boot.1.1/{osname}", boot,
    ]  # fmt: skip
    for path in folders:
        tar.folder(path, plain)
    tar.symlink("ostree/boot.1", "boot.1.1", link)
    tar.symlink(f"{boot}/0", f"../../../deploy/{osname}/deploy/{tree.commit}.0", link)
    backing = f"{state}/backing/{tree.commit}.0"
    for path in (f"{state}/backing", backing, f"{backing}/root-transient"):
        tar.folder(path, private)
    tar.folder(f"{backing}/root-transient/upper", plain)
    tar.folder(f"{backing}/root-transient/work", private)
    tar.folder(f"{state}/var", Meta(_DIR | 0o755, xattrs=var))
    tar.data(f"{state}/var/.ostree-selabeled", Meta(_FILE | 0o644, xattrs=var), b"")
    tar.data(f"{deployment.folder}.origin", file, f"[origin]\nrefspec={deployment.ref}\n".encode())
    for path in sorted(extra):
        tar.data(path, file, extra[path])
    _write_repo(tar, deployment, plain, file)
    _write_deployment(tar, deployment)


def _write_repo(tar: Feed, deployment: Deployment, plain: Meta, file: Meta) -> None:
    """The repository but for its content objects, which come with the deployment."""
    tree, repo = deployment.tree, "ostree/repo"
    refs = {f"refs/heads/{deployment.ref}": tree.commit, "refs/heads/ostree/1/1/0": tree.commit}
    if deployment.ref == tree.commit:
        refs.pop(f"refs/heads/{deployment.ref}")
    folders = ["extensions", "objects", "refs/mirrors", "refs/remotes", "state", "tmp/cache"]
    prefixes = {csum[:2] for csum, _ in tree.metadata} | {
        c.checksum[:2] for c in tree.files.values()
    }
    wanted = {
        *folders,
        *(f"objects/{prefix}" for prefix in prefixes),
        *_folders([*refs, *(f"{name}/x" for name in folders)]),
    }
    tar.folder(repo, plain)
    for path in sorted(wanted):
        tar.folder(f"{repo}/{path}", plain)
    tar.data(f"{repo}/config", file, REPO_CONFIG.encode())
    for path, commit in sorted(refs.items()):
        tar.data(f"{repo}/{path}", file, f"{commit}\n".encode())
    for csum, kind in sorted(tree.metadata):
        data = tree.objects.metadata(csum, kind)
        tar.data(f"{repo}/objects/{csum[:2]}/{csum[2:]}.{kind}", file, data)


def _write_deployment(tar: Feed, deployment: Deployment) -> None:
    """The checked out tree and, as hard links, the repository's content objects.

    Contents are written in the order of the tree, so that what lies together
    there lies together on the disk. Empty files and symlinks are separate
    inodes, as ostree makes them (the first to spare the link count).
    """
    tree = deployment.tree
    written: dict[str, str] = {}
    for path in tree.below(""):
        place = f"{deployment.folder}{path}"
        meta = tree.folders.get(path)
        if meta is not None:
            tar.folder(place, meta, 0)
            continue
        content = tree.files[path]
        stored = f"ostree/repo/objects/{content.checksum[:2]}/{content.checksum[2:]}.file"
        if content.checksum in written and content.size and not content.is_link:
            tar.hardlink(place, written[content.checksum], content.meta, 0)
            continue
        _write_content(tar, tree, place, content)
        if content.checksum in written:
            continue
        if content.size and not content.is_link:
            tar.hardlink(stored, place, content.meta, 0)
            written[content.checksum] = stored
        else:
            _write_content(tar, tree, stored, content)
            written[content.checksum] = stored
    _write_etc(tar, deployment)


def _write_etc(tar: Feed, deployment: Deployment) -> None:
    """The deployment's own /etc: a copy of /usr/etc, whose labels are those of /etc already."""
    tree = deployment.tree
    if "/usr/etc" not in tree.folders:
        raise CosaError("image/tree", f"the commit {tree.commit[:12]} has no /usr/etc")
    for path in tree.below("/usr/etc"):
        place = f"{deployment.folder}/etc{path.removeprefix('/usr/etc')}"
        meta = tree.folders.get(path)
        if meta is not None:
            tar.folder(place, meta)
        else:
            _write_content(tar, tree, place, tree.files[path])


def _write_content(tar: Feed, tree: Tree, place: str, content: Content) -> None:
    if content.is_link:
        tar.symlink(place, content.meta.target, content.meta, 0)
        return
    with tree.objects.open(content) as source:
        tar.file(place, content.meta, content.size, source, 0)


def root_size(tree: Tree) -> int:
    """Bytes the content takes on a file system of 4 KiB blocks: blocks and inodes.

    Each content counts once (hard links), /usr/etc and symlinks twice.
    """
    unique = {c.checksum: c for c in tree.files.values()}.values()
    blocks = sum(-(-c.size // 4096) for c in unique) + len(tree.folders) + 2 * len(tree.metadata)
    blocks += sum(-(-c.size // 4096) for p, c in tree.files.items() if p.startswith("/usr/etc/"))
    inodes = len(unique) + len(tree.folders) + len(tree.metadata)
    inodes += sum(1 for c in unique if c.is_link or not c.size)
    inodes += sum(1 for p in tree.below("/usr/etc") if p)
    return blocks * 4096 + inodes * 512
