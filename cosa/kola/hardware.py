"""From what a machine is to be to what QEMU is given: disks, firmware, the whole guest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cosa.core import run
from cosa.kola.host import Host
from cosa.kola.spec import DiskSpec, MachineSpec
from cosa.tools import bootentry, qemu, qemu_nbd
from cosa.tools.qemu import Disk, Guest

PRIMARY = "primary.qcow2"
JOURNAL, IGNITION_JOURNAL = "journal.txt", "ignition-virtio-dump.txt"
_WWN = 0x5000C50015EA71A0
CONSOLE, CONFIG = "console.txt", "ignition.json"
RECORD = (CONSOLE, JOURNAL, CONFIG)  # of a boot; a restored machine's goes on from it


@dataclass(frozen=True)
class Places:
    """A machine's folders: what is kept of it, and what ends with it."""

    results: Path
    scratch: Path


def attached(path: Path, spec: DiskSpec, serial: str, *, boot: bool = True) -> Disk:
    """A disk as QEMU is given it."""
    # Two paths to a disk are seen to be that by its WWN, so it has one.
    wwn = spec.wwn or (_WWN + sum(serial.encode()) if spec.multipath else 0)
    disk = Disk(path, spec.serial or serial, spec.channel, spec.logical, spec.physical, wwn, boot)
    return replace(disk, socket=path.with_suffix(".socket")) if spec.multipath else disk


def serve(disks: tuple[Disk, ...], sockets: Path, stack: ExitStack) -> tuple[Disk, ...]:
    """Have the disks with two paths served on sockets in a folder, until the stack is closed."""
    served = []
    for disk in disks:
        if not disk.socket:
            served.append(disk)
            continue
        # The folder of the disks may have too long a name for a socket.
        socket = sockets / disk.socket.name
        stack.callback(run.end, qemu_nbd.serve(disk.file, socket))
        served.append(replace(disk, socket=socket))
    return tuple(served)


def disks(spec: MachineSpec, folder: Path) -> tuple[Disk, ...]:
    """The machine's disks, as files in `folder` that may not exist yet; its own comes last."""
    extra = (
        attached(folder / f"disk{number}.qcow2", disk, f"disk{number}", boot=False)
        for number, disk in enumerate(spec.disks, 1)
    )
    return (*extra, attached(folder / PRIMARY, spec.primary, "primary-disk"))


def make_disks(spec: MachineSpec, folder: Path) -> tuple[Disk, ...]:
    """Fresh disks: an overlay of the image, with the kernel arguments, and empty ones."""
    made = disks(spec, folder)
    qemu.overlay(spec.image, made[-1].file, spec.primary.size)
    for wanted, disk in zip(spec.disks, made, strict=False):
        qemu.blank(disk.file, wanted.size)
    if spec.kargs or spec.firstboot_kargs:
        bootentry.append_kargs(
            made[-1].file, spec.kargs, folder, firstboot=spec.firstboot_kargs
        )  # fmt: skip
    return made


def layer_disks(spec: MachineSpec, saved: Path, folder: Path) -> tuple[Disk, ...]:
    """Fresh overlays of a saved machine's disks, which are not written to.

    The saved disk's own note of where the image lies is not trusted: the same
    image may have moved since.
    """
    made = disks(spec, folder)
    for disk, frozen in zip(made, disks(spec, saved), strict=True):
        below = spec.image if disk is made[-1] else None
        qemu.overlay_of_overlay(frozen.file, below, disk.file)
    return made


def guest(
    spec: MachineSpec,
    host: Host,
    uuid: str,
    disks: tuple[Disk, ...],
    places: Places,
    *,
    pflash: tuple[Path, Path] | None,
) -> Guest:
    """The guest to start; its files are in `places`."""
    return Guest(
        uuid=uuid,
        disks=disks,
        console=places.results / CONSOLE,
        accelerator=host.accelerator,
        firmware=spec.firmware,
        pflash=pflash,
        memory=spec.memory,
        cpus=spec.cpus,
        ignition=places.results / CONFIG,
        ports={
            qemu.JOURNAL_PORT: places.results / JOURNAL,
            qemu.IGNITION_PORT: places.results / IGNITION_JOURNAL,
        },
        network=spec.network,
        nics=spec.nics,
        numa=spec.numa,
    )


def copy_present(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files with their modes, those that are there."""
    for name in names:
        if (source / name).exists():
            shutil.copy(source / name, target / name)
