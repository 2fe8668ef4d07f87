"""The system as a whole: who may write, log in and listen."""

from __future__ import annotations

import re

from shared import SHARED

from cosa.kola.machine import Machine

pytestmark = SHARED

# Who may listen, and where; names are those of processes as the kernel keeps them.
LISTENERS = {
    ("sshd", 22), ("chronyd", 323), ("systemd-resolve", 53), ("systemd-resolve", 5355),
    ("NetworkManager", 68), ("NetworkManager", 546), ("systemd", 22), ("systemd-network", 68),
}  # fmt: skip
STICKY = re.compile(r"/var/tmp|/var/(?:tmp|lib)/.*/tmp|/var/tmp/systemd-private-.*")


def test_filesystem(machine: Machine) -> None:
    """Nothing can be written by everybody but what is made for it, and that is sticky."""
    found = machine.out(
        "sudo find /usr /etc /var /boot -xdev -perm -0002 ! -type l -printf '%y %m %p\\n'",
        timeout=180,
    )
    strange = []
    for line in found.splitlines():
        kind, mode, path = line.split(" ", 2)
        if kind != "d" or len(mode) != 4 or not STICKY.fullmatch(path):
            strange.append(line)
    assert strange == []


def test_listeners(machine: Machine) -> None:
    """Only sshd, time and names listen to the network."""
    shown = machine.out("sudo ss -Hlntup")
    found = {
        (match[2], int(match[1]))
        for match in re.finditer(r':(\d+)\s+\S+\s+users:\(\("([^"]+)"', shown)
    }
    assert ("sshd", 22) in found or ("systemd", 22) in found, shown
    assert found <= LISTENERS, shown


def test_passwords(machine: Machine) -> None:
    """Nobody has a password, and those who are no people have no shell."""
    shadow = machine.out("sudo getent shadow")
    assert [x for x in shadow.splitlines() if x.split(":")[1][:1] not in ("!", "*")] == []
    shells = {}
    for line in machine.out("getent passwd").splitlines():
        name, _, uid, _, _, _, shell = line.split(":")
        if not shell.endswith(("nologin", "false", "sync")):
            shells[name] = int(uid)
    assert set(shells) == {"root", "core", "merlin"}


def test_permissions(machine: Machine) -> None:
    """The files that say who is who can be read but not written, the secret ones not even read."""
    shown = machine.out("stat -c '%n %U %a' /etc/passwd /etc/group /etc/shadow /etc/gshadow")
    modes = {name: (owner, int(mode, 8)) for name, owner, mode in map(str.split, shown.split("\n"))}
    assert {owner for owner, _ in modes.values()} == {"root"}
    assert modes["/etc/passwd"][1] == modes["/etc/group"][1] == 0o644
    assert not (modes["/etc/shadow"][1] | modes["/etc/gshadow"][1]) & 0o027


def test_ignition_log(machine: Machine) -> None:
    """Ignition noted in the journal that it was given a config by the user."""
    known = "57124006b5c94805b77ce473e92a8aeb"
    shown = machine.out(f"sudo journalctl -q -o json MESSAGE_ID={known}")
    assert '"IGNITION_CONFIG_TYPE":"user"' in shown, shown
