"""SELinux: permissive, labelled as the policy says."""

from __future__ import annotations

from shared import SHARED, SMOKE

from cosa.kola.machine import Machine

pytestmark = SHARED


@SMOKE
def test_permissive(machine: Machine) -> None:
    """The policy is loaded and permissive, services run in their domains."""
    assert machine.out("cat /sys/fs/selinux/enforce") == "0"
    domains = machine.out("ps -eo label,comm")
    assert ":sshd_t:" in domains
    assert machine.failed_units() == []


def test_labels(machine: Machine) -> None:
    """Every file has the label the policy gives it, Ignition's included."""
    found = machine.out("sudo restorecon -n -r -v -x /usr /etc", timeout=180)
    assert found == "", "\n".join(found.splitlines()[:30])
