"""Stages of the shared machine. Each is brought about by the first test that needs it."""

from __future__ import annotations

import pytest
from shared import booted, idents

from cosa.kola.machine import Machine

# Run by `cosa kola run-upgrade`, from another image than the one under test.
collect_ignore = ["upgrades"]
NEXT_FILE = "/usr/share/kola-second-commit"

# A second commit from the running one, without the network: the tree of the first with one file
# more. /sysroot is read-only outside of ostree's own work, so it is opened in a namespace.
# No option that changes owners or labels: ostree would then read every file of the first tree.
_SECOND = f"""
parent=$1
work=$(mktemp -d -p /var/tmp)
chmod 755 "$work"
mkdir -p "$work/usr/share"
echo second > "$work{NEXT_FILE}"
for path in / /usr /usr/share; do chcon --reference=$path "$work$path"; done
chcon --reference=/usr/share "$work{NEXT_FILE}"
unshare -m sh -eu -c '
  mount -o remount,rw /sysroot
  ostree commit --repo=/ostree/repo --branch=kola/second --parent="$1" \\
    --tree=ref="$1" --tree=dir="$2" --add-metadata-string=version=kola.second
' sh "$parent" "$work"
rm -r "$work"
ostree admin deploy kola/second
"""


@pytest.fixture
def first_commit(machine: Machine) -> str:
    """The commit the image came with."""
    return str(machine.once("first-commit", lambda: booted(machine).checksum))


@pytest.fixture
def updated(machine: Machine, first_commit: str) -> Machine:
    """The machine after its first reboot, which brought it to a second commit.

    Before it state was left behind.
    """

    def update() -> None:
        machine.once("uuids", lambda: idents(machine))
        machine.script(
            "echo kept | tee /etc/kola-kept > /var/lib/kola-kept; echo second > /etc/kola/once"
        )
        machine.script(f"set -- {first_commit}\n{_SECOND}", timeout=180)
        machine.reboot()
        machine.check()

    machine.once("update", update)
    return machine


@pytest.fixture
def rolled_back(updated: Machine) -> Machine:
    """The machine back on its first commit."""

    def roll_back() -> None:
        updated.script("ostree admin set-default 1")
        updated.reboot()
        updated.check()

    updated.once("rollback", roll_back)
    return updated
