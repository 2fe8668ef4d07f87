"""Kernel arguments of a disk image that is not running: edits its boot loader entries.

Neither mounts nor helper VMs: the GPT says where /boot is, qemu-img copies that
partition out of (and back into) any image format, debugfs edits its ext4.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass

_SECTOR = 512
_TABLE = 1 << 20  # the primary GPT lies within the first MiB
ENTRIES = "/loader/entries"
FIRSTBOOT = "/ignition.firstboot"  # sourced by GRUB while it is there


def append_kargs(image: Path, kargs: Sequence[str], scratch: Path, *, firstboot: str = "") -> None:
    """Append arguments to every boot loader entry in the partition `boot` of a qcow2 image.

    `firstboot` is for the first boot's command line only. Raises `bootentry/none` when
    the image has no such partition or entries.
    """
    offset, size = _partition(image, "boot", scratch)
    window = f"driver=raw,offset={offset},size={size},file.driver=qcow2,file.file.filename={image}"
    boot = scratch / "boot.raw"
    run.run(["qemu-img", "convert", "-O", "raw", "--image-opts", window, boot])
    names = [name for name in _list(boot, ENTRIES) if name.endswith(".conf")]
    if not names:
        raise _none(image, f"no {ENTRIES}/*.conf in the partition 'boot'")
    for name in names if kargs else ():
        _edit(boot, f"{ENTRIES}/{name}", kargs, scratch)
    if firstboot:
        _write(boot, FIRSTBOOT, firstboot_script(firstboot), scratch)
    run.run(
        ["qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", boot, window]
    )  # fmt: skip
    boot.unlink()


def with_kargs(entry: str, kargs: Sequence[str]) -> str:
    """The text of a boot loader entry with arguments appended to its `options`."""
    lines = entry.splitlines()
    for index, line in enumerate(lines):
        if line.split(maxsplit=1)[:1] == ["options"]:
            lines[index] = " ".join([line.rstrip(), *kargs])
            return "\n".join(lines) + "\n"
    return "\n".join([*lines, " ".join(["options", *kargs])]) + "\n"


def firstboot_script(kargs: str) -> str:
    """What GRUB is to source on the first boot, as Ignition's documents describe it."""
    quoted = re.sub(r'(["$\\])', r"\\\1", kargs)
    return f'set ignition_network_kcmdline="{quoted}"\n'


def _edit(boot: Path, path: str, kargs: Sequence[str], scratch: Path) -> None:
    text = run.run(["debugfs", "-R", f"cat {path}", boot]).out
    _write(boot, path, with_kargs(text, kargs), scratch)


def _write(boot: Path, path: str, text: str, scratch: Path) -> None:
    """Replace a file that is there, keeping its SELinux label."""
    local, label = scratch / "entry.conf", scratch / "entry.label"
    local.write_text(text)
    label.unlink(missing_ok=True)
    run.run(["debugfs", "-R", f"ea_get -f {label} {path} security.selinux", boot], check=False)
    commands = [f"rm {path}", f"write {local} {path}", f"sif {path} mode 0100644"]
    commands += [f"sif {path} uid 0", f"sif {path} gid 0"]
    if label.exists() and label.stat().st_size:
        commands.append(f"ea_set -f {label} {path} security.selinux")
    run.run(["debugfs", "-w", "-f", "-", boot], input="\n".join(commands).encode())
    if run.run(["debugfs", "-R", f"cat {path}", boot]).out != local.read_text():
        raise _none(boot, f"{path} could not be rewritten")


def _list(boot: Path, folder: str) -> list[str]:
    """Names in a folder; `ls -p` prints /inode/mode/uid/gid/name/size/."""
    lines = run.run(["debugfs", "-R", f"ls -p {folder}", boot]).out.splitlines()
    fields = [line.split("/") for line in lines if line.startswith("/")]
    return sorted(field[5] for field in fields if len(field) > 5 and field[5] not in (".", ".."))


def _partition(image: Path, name: str, scratch: Path) -> tuple[int, int]:
    """Offset and length in bytes of the GPT partition with this name."""
    head = scratch / "gpt.raw"
    window = f"driver=raw,offset=0,size={_TABLE},file.driver=qcow2,file.file.filename={image}"
    run.run(["qemu-img", "convert", "-O", "raw", "--image-opts", window, head])
    data = head.read_bytes()
    head.unlink()
    if data[_SECTOR : _SECTOR + 8] != b"EFI PART":
        raise _none(image, "there is no GPT")
    # UEFI 2.10, 5.3.2: entries' first LBA at byte 72, their number at 80, their size at 84.
    start, count, length = struct.unpack_from("<QII", data, _SECTOR + 72)
    for index in range(min(count, 256)):
        entry = data[start * _SECTOR + index * length :][:length]
        if len(entry) == length and entry[56:128].decode("utf-16le").rstrip("\0") == name:
            first, last = struct.unpack_from("<QQ", entry, 32)
            return first * _SECTOR, (last - first + 1) * _SECTOR
    raise _none(image, f"there is no partition '{name}'")


def _none(image: Path, why: str) -> CosaError:
    return CosaError(
        "bootentry/none", f"cannot change the kernel arguments of {image.name}", why=why,
        exit_class=ExitClass.STEP,
    )  # fmt: skip
