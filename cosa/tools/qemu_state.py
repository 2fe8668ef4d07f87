"""A guest's whole state as files: saving one that runs, and starting from what was saved.

QEMU's migration to a file, in the form whose pages have fixed places (capability
`mapped-ram`, QEMU 9 and later): the file is as large as the memory in use, sparse, and
loads in a fraction of a second. Memory and disks must be of the same instant, so the
guest stands still while its disks get a new layer each and the memory is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cosa.core import clock
from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json
from cosa.tools.qemu import Guest, Qemu, command

_CAPABILITIES: list[Json] = [{"capability": "mapped-ram", "state": True}]
_UNMOVABLE = ("nvme",)  # QEMU 10 refuses to migrate these


def movable(guest: Guest) -> bool:
    """Can the state of such a guest be saved at all."""
    return all(disk.channel not in _UNMOVABLE and not disk.socket for disk in guest.disks)


def shape(guest: Guest) -> list[str]:
    """The guest's command line with a placeholder for each file and identity.

    Two guests of equal shape, started by the same QEMU, can take over each other's state.
    """
    disks = tuple(replace(disk, file=Path("/dev/null")) for disk in guest.disks)
    pflash = (Path("/code"), Path("/variables")) if guest.pflash else None
    return command(
        replace(
            guest, uuid="UUID", generation="", disks=disks, pflash=pflash, console=Path("/console"),
            ignition=Path("/config") if guest.ignition else None, incoming=False,
            ports={name: Path("/port") for name in guest.ports},
        ),
        0,
    )  # fmt: skip


def save(qemu: Qemu, memory: Path, layers: Sequence[Path], poll: Callable[[], None]) -> None:
    """Freeze the guest's disks and write its memory to the new file `memory`; it runs on after.

    From here on the guest writes to `layers`, one new qcow2 file for each of its disks in
    their order; the files it had before belong to the saved state and are not written to
    again. `poll` is called while we wait. Raises `qemu/save`, `qemu/refused`, `qemu/ended`;
    the guest may then be of no more use.
    """
    qemu.ask("stop")
    actions: list[Json] = [
        {
            "type": "blockdev-snapshot-sync",
            "data": {"device": f"disk{number}", "snapshot-file": str(path), "format": "qcow2"},
        }
        for number, path in enumerate(layers)
    ]
    qemu.ask("transaction", actions=actions)
    qemu.ask("migrate-set-capabilities", capabilities=_CAPABILITIES)
    qemu.ask("migrate", uri=f"file:{memory}")
    _finish(qemu, "qemu/save", "the state of the guest could not be saved", poll)
    qemu.ask("cont")


def load(qemu: Qemu, memory: Path, poll: Callable[[], None]) -> None:
    """Let a guest that was started with `incoming` go on from a saved state.

    Raises `qemu/load` when the state does not fit or is damaged, `qemu/ended` if QEMU gave up.
    """
    qemu.ask("migrate-set-capabilities", capabilities=_CAPABILITIES)
    qemu.ask("migrate-incoming", uri=f"file:{memory}")
    _finish(qemu, "qemu/load", "the guest could not be started from its saved state", poll)
    qemu.ask("cont")


def _finish(qemu: Qemu, code: str, what: str, poll: Callable[[], None]) -> None:
    while True:
        answer = qemu.ask("query-migrate")
        state = answer if isinstance(answer, dict) else {}
        status = state.get("status")
        if status == "completed":
            return
        if status in ("failed", "cancelled"):
            why = str(state.get("error-desc", status))
            raise CosaError(code, what, why=why, exit_class=ExitClass.STEP)
        poll()
        clock.sleep(0.05)
