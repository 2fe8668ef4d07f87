"""From the unbranded disk to a platform's: its id, kernel arguments and console.

Only the boot partition changes, and the end of the disk where the platform
wants another size. Nothing is mounted: debugfs edits the ext4 in the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosa.core import events, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.images import bootloader, layout, sectors
from cosa.model.imagespec import PlatformSettings
from cosa.model.platforms import Platform
from cosa.tools import gpt, mkfs

_ENTRY = "/loader.1/entries/ostree-1.conf"
_CONSOLE = "/grub2/console.cfg"
_TABLE = "/coreos/platforms.json"
_LABEL = "security.selinux"


type Settings = Mapping[str, PlatformSettings]  # by platform, for one architecture


def stamp(image: Path, row: Platform, settings: Settings, scratch: Path, size: int = 0) -> None:
    """Make the unbranded raw disk `image` that of a platform, in place.

    `size` is the disk's new size in bytes (0: it stays as large as its content
    needs). Raises `image/not-unbranded`, `mkfs/failed`, `env/disk-full`.
    """
    with fs.private_dir(scratch, "stamp") as work:
        _stamp_boot(image, work, row, settings)
        if size:
            resize(image, size)
        if row.sector != gpt.SECTOR:
            sectors.widen(image, work, row.sector)


def resize(image: Path, size: int) -> None:
    """Stretch the disk to `size` bytes, the backup table at its new end; never shrink it.

    The root partition keeps its size: it grows on the first boot, to whatever
    disk it finds itself on.
    """
    if size < image.stat().st_size:
        events.warn(f"the content needs more than the {size >> 30} GiB image.yaml gives the disk")
        return
    table = gpt.read(image)
    _erase_backup(image)
    with image.open("r+b") as file:
        file.truncate(size)
    gpt.write(image, table.disk, table.partitions)


def _erase_backup(image: Path) -> None:
    """A table in the middle of a disk would confuse tools that search for one."""
    with image.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(size - layout.MIB)
        file.truncate(size)


def _stamp_boot(image: Path, work: Path, row: Platform, table: Settings) -> None:
    settings = table.get(row.name) or table.get(row.ignition_id) or PlatformSettings()
    boot = gpt.read(image).named("boot")
    entry = _read(image, boot.start, _ENTRY)
    if "ignition.platform.id=" in entry:
        raise CosaError(
            "image/not-unbranded", f"{image} is the disk of some platform already",
            why="platforms are made from the unbranded disk", exit_class=ExitClass.STEP,
        )  # fmt: skip
    kargs = (f"ignition.platform.id={row.ignition_id}", *settings.kernel_arguments)
    files = {
        _ENTRY: with_kargs(entry, kargs),
        _CONSOLE: bootloader.replace_console(
            _read(image, boot.start, _CONSOLE), settings.grub_commands
        ),
    }
    commands = ["mkdir /coreos"]
    shown = {key: value.model_dump(mode="json") for key, value in sorted(table.items())}
    files[_TABLE] = json.dumps(shown, indent=2) + "\n"
    epoch = _epoch(image, boot.start)
    label = work / "label"
    mkfs.debugfs(
        image,
        [f'ea_get -f "{label}" {_ENTRY} {_LABEL}'],
        epoch=epoch,
        offset=boot.start,
        check=False,
    )
    labelled = label.exists() and label.stat().st_size > 0
    for index, (path, text) in enumerate(files.items()):
        local = work / f"file.{index}"
        local.write_text(text)
        if path != _TABLE:
            commands.append(f"rm {path}")
        commands += [f'write "{local}" {path}', f"sif {path} mode 0100644", *_plain(path, epoch)]
    commands += _plain("/coreos", epoch)
    if labelled:
        commands += [f'ea_set -f "{label}" {path} {_LABEL}' for path in (*files, "/coreos")]
    folders = {os.path.dirname(path) for path in files} | {"/"}
    commands += [line for path in sorted(folders) for line in _times(path, epoch)]
    mkfs.debugfs(image, commands, epoch=epoch, offset=boot.start)
    for path, text in files.items():
        if _read(image, boot.start, path) != text:
            raise CosaError(
                "mkfs/failed", f"{path} on the boot partition could not be rewritten",
                exit_class=ExitClass.STEP,
            )  # fmt: skip


def _plain(path: str, epoch: int) -> list[str]:
    return [f"sif {path} uid 0", f"sif {path} gid 0", f"sif {path} generation 0",
            *_times(path, epoch)]  # fmt: skip


def _times(path: str, epoch: int) -> list[str]:
    return [f"sif {path} {field} @{epoch}" for field in ("atime", "mtime", "ctime", "crtime")]


def _read(image: Path, offset: int, path: str) -> str:
    return mkfs.debugfs_cat(image, path, offset=offset)


def _epoch(image: Path, offset: int) -> int:
    """The disk's own time: when its file system was made (superblock, s_mkfs_time)."""
    with image.open("rb") as file:
        file.seek(offset + 1024 + 264)
        return int.from_bytes(file.read(4), "little")


def with_kargs(entry: str, kargs: Sequence[str]) -> str:
    """A boot entry with arguments appended to its options."""
    lines = [
        f"{line} {' '.join(kargs)}" if line.startswith("options ") else line
        for line in entry.splitlines()
    ]
    return "\n".join(lines) + "\n"
