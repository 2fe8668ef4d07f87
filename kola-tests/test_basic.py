"""The system as it comes up."""

from __future__ import annotations

from shared import SHARED, SMOKE

from cosa.kola.image import Build
from cosa.kola.machine import Machine

pytestmark = [SHARED, SMOKE]


def test_multi_user(machine: Machine) -> None:
    """multi-user.target is reached and no unit failed."""
    assert machine.failed_units() == []
    assert machine.out("systemctl is-active multi-user.target") == "active"
    assert machine.out("systemctl is-system-running") == "running"


def test_bios(machine: Machine) -> None:
    """The shared machine was booted by a BIOS, through GRUB."""
    assert machine.ssh("test -d /sys/firmware/efi", check=False).status == 1
    assert machine.out("cat /sys/class/dmi/id/bios_vendor") == "SeaBIOS"
    assert "GNU GRUB" in machine.console.text
    assert "ignition.platform.id=qemu" in machine.out("cat /proc/cmdline")


def test_release(machine: Machine, build: Build) -> None:
    """os-release names the build."""
    release = machine.out("cat /etc/os-release")
    assert build.meta["buildid"] in release, release


def test_machine_id(machine: Machine) -> None:
    """The machine has an id of its own, equal in journal and file."""
    ident = machine.out("cat /etc/machine-id")
    assert len(ident) == 32
    assert int(ident, 16)
    assert ident in machine.out("ls /var/log/journal /run/log/journal 2>/dev/null || true")


def test_read_only(machine: Machine) -> None:
    """Not even root can write to /usr and /sysroot, or add to the top folder."""
    for folder in ("/usr", "/usr/bin", "/sysroot", "/sysroot/ostree/repo"):
        result = machine.ssh(f"sudo touch {folder}/kola-was-here", check=False)
        assert result.status != 0
        assert "Read-only file system" in result.err
    assert machine.ssh("sudo touch /kola-was-here", check=False).status != 0


def test_writable(machine: Machine) -> None:
    """/etc and /var are there to be written to."""
    machine.script("for d in /etc /var /var/home /tmp /run; do touch $d/.kola; rm $d/.kola; done")


def test_password_login(machine: Machine) -> None:
    """sshd offers no password login."""
    settings = machine.out("sudo sshd -T")
    assert "passwordauthentication no" in settings.lower()
