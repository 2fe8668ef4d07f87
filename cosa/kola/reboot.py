"""Waiting for a reboot that the guest brings about by itself, the hard or the soft way."""

from __future__ import annotations

from dataclasses import dataclass

from cosa.core import clock
from cosa.core.errors import CosaError, ExitClass
from cosa.kola.machine import Machine

_STATE = "cat /proc/sys/kernel/random/boot_id; systemctl show -P SoftRebootsCount"


@dataclass(frozen=True)
class Life:
    """Which life of a machine this is: the kernel's boot id, and soft reboots in that boot."""

    boot: str
    soft: int

    @classmethod
    def of(cls, machine: Machine) -> Life:
        """The present one."""
        boot, _, soft = machine.out(_STATE).partition("\n")
        return cls(boot.strip(), int(soft) if soft.strip().isdecimal() else 0)


def await_next(machine: Machine, before: Life, kernels: int, *, soft: bool, down: float) -> None:
    """Wait until the machine has gone down and commands can be run in its next life.

    `kernels` is `machine.console.boots` before anything was set off; `down`
    the seconds (as under KVM) it may take to go down. Raises `kola/reboot`
    (class TESTS) when it does not, or comes back as it was.
    """
    limit = machine.host.limit(down)
    until = clock.monotonic() + limit
    # A machine that crashed says no farewell: its next kernel on the console tells.
    while machine.link.connected and machine.console.boots <= kernels:
        machine.watch()
        if clock.monotonic() > until:
            raise _odd(machine, f"it did not go down within {limit:.0f} s")
        clock.sleep(0.25)
    machine.link.disconnect()
    if machine.console.boots <= kernels and not soft:
        machine.console.restart()
    machine.mark_reboot()
    machine.wait_ssh()
    after = Life.of(machine)
    if soft and (after.boot, after.soft) == (before.boot, before.soft):
        raise _odd(machine, "it dropped its connections but made no soft reboot")
    if soft and after.boot != before.boot:
        raise _odd(machine, "it was to reboot softly, but its kernel started anew")
    if not soft and after.boot == before.boot:
        raise _odd(machine, "it dropped its connections but did not reboot")


def _odd(machine: Machine, what: str) -> CosaError:
    return CosaError(
        "kola/reboot", f"the machine asked to reboot, but {what}",
        why=f"phase: {machine.console.phase}; last console line: {machine.console.last_line}",
        exit_class=ExitClass.TESTS,
    )  # fmt: skip
