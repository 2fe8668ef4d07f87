"""The initramfs: dracut in the tree, its result kept under what went into it.

What goes in is known exactly only afterwards. So the cache has two levels
(docs/adr/compose-initramfs-cache.md): the first is keyed by everything that decides *which*
files dracut takes (its own packages with what they require, its configuration,
the kernel's modules, the arguments, and the names of all files it might look
for) and remembers the paths an image was made of; the second adds the content
of those paths. Another package's new version changes neither.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from cosa.compose import closure
from cosa.compose.digests import Digests
from cosa.compose.kernel import Kernel
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.tree import Tree
from cosa.core import events, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json, Store, step_id
from cosa.tools import sandbox
from cosa.tools.sandbox import Sandbox

_VERSION = 2
_EPOCH = 1
_TIMEOUT = 1800.0
_KEPT = 4  # images of earlier runs
_LISTS = 8  # remembered lists of paths for one key
# Whole folders dracut may take anything from.
_WHOLE = ("usr/lib/dracut", "usr/lib/dracut.conf.d", "etc/dracut.conf", "etc/dracut.conf.d",
          "usr/lib/ostree", "usr/lib/firmware")  # fmt: skip
# Folders in which dracut modules look for files by name; the rest of the tree it never asks for.
_LOOKED_AT = ("etc", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/libexec",
              "usr/share/dbus-1", "usr/share/polkit-1", "usr/share/zoneinfo")  # fmt: skip
_DRACUT = frozenset({"usr/bin/dracut", "bin/dracut", "usr/sbin/dracut"})
_NEVER = re.compile(
    r"usr/lib/(modules|python3[^/]*|firmware|locale|sysimage|dracut|tmpfiles\.d)/|etc/selinux/"
)
_NEVER_GENERIC = re.compile(_NEVER.pattern + r"|etc/systemd/(system|user)(/|$)")
_SONAME = re.compile(r"(\.so)(\.[0-9.]+)+$")


def names_digest(names: Iterable[str], *, hostonly: bool) -> str:
    """One value for the names dracut could look for; a library's full version does not count.

    The administrator's units (and with them what is enabled) matter to a
    host-only image alone.
    """
    digest = hashlib.sha256()
    never = _NEVER if hostonly else _NEVER_GENERIC
    for name in sorted({_SONAME.sub(r"\1", name) for name in names if not never.match(name)}):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


@dataclass(frozen=True)
class View:
    """The tree as dracut sees it: with the files of `instead` in place of the tree's."""

    tree: Tree
    instead: Mapping[str, Path] = field(default_factory=dict)

    def digests(self) -> Digests:
        """Digests of what dracut sees."""
        return Digests(self.tree, self.instead)


def first_key(
    view: View, kernel: Kernel, args: Sequence[str], packages: Sequence[PackageIndex]
) -> dict[str, Json]:
    """What decides which files dracut takes."""
    tree, digests = view.tree, view.digests()
    makers = [
        package.name for package in packages
        if any(entry.path in _DRACUT for entry in package.entries)
    ]  # fmt: skip
    names = (
        name for folder in _LOOKED_AT if tree.path(folder).is_dir()
        and not tree.path(folder).is_symlink() for name, _ in tree.walk(folder)
    )  # fmt: skip
    needed: Mapping[str, Json] = dict(closure.digests(closure.Packages(packages).closure(makers)))
    return {
        "version": _VERSION,
        "kernel": kernel.version,
        "args": list(args),
        "packages": needed,
        "modules": digests.below(kernel.folder),
        "folders": {folder: digests.below(folder) for folder in _WHOLE},
        "names": names_digest(names, hostonly="--no-hostonly" not in args),
    }


class Cache:
    """Images by what went into them."""

    def __init__(self, root: Path) -> None:
        self._store = Store(root / "steps")
        self._lists = root / "initramfs-contents"

    def find(self, view: View, key: Mapping[str, Json]) -> Path | None:
        """An image made from exactly this, if there is one."""
        for paths in self._remembered(key):
            found = self._store.find("initramfs", _second_key(view, key, paths))
            if found:
                return found / "initramfs.img"
        return None

    def keep(self, view: View, key: Mapping[str, Json], image: Path) -> Path:
        """Store an image made of what `view` shows; the stored file."""
        packed = list(contents(image))
        lost = next((path for path in packed if path.startswith("tmp/dracut.")), None)
        if lost:
            events.warn(f"a dracut module puts a file under a random name: /{lost}")
        paths = sorted(path for path in packed if view.tree.exists(path))
        inputs = _second_key(view, key, paths)
        with self._store.produce("initramfs", inputs) as out:
            os.link(image, out / "initramfs.img")
        lists = [paths, *(old for old in self._remembered(key) if old != paths)][:_LISTS]
        self._lists.mkdir(parents=True, exist_ok=True)
        fs.atomic_write(self._file(key), json.dumps(lists))
        self._store.trim("initramfs", _KEPT)
        found = self._store.find("initramfs", inputs)
        return (found / "initramfs.img") if found else image

    def _remembered(self, key: Mapping[str, Json]) -> list[list[str]]:
        try:
            lists: list[list[str]] = json.loads(self._file(key).read_text())
        except (FileNotFoundError, ValueError):
            return []
        return lists

    def _file(self, key: Mapping[str, Json]) -> Path:
        return self._lists / f"{step_id('initramfs-contents', key)}.json"


