"""Network cards of guests: those they boot with, and one plugged in later."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosa.tools.qemu import Qemu


def cards(further: int, *, outside: bool) -> list[str]:
    """QEMU's arguments for the first card, through which we log in, and for further ones.

    Addresses are those upstream's tests assert: 10.0.2.15, then 10.0.2.31 and so on.
    `outside`: the guest may reach beyond itself.
    """
    common = f"restrict={'off' if outside else 'on'},hostname=qemu0"
    forward = "hostfwd=tcp:127.0.0.1:0-:22"  # port 0: the kernel chooses a free one
    argv = ["-netdev", f"user,id=net0,{common},{forward}"]
    argv += ["-device", "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56"]
    for number in range(1, further + 1):
        argv += ["-netdev", f"user,id=net{number},{common},dhcpstart=10.0.2.{30 + number}"]
        mac = f"52:55:00:d1:56:{number - 1:02x}"
        argv += ["-device", f"virtio-net-pci,netdev=net{number},mac={mac}"]
    return argv


def plug(running: Qemu, name: str, mac: str, group: str) -> None:
    """Plug a card into a running guest; all in the multicast `group` ADDRESS:PORT meet."""
    running.ask("netdev_add", type="socket", id=name, mcast=group, localaddr="127.0.0.1")
    running.ask("device_add", driver="virtio-net-pci", id=f"{name}-card", netdev=name, mac=mac)
