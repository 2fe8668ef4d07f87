"""Machines that see each other: a network of their own, names, addresses.

The network is a multicast group on the host's loopback device (QEMU's `socket` back end),
so no privilege and no bridge is needed, and nothing of it leaves the host. The card is
plugged in when the machine is up: so restored machines can be joined, though the machine
they all stem from had none.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass

from cosa.core import events
from cosa.kola.machine import Machine
from cosa.tools import qemu_net

_SUBNET = ipaddress.ip_network("192.168.77.0/24")
_FIRST = 11
# The card appears a moment after it was plugged in.
_JOIN = """
mac={mac} address={address} name={name}
device=
for try in $(seq 100); do
  device=$(grep -lx "$mac" /sys/class/net/*/address | cut -d/ -f5 || true)
  [ -z "$device" ] || break
  sleep 0.2
done
[ -n "$device" ] || {{ echo "no card $mac appeared" >&2; exit 1; }}
nmcli --wait 90 connection add type ethernet con-name cluster ifname "$device" \\
  ipv4.method manual ipv4.addresses "$address" ipv6.method disabled > /dev/null
nmcli --wait 90 connection up cluster > /dev/null
echo "$name" > /etc/hostname
hostname "$name"
cat >> /etc/hosts <<'HOSTS'
{hosts}HOSTS
"""


@dataclass(frozen=True)
class Node:
    """A machine of a cluster: how the others call it, and where they find it."""

    machine: Machine
    name: str
    address: str


def form(machines: Sequence[Machine], prefix: str = "node") -> list[Node]:
    """Join machines into one network as `node1`, `node2` ...; each knows the others by name.

    Those restored from a saved machine get machine-ids and host keys of their own. Raises
    `qemu/refused` where a card cannot be plugged in, `kola/command` when a guest cannot
    use it.
    """
    group = _group()
    nodes = [
        Node(machine, f"{prefix}{number}", str(_SUBNET[_FIRST + number - 1]))
        for number, machine in enumerate(machines, 1)
    ]
    hosts = "".join(f"{node.address} {node.name}\n" for node in nodes)
    with events.step(f"cluster of {len(nodes)}"):
        for number, node in enumerate(nodes, 1):
            mac = f"52:56:00:d1:56:{number:02x}"
            qemu_net.plug(node.machine.monitor, "cluster", mac, group)
            if node.machine.restored:
                node.machine.renew_identity()
            address = f"{node.address}/{_SUBNET.prefixlen}"
            text = _JOIN.format(mac=mac, address=address, name=node.name, hosts=hosts)
            node.machine.script(text)
    return nodes


def _group() -> str:
    """A multicast group and port nobody else uses: administratively scoped (RFC 2365), random."""
    a, b, c, d, e = os.urandom(5)
    return f"239.{a}.{b}.{c or 1}:{20000 + d * 100 + e % 100}"
