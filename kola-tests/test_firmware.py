"""Boots by UEFI and by Secure Boot. Each machine also tries what a machine can be given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cosa.kola.machine import Machine


@pytest.mark.kola(
    cold=True,
    firmware="uefi",
    kargs="kola.seen=yes",
    disks=("1G:channel=nvme,serial=spare",),
)
def test_uefi(boot: Callable[..., Machine]) -> None:
    """UEFI boots; kernel arguments and a second disk reach the guest."""
    guest = boot()
    assert guest.ssh("test -d /sys/firmware/efi/efivars", check=False).status == 0
    arguments = guest.out("cat /proc/cmdline").split()
    assert "kola.seen=yes" in arguments
    assert "ignition.platform.id=qemu" in arguments
    assert guest.out("lsblk -bdno SIZE /dev/disk/by-id/nvme-*spare | head -1") == str(2**30)


@pytest.mark.kola(cold=True, firmware="uefi-secure", tags=("secure-boot",))
def test_secure_boot(boot: Callable[..., Machine]) -> None:
    """Signed shim, GRUB and kernel pass firmware that enforces signatures."""
    guest = boot()
    variable = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    state = guest.out(f"sudo od -An -t u1 -j 4 /sys/firmware/efi/efivars/{variable}")
    assert state.split() == ["1"]
    assert "integrity" in guest.out("cat /sys/kernel/security/lockdown")