def _second_key(view: View, key: Mapping[str, Json], paths: Sequence[str]) -> dict[str, Json]:
    digests = view.digests()
    return {**key, "files": {path: digests.of(path) for path in paths}}


def build(view: View, kernel: Kernel, args: Sequence[str], out: Path) -> Path:
    """Run dracut in the read-only tree; the finished image, in the folder `out`.

    Its times are not the build's, or a kept image would differ from one made anew.

    Raises `initramfs/failed`.
    """
    out.mkdir()
    env = sandbox.script_env(_EPOCH) | {"DRACUT_NO_MKNOD": "1"}
    tree = view.tree
    box = Sandbox(
        root=tree.root, layers=None, env=env, binds={"/run/cosa/out": out},
        ro_binds={f"/{rel}": place for rel, place in view.instead.items()},
    )  # fmt: skip
    command = ["/usr/bin/dracut"]
    if "--reproducible" in (tree.read("usr/bin/dracut") or ""):
        command.append("--reproducible")
    command += ["--force", "--add", "ostree", "--tmpdir=/tmp", *args, "--kver", kernel.version,
                "/run/cosa/out/initramfs.img"]  # fmt: skip
    result = box.run(command, timeout=_TIMEOUT)
    image = out / "initramfs.img"
    if result.status != 0 or not image.is_file():
        raise CosaError(
            "initramfs/failed",
            f"dracut failed (exit status {result.status})",
            why=sandbox.output(result) or "it printed nothing",
            fix="look at the dracut modules and dracut.conf.d of the overlays",
            exit_class=ExitClass.STEP,
        )
    with image.open("ab") as file:
        file.write(device_nodes(image.stat().st_size))
    image.chmod(0o644)
    return image


def device_nodes(size: int) -> bytes:
    """What is appended to an image of `size` bytes: padding and an archive of /dev's first nodes.

    dracut cannot make device nodes in a sandbox (DRACUT_NO_MKNOD); the kernel
    unpacks archives one after the other, each at a multiple of four.
    """
    nodes = (
        _member("dev", stat.S_IFDIR | 0o755) + _member("dev/random", stat.S_IFCHR | 0o666, (1, 8))
        + _member("dev/urandom", stat.S_IFCHR | 0o666, (1, 9)) + _member("TRAILER!!!", 0)
    )  # fmt: skip
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write(nodes)
    return bytes(4 + -size % 4) + packed.getvalue()


def _member(name: str, mode: int, device: tuple[int, int] = (0, 0)) -> bytes:
    """One `newc` cpio header; its nodes have no data."""
    raw = name.encode() + b"\0"
    values = (0, mode, 0, 0, 1, 0, 0, 0, 0, *device, len(raw), 0)
    head = b"070701" + "".join(f"{value:08X}" for value in values).encode()
    return head + raw + bytes(-(len(head) + len(raw)) % 4)


def contents(image: Path) -> Iterator[str]:
    """The paths in an image: every archive in it, plain, gzip or zstd packed.

    Raises `initramfs/format` for compression of another kind.
    """
    data = image.read_bytes()
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        if data[at : at + 6] in {b"070701", b"070702"}:
            names, at = _archive(data, at)
            yield from names
            continue
        if data[at : at + 4] == b"\x28\xb5\x2f\xfd":
            unpacker = zstandard.ZstdDecompressor().decompressobj()
            plain = unpacker.decompress(data[at:])
            rest = len(unpacker.unused_data)
        elif data[at : at + 2] == b"\x1f\x8b":
            import zlib

            inflater = zlib.decompressobj(31)
            plain = inflater.decompress(data[at:])
            rest = len(inflater.unused_data)
        else:
            raise CosaError(
                "initramfs/format",
                "the initramfs is compressed in a way that is not known here",
                why=f"it begins {data[at : at + 6].hex()}",
                fix="let dracut use zstd or gzip (dracut.conf: compress=zstd)",
            )
        at = len(data) - rest
        yield from _archive(plain, 0)[0]


def _archive(data: bytes, at: int) -> tuple[list[str], int]:
    """Names in a newc archive that begins at `at`, and where it ends."""
    names = []
    while data[at : at + 6] in {b"070701", b"070702"}:
        size = int(data[at + 54 : at + 62], 16)
        length = int(data[at + 94 : at + 102], 16)
        name = data[at + 110 : at + 110 + length - 1].decode("utf-8", "surrogateescape")
        at += 110 + length
        at += -at % 4
        at += size + -size % 4
        if name == "TRAILER!!!":
            break
        names.append(name.removeprefix("./"))
    return names, at
