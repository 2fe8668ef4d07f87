"""What a machine is to be, as data: two tests whose machines have equal specs may share one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from cosa.core import store
from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json
from cosa.tools.butane import Config
from cosa.tools.qemu import Firmware

GIB = 1 << 30
_UNITS = {"": GIB, "G": GIB, "M": 1 << 20, "T": 1 << 40}
_CHANNELS = ("virtio", "nvme", "scsi")


@dataclass(frozen=True)
class DiskSpec:
    """A disk: `size` in bytes (0: that of the image), and how the guest sees it."""

    size: int = 0
    channel: str = "virtio"
    serial: str = ""
    logical: int = 512
    physical: int = 512
    wwn: int = 0
    multipath: bool = False  # the guest sees it twice


@dataclass(frozen=True)
class MachineSpec:
    """A machine. `kargs` are appended to the kernel's command line."""

    image: Path
    ignition: Config | None = None
    firmware: Firmware = Firmware.BIOS
    memory: int = 1024  # MiB
    cpus: int = 1
    kargs: tuple[str, ...] = ()
    firstboot_kargs: str = ""  # on the first boot's command line only
    disks: tuple[DiskSpec, ...] = ()
    primary: DiskSpec = field(default_factory=DiskSpec)
    network: bool = False  # may the guest reach beyond itself
    nics: int = 0  # network cards beside the first one
    numa: bool = False  # two NUMA nodes
    mounts: tuple[tuple[str, str], ...] = ()  # (host folder, guest folder), read-only
    autologin: bool = False
    tolerate: frozenset[str] = frozenset()  # flags of judges that do not matter here

    def key(self) -> str:
        """Short digest, equal for machines that may stand for each other."""
        facts: dict[str, Json] = {
            "image": str(self.image),
            "ignition": self.ignition,
            "firmware": str(self.firmware),
            "memory": self.memory,
            "cpus": self.cpus,
            "kargs": self.kargs,
            "disks": tuple(repr(disk) for disk in (*self.disks, self.primary)),
            "network": self.network,
            "firstboot_kargs": self.firstboot_kargs,
            "nics": self.nics,
            "numa": self.numa,
            "mounts": tuple(":".join(mount) for mount in self.mounts),
            "autologin": self.autologin,
            "tolerate": tuple(sorted(self.tolerate)),
        }
        return store.step_id("machine", facts)[:12]


def parse_disk(text: str) -> DiskSpec:
    """`5G`, `5G:channel=nvme,4k,serial=x`; a primary disk may leave out the size: `:512e`.

    The form is upstream's (`-D`, additionalDisks). Raises `usage/disk`.
    """
    size_text, _, options = text.partition(":")
    size = _size(size_text, text) if size_text else 0
    values: dict[str, str] = {}
    logical, physical = 512, 512
    multipath = False
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if option == "4k":
            logical = physical = 4096
        elif option == "512e":
            physical = 4096
        elif option == "mpath":
            multipath = True
        elif equals and name in ("channel", "serial", "wwn"):
            values[name] = value
        else:
            raise _bad_disk(text, f"unknown option '{option}'")
    channel = values.get("channel", "virtio")
    if channel not in _CHANNELS:
        raise _bad_disk(text, f"channel '{channel}' is none of {', '.join(_CHANNELS)}")
    wwn = values.get("wwn", "0")
    if not wwn.isdecimal():
        raise _bad_disk(text, "wwn is a decimal number")
    if multipath:  # two paths to one disk are seen as such only on SCSI
        channel = "scsi"
    if int(wwn) and channel != "scsi":
        raise _bad_disk(text, "only a disk on channel scsi has a wwn")
    serial = values.get("serial", "")
    return DiskSpec(size, channel, serial, logical, physical, int(wwn), multipath)


def _size(text: str, whole: str) -> int:
    match = re.fullmatch(r"(\d+)([MGT]?)(?:i?B)?", text)
    if not match or not int(match[1]):
        raise _bad_disk(whole, f"'{text}' is no size")
    return int(match[1]) * _UNITS[match[2]]


def _bad_disk(text: str, why: str) -> CosaError:
    return CosaError(
        "usage/disk", f"'{text}' does not describe a disk", why=why,
        fix="write SIZE[:OPTION,...], for example 5G or 10G:channel=nvme,4k",
        exit_class=ExitClass.USAGE,
    )  # fmt: skip
