"""Ignition did what its config says, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shared import SHARED, SMOKE

from cosa.core.errors import CosaError
from cosa.kola.machine import Machine


@SMOKE
@SHARED
def test_files(machine: Machine) -> None:
    """Files, folders and links with content, mode and owner."""
    shown = machine.out("sudo stat -c '%n %a %U %G' /etc/kola/inline /var/lib/kola /etc/hostname")
    assert shown.splitlines() == [
        "/etc/kola/inline 640 root root",
        "/var/lib/kola 750 merlin wizards",
        "/etc/hostname 644 root root",
    ]
    assert machine.out("sudo cat /etc/kola/inline") == "from Ignition"
    assert machine.out("cat /etc/kola/compressed") == "compressed"
    assert machine.out("readlink /etc/kola/link") == "/etc/kola/inline"
    assert machine.out("hostname") == "camelot"


@SMOKE
@SHARED
def test_users(machine: Machine) -> None:
    """Users and groups with their ids; a home only where one was asked for."""
    assert machine.out("id -u merlin") == "3000"
    assert machine.out("getent group wizards").split(":")[2] == "3100"
    assert "wizards" in machine.out("id -nG merlin").split()
    assert machine.out("sudo stat -c %U /var/home/merlin") == "merlin"
    assert int(machine.out("id -u daemonic")) < 1000
    assert machine.ssh("test -e /var/home/daemonic -o -e /home/daemonic", check=False).status == 1
    assert "sudo" in machine.out("id -nG core").split()


@SMOKE
@SHARED
def test_units(machine: Machine) -> None:
    """Units written, enabled, instantiated, masked, extended."""
    assert machine.out("systemctl is-enabled kola-once.service") == "enabled"
    assert machine.out("systemctl is-active kola-once.service kola-at@one.service") == (
        "active\nactive"
    )
    assert machine.out("cat /run/kola-at-one") == "one"
    masked = machine.ssh("systemctl is-enabled kola-masked.service", check=False)
    assert masked.out.strip() == "masked"
    assert "50-kola.conf" in machine.out("systemctl show -P DropInPaths sshd.service ssh.service")


@pytest.mark.kola(stage=1)
@SHARED
def test_once(updated: Machine) -> None:
    """At the second boot Ignition does nothing, and what it wrote stays as people changed it."""
    assert updated.out("cat /etc/kola/once") == "second"
    assert "ignition.firstboot" not in updated.out("cat /proc/cmdline")
    assert updated.ssh("test -e /boot/ignition.firstboot", check=False).status == 1
    ran = updated.out("sudo journalctl -b -q -o cat --identifier=ignition | head")
    assert "files" not in ran, ran
    assert updated.out("cat /var/lib/kola-unit") == "ran\nran"


@pytest.mark.kola(
    cold=True,
    checks=False,
    ignition={
        "ignition": {"version": "3.0.0"},
        "storage": {"files": [{"path": "/not-writable/x", "contents": {"source": "data:,x"}}]},
    },
)
def test_failure(boot: Callable[..., Machine]) -> None:
    """A config that cannot be applied fails the boot, and the console says why."""
    with pytest.raises(CosaError) as caught:
        boot()
    assert caught.value.code == "kola/ignition-failed"
    assert "not-writable" in caught.value.why
