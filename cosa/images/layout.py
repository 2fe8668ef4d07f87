"""How the disks are divided: partition numbers, types, labels and fixed ids.

Upstream's values, so that its tools (coreos-installer, Ignition configs that
name partitions) find what they look for: see docs/images.md. The ids are
sentinels: equal on every image, replaced on a machine's first boot.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from cosa.core.errors import CosaError

MIB = 1 << 20
SECTOR = 512
ALIGN = MIB

DISK_GUID = UUID("00000000-0000-4000-a000-000000000001")
BOOT_UUID = UUID("96d15588-3596-4b3c-adca-a2ff7279ea63")
ROOT_UUID = UUID("910678ff-f77e-4a7d-8d53-86f2ac47a823")
ESP_VOLUME_ID = "7B7795E7"

# What sgdisk and systemd call these types; the root types are per architecture.
BIOS_BOOT = UUID("21686148-6449-6E6F-744E-656564454649")
ESP = UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
RESERVED = UUID("8DA63339-0007-60C0-C436-083AC8230908")
PREP = UUID("9E1A2D38-C612-4316-AA26-8B49521E5A8B")
XBOOTLDR = UUID("BC13C2FF-59E6-4262-A352-B275FD6F7172")

BOOT_NUMBER, ROOT_NUMBER = 3, 4
BOOT_SIZE = 384 * MIB


@dataclass(frozen=True)
class Slot:
    """A partition of the table; `size` in bytes, 0 for the root, which takes what it needs."""

    number: int
    label: str
    kind: UUID
    size: int


_BOOT = Slot(BOOT_NUMBER, "boot", XBOOTLDR, BOOT_SIZE)


def _root(kind: str) -> Slot:
    return Slot(ROOT_NUMBER, "root", UUID(kind), 0)


_EFI = Slot(2, "EFI-SYSTEM", ESP, 127 * MIB)

LAYOUTS: dict[str, tuple[Slot, ...]] = {
    "x86_64": (
        Slot(1, "BIOS-BOOT", BIOS_BOOT, MIB),
        _EFI,
        _BOOT,
        _root("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"),
    ),
    "aarch64": (
        Slot(1, "reserved", RESERVED, MIB),
        _EFI,
        _BOOT,
        _root("B921B045-1DF0-41C3-AF44-4C6F280D3FAE"),
    ),
    "riscv64": (
        Slot(1, "reserved", RESERVED, MIB),
        _EFI,
        _BOOT,
        _root("72EC70A6-CF74-40E6-BD49-4BDA08E8F224"),
    ),
    "ppc64le": (
        Slot(1, "PowerPC-PReP-boot", PREP, 4 * MIB),
        Slot(2, "reserved", RESERVED, MIB),
        _BOOT,
        _root("C31C45E6-3F39-412E-80FB-4809C4980599"),
    ),
    "s390x": (_BOOT, _root("5EEAD9A9-FE09-4A1E-A1D7-520D00531306")),
}


@dataclass(frozen=True)
class Placed:
    """A partition at its place on a disk; `start` and `size` in bytes."""

    slot: Slot
    start: int
    size: int


@dataclass(frozen=True)
class Disk:
    """A whole disk: total size in bytes and its partitions by label."""

    size: int
    partitions: tuple[Placed, ...]

    def __getitem__(self, label: str) -> Placed:
        return next(p for p in self.partitions if p.slot.label == label)


def slots(arch: str) -> tuple[Slot, ...]:
    """The partitions of an architecture. Raises `image/arch`."""
    try:
        return LAYOUTS[arch]
    except KeyError:
        raise CosaError(
            "image/arch", f"no disk layout is known for the architecture '{arch}'",
            why=f"known are {', '.join(LAYOUTS)}",
        ) from None  # fmt: skip


def place(arch: str, root_size: int) -> Disk:
    """Lay the partitions out one after the other from 1 MiB on, each on a MiB.

    The last MiB of the disk holds the backup table.
    """
    placed = []
    start = ALIGN
    for slot in slots(arch):
        size = slot.size or -(-root_size // ALIGN) * ALIGN
        placed.append(Placed(slot, start, size))
        start += size
    return Disk(start + ALIGN, tuple(placed))
