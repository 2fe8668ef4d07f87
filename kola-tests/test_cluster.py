"""Machines on one network."""

from __future__ import annotations

from collections.abc import Callable

from shared import SHARED

from cosa.kola.cluster import Node

pytestmark = SHARED


def test_meet(cluster: Callable[..., list[Node]]) -> None:
    """Two machines reach each other by name, and are two: ids, host keys, names differ."""
    one, two = cluster(2)
    facts = []
    for here, there in ((one, two), (two, one)):
        greeting = f"read -r -t 30 line < /dev/tcp/{there.name}/22; echo $line"
        assert here.machine.out(f"bash -c '{greeting}'").startswith("SSH-2.0-")
        assert here.machine.out("hostname") == here.name
        facts.append(
            here.machine.out("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub").split()[:3]
        )
    assert facts[0][0] != facts[1][0]
    assert facts[0][2] != facts[1][2]
