"""GRUB for BIOS, put into place without grub-install, which wants block devices.

How a BIOS starts GRUB (grub-core/boot/i386/pc/{boot,diskboot}.S of GRUB 2.12): the
firmware loads sector 0 (boot.img); that loads the first sector of core.img from
the address it holds; that in turn loads the rest by a list of blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass

MODULES = Path("/usr/lib/grub/i386-pc")
SECTOR = 512
# Offsets: boot.img's code ends where the disk signature begins; kernel_sector and the
# jump that a floppy check may take; in core.img the block list ends the first sector.
_CODE_SIZE = 440
_KERNEL_SECTOR = 0x5C
_DRIVE_CHECK = 0x66
_BLOCK_LIST = 0x200 - 12
_SEGMENT = 0x820  # where the rest is loaded: 0x8200 / 16

# What core.img needs to find, read and run the configuration. `linux` stays out: see
# cosa/images/bootloader.py.
CORE = (
    "biosdisk", "part_gpt", "ext2", "normal", "configfile", "test", "true", "regexp", "loadenv",
    "search", "search_label", "search_fs_uuid", "echo", "serial", "terminal", "minicmd", "reboot",
    "halt", "ls", "cat", "sleep", "keystatus",
)  # fmt: skip


def core_image(out: Path, *, prefix: str, modules: Path = MODULES) -> None:
    """Make core.img: GRUB with `CORE` inside, reading its configuration below `prefix`."""
    if not (modules / "boot.img").exists():
        raise CosaError(
            "env/missing-tool", f"GRUB for BIOS is not installed: {modules} is missing",
            fix="run through bin/cosa, which brings every tool, or see `cosa doctor`",
            exit_class=ExitClass.ENVIRONMENT,
        )  # fmt: skip
    run.run(
        ["grub-mkimage", "-O", "i386-pc", "-d", modules, "-p", prefix, "-o", out, *CORE]
    )  # fmt: skip


def install_bios(image: Path, core: Path, start: int, size: int, modules: Path = MODULES) -> None:
    """Put boot.img into sector 0 and core.img into the partition of `size` bytes at `start`."""
    data = bytearray(core.read_bytes())
    if len(data) > size:
        raise CosaError(
            "grub/too-big", f"GRUB for BIOS has {len(data)} bytes, its partition {size}",
            exit_class=ExitClass.STEP,
        )  # fmt: skip
    sector = start // SECTOR
    rest = -(-len(data) // SECTOR) - 1
    struct.pack_into("<QHH", data, _BLOCK_LIST, sector + 1, rest, _SEGMENT)
    boot = bytearray((modules / "boot.img").read_bytes()[:_CODE_SIZE])
    struct.pack_into("<Q", boot, _KERNEL_SECTOR, sector)
    # The check for a floppy's drive number is wrong on disks some firmwares number oddly.
    boot[_DRIVE_CHECK : _DRIVE_CHECK + 2] = b"\x90\x90"
    with image.open("r+b") as file:
        file.write(boot)
        file.seek(start)
        file.write(data)


def with_dependencies(names: Iterable[str], modules: Path = MODULES) -> list[str]:
    """Modules and everything they need, from GRUB's own moddep.lst, sorted."""
    needs = {}
    for line in (modules / "moddep.lst").read_text().splitlines():
        name, _, rest = line.partition(":")
        needs[name] = rest.split()
    todo, found = list(names), set[str]()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += needs.get(name, [])
    return sorted(found)


def loadable(names: Iterable[str], modules: Path = MODULES) -> dict[str, bytes]:
    """Module files to lie below the prefix: `names` and their needs, without what core.img has."""
    inside = set(with_dependencies(CORE, modules))
    wanted = [name for name in with_dependencies(names, modules) if name not in inside]
    return {f"{name}.mod": (modules / f"{name}.mod").read_bytes() for name in wanted}
