"""Base checks of a machine: what systemd says of its units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosa.core.errors import CosaError, ExitClass

if TYPE_CHECKING:
    from cosa.kola.machine import Machine

SETTLE = 60.0  # seconds under KVM
_FAILED = "systemctl list-units --failed --plain --no-legend --no-pager"
# A unit that is started over and over never counts as failed.
_LOOPING = (
    "systemctl list-units --state=activating --plain --no-legend --no-pager"
    " | while read -r unit _; do"
    ' [ "$(systemctl show -P NRestarts "$unit")" -ge 2 ] 2>/dev/null && echo "$unit";'
    " done; true"
)


def failed_units(machine: Machine) -> list[str]:
    """The units that failed or keep restarting, once systemd is done (or has had its time)."""
    limit = int(machine.host.limit(SETTLE))
    settle = f"timeout {limit} systemctl is-system-running --wait > /dev/null"
    shown = machine.ssh(f"{settle}; {_FAILED}; echo; echo; {_LOOPING}", timeout=2 * SETTLE)
    failed, _, looping = shown.out.partition("\n\n")
    units = [line.split()[0] for line in failed.splitlines() if line.strip()]
    return units + [f"{unit} (restarting over and over)" for unit in looping.split()]


def trouble(machine: Machine) -> CosaError | None:
    """`kola/unsound` (class TESTS) if units failed or the judges found something.

    Says the failed units' last log lines. Raises when the guest does not answer.
    """
    units = failed_units(machine)
    found = [str(finding) for finding in machine.findings() if not finding.judge.warns]
    logs = ""
    if units:
        names = " ".join(unit.split()[0] for unit in units)
        status = machine.ssh(f"sudo systemctl status --no-pager --lines=15 {names}", check=False)
        logs = status.out[-6000:]
        found.insert(0, f"{len(units)} unit(s) failed: {', '.join(units)}")
    if not found:
        return None
    return CosaError("kola/unsound", "; ".join(found), why=logs, exit_class=ExitClass.TESTS)
