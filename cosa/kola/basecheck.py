"""Is a machine sound: no unit failed or restarting over and over.

Asked at once, without waiting for the boot to be over: a machine may be in
order and yet never get there (a test of network-online.target holds it up).
So it is asked again when the test is done. Units that the test itself made
with systemd-run are its own business.
"""

from __future__ import annotations

from collections.abc import Mapping

from cosa.core.errors import CosaError, ExitClass
from cosa.kola.machine import Machine
from cosa.tools.ssh import quote

_LOOK = """
systemctl list-units --all --state=failed,activating --plain --no-legend --no-pager |
while read -r unit load active rest; do
  case $active in
    failed)
      case $(systemctl show -P FragmentPath -- "$unit") in
        /run/systemd/transient/*) ;;
        *) echo "$unit failed" ;;
      esac ;;
    activating)
      n=$(systemctl show -P NRestarts -- "$unit")
      if [ "${n:-0}" -ge 2 ]; then echo "$unit restarting over and over"; fi ;;
  esac
done
"""


def troubled(machine: Machine, own: str = "") -> dict[str, str]:
    """Units in trouble, and what trouble; `own` is that of the test, which speaks for itself."""
    found = {}
    for line in machine.out(_LOOK).splitlines():
        unit, _, trouble = line.strip().partition(" ")
        if unit and unit != own:
            found[unit] = trouble
    return found


def check(
    machine: Machine, own: str = "", when: str = "", *, known: Mapping[str, str] | None = None
) -> None:
    """Raise `kola/unsound` (class TESTS) with the troubled units and their last log lines.

    Units in trouble before (`known`) do not count.
    """
    found = {unit: how for unit, how in troubled(machine, own).items() if unit not in (known or {})}
    if not found:
        return
    status = machine.ssh(
        f"sudo systemctl status --no-pager --lines=15 -- {quote(*found)}", check=False
    )
    units = ", ".join(f"{unit} ({trouble})" for unit, trouble in found.items())
    raise CosaError(
        "kola/unsound", f"{len(found)} unit(s) in trouble{f' {when}' if when else ''}: {units}",
        why=status.out[-6000:], fix="the tag skip-base-checks tolerates this",
        exit_class=ExitClass.TESTS,
    )  # fmt: skip
