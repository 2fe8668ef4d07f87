"""The disk: grown, with ids of its own, and remembering."""

from __future__ import annotations

import re

import pytest
from shared import SHARED, SMOKE, idents

from cosa.kola.machine import Machine

pytestmark = SHARED

# What every image is built with (facts of the disk layout); the first boot replaces them.
SENTINELS = {
    "disk": "00000000-0000-4000-a000-000000000001",
    "boot": "96d15588-3596-4b3c-adca-a2ff7279ea63",
    "root": "910678ff-f77e-4a7d-8d53-86f2ac47a823",
}


@SMOKE
def test_root_grown(machine: Machine) -> None:
    """The root filesystem fills the disk."""
    disk = int(machine.out("lsblk -bdno SIZE /dev/vda"))
    root = int(machine.out("df -B1 --output=size /sysroot | tail -1"))
    assert root > 0.85 * (disk - 513 * 2**20), (root, disk)


@SMOKE
def test_uuids(machine: Machine) -> None:
    """No machine keeps the ids of the image."""
    found = idents(machine)
    assert [name for name, value in SENTINELS.items() if found[name] == value] == []
    assert all(re.fullmatch(r"[0-9a-f-]{36}", value) for value in found.values()), found


@SMOKE
def test_partitions(machine: Machine) -> None:
    """Numbers and labels are where everything expects them."""
    shown = machine.out("lsblk -nro PARTN,PARTLABEL /dev/vda").split("\n")
    assert [line for line in shown if line.strip()] == [
        "1 BIOS-BOOT", "2 EFI-SYSTEM", "3 boot", "4 root",
    ]  # fmt: skip


@pytest.mark.kola(stage=1)
def test_state_kept(updated: Machine) -> None:
    """/etc and /var survive a reboot, and so do the disk's ids."""
    assert updated.out("cat /etc/kola-kept /var/lib/kola-kept") == "kept\nkept"
    assert idents(updated) == updated.once("uuids", lambda: None)
