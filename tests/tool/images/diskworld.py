"""A small operating system in an OSTree repository, and what disks of it are read with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.images.disk import make_raw
from cosa.images.packs import Facts
from cosa.images.produce import Image, Order, produce
from cosa.model.imagespec import ImageSpec, PlatformSettings
from cosa.model.platforms import PLATFORMS, possible
from cosa.tools import gpt

OSNAME = "small"
EPOCH = 1_700_000_000
XATTRS = ("security.selinux", "security.capability")
KERNEL = "6.1.2-test"
CAPS = bytes.fromhex("0000000200200000" + "00" * 12)
SPEC = ImageSpec.model_validate({"size": 2, "extra-kargs": ["lsm=selinux", "a.b=c"]})

SETTINGS = {
    name: PlatformSettings(kernel_arguments=(f"for={name}",), grub_commands=(f"echo {name}",))
    for name in possible("x86_64")
}


@dataclass(frozen=True)
class Source:
    """A repository and its one commit."""

    repo: Path
    commit: str


def program(*argv: str | Path, text: str = "", check: bool = True, **env: str) -> str:
    """Run a program; what it printed, complaints included."""
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, check=False,
        input=text, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0 or not check, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def make_tree(root: Path) -> None:
    """An OS of some dozen files: everything a disk has to keep is there once."""
    modules = f"usr/lib/modules/{KERNEL}"
    folders = ["usr/etc/deep/er", "usr/bin", modules, "usr/lib/shim", "var", "sysroot", "boot",
               "usr/lib/grub/x86_64-efi-signed", "tmp", "proc", "usr/share/ü b/" + "long" * 40]  # fmt: skip
    for name in folders:
        (root / name).mkdir(parents=True)
    files = {
        f"{modules}/vmlinuz": b"kernel" * 5000,
        f"{modules}/initramfs.img": b"initramfs" * 9000,
        "usr/lib/os-release": b'ID=small\nPRETTY_NAME="Small OS 7"\nOSTREE_VERSION=7.1\n',
        "usr/lib/shim/shimx64.efi.signed": b"shim" * 30_000,
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": b"grub" * 90_000,
        "usr/bin/tool": b"#!" * 100_000,
        "usr/bin/twin": b"#!" * 100_000,
        "usr/bin/su": b"setuid",
        "usr/bin/ping": b"raw",
        "usr/bin/empty": b"",
        "usr/bin/also-empty": b"",
        "usr/etc/deep/er/conf": b"x=1\n",
        "usr/etc/twin": b"#!" * 100_000,
        "usr/etc/shadow": b"root:*\n",
        'usr/share/ü b/qu"ote': b"odd name",
        f"usr/share/ü b/{'long' * 40}/{'name' * 50}": b"long name",
        "usr/share/holes": bytes(3_000_000) + b"end",
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    (root / "usr/bin/su").chmod(0o4755)
    (root / "usr/etc/shadow").chmod(0o640)
    os.chown(root / "usr/etc/shadow", 0, 42)
    os.chown(root / "usr/share/holes", 70_000, 3)
    (root / "tmp").chmod(0o1777)
    (root / "usr/bin/link").symlink_to("../..//usr/bin/tool")
    (root / "usr/etc/link").symlink_to("x" * 120)
    (root / "ostree").symlink_to("sysroot/ostree")
    label(root)


def label(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        kind = "etc_t" if "etc" in path.parts else "usr_t"
        value = f"system_u:object_r:{kind}:s0\0".encode()
        os.setxattr(path, "security.selinux", value, follow_symlinks=False)
    os.setxattr(root / "usr/bin/ping", "security.capability", CAPS)


def build(source: Source, out: Path, *, spec: ImageSpec = SPEC) -> Path:
    """The unbranded disk."""
    make_raw(
        source.repo, source.commit, spec, out, osname=OSNAME, arch="x86_64", epoch=EPOCH,
        scratch=out.parent / "scratch",
    )  # fmt: skip
    return out


def images(raw: Path, out: Path, names: Sequence[str] = ()) -> dict[str, Image]:
    """Images of an unbranded disk, which is used up; of all platforms by default."""
    rows = [PLATFORMS[name] for name in names or possible("x86_64")]
    facts = Facts(OSNAME, "7.1", "x86_64", EPOCH, SPEC, 0)
    order = Order(rows, lambda row: out / f"{row.name}.{row.suffix}", facts, SETTINGS)
    return produce(raw, order, out / "scratch")


@dataclass(frozen=True)
class Inode:
    """What debugfs says of an inode."""

    number: int
    mode: int
    links: int
    flags: int


def boot_file(image: Path, path: str, sector: int = 512) -> str:
    """A text on the boot partition of a raw disk."""
    offset = gpt.read(image, sector).named("boot").start
    argv = ["debugfs", "-R", f"cat {path}", f"{image}?offset={offset}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def inodes(image: Path, offset: int, paths: list[str]) -> list[Inode]:
    """The inodes of paths (absolute on the file system)."""
    words = "\n".join('stat "{}"'.format(path.replace('"', '""')) for path in paths)
    told = program("debugfs", "-f", "-", f"{image}?offset={offset}", text=words)
    numbers = [
        [int(n) for n in re.findall(rf"\b{word}:\s+(\d+)", told)] for word in ("Inode", "Links")
    ]
    modes = [int(mode, 8) for mode in re.findall(r"Mode:\s+(\d+)", told)]
    flags = [int(flag, 16) for flag in re.findall(r"Flags: (0x[0-9a-f]+)", told)]
    assert [len(column) for column in (*numbers, modes, flags)] == [len(paths)] * 4, told
    return [Inode(*row) for row in zip(numbers[0], modes, numbers[1], flags, strict=True)]


def extract(image: Path, offset: int, out: Path) -> Path:
    """All of an ext4 as a folder with owners, modes and xattrs; hard links become copies."""
    out.mkdir()
    device = f"{image}?offset={offset}"
    program("debugfs", "-R", f'rdump / "{out}"', device)
    found = [out, *sorted(out.rglob("*"))]
    names = ["/" if path == out else f"/{path.relative_to(out)}" for path in found]
    for path, inode in zip(found, inodes(image, offset, names), strict=True):
        if not path.is_symlink():
            path.chmod(inode.mode)  # rdump forgets setuid and sticky bits
    values = Path(tempfile.mkdtemp(dir=out.parent))
    words = []
    for index, name in enumerate(names):
        doubled = name.replace('"', '""')
        words += [f'ea_get -f {values}/{index}.{key} "{doubled}" {key}' for key in XATTRS]
    program("debugfs", "-f", "-", device, text="\n".join(words))
    for file in values.iterdir():
        index, _, key = file.name.partition(".")
        if data := file.read_bytes():
            os.setxattr(found[int(index)], key, data, follow_symlinks=False)
    shutil.rmtree(values)
    return out
