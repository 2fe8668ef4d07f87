"""Root may do much, but not destroy the system."""

from __future__ import annotations

import pytest
from shared import SHARED

from cosa.kola.machine import Machine

_TRY = """
before=$(find /usr/bin /usr/lib/systemd -xdev | wc -l)
if rm -rf /usr/bin /usr/lib/systemd > /tmp/rm-said 2>&1; then echo "rm succeeded"; exit 1; fi
grep -q 'Read-only file system' /tmp/rm-said
if rm -rf --one-file-system --no-preserve-root /usr > /tmp/rm-said 2>&1; then exit 1; fi
test "$(find /usr/bin /usr/lib/systemd -xdev | wc -l)" = "$before"
"""


@pytest.mark.kola(stage=4)
@SHARED
def test_usr_survives_rm(machine: Machine) -> None:
    """`rm -rf` on /usr by root changes nothing, and the machine starts again."""
    machine.script(_TRY, timeout=180)
    machine.reboot()
    machine.check()
