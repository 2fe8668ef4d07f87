"""What is installed is what was locked."""

from __future__ import annotations

from shared import SHARED, SMOKE

from cosa.kola.image import Build
from cosa.kola.machine import Machine

pytestmark = [SHARED, SMOKE]


def test_lockfile(machine: Machine, build: Build) -> None:
    """`rpm -qa` equals the generated lockfile, no more and no less."""
    shown = machine.out(r"rpm -qa --qf '%{NAME} %{EVR}.%{ARCH}\n'")
    installed = {
        tuple(line.split(" ", 1))
        for line in shown.splitlines()
        if not line.startswith("gpg-pubkey ")
    }
    locked = {(name, entry["evra"]) for name, entry in build.lockfile["packages"].items()}
    assert installed == {(name, evra.removeprefix("0:")) for name, evra in locked}


def test_verify_rpm_itself(machine: Machine) -> None:
    """The database is whole: the package of systemd owns its files."""
    assert machine.out("rpm -qf /usr/lib/systemd/systemd --qf '%{NAME}'") == "systemd"
