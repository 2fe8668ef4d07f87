"""What every machine's Ignition config gets from us, under the user's own.

The user's config is merged last, so where both speak of the same thing the
user wins. Spec 3.0.0 has all this needs.
"""

from __future__ import annotations

from cosa.core.store import Json
from cosa.tools.butane import Config, merge
from cosa.tools.qemu import JOURNAL_PORT

_JOURNAL_UNIT = "mantle-virtio-journal-stream.service"
_DEVICE = f"dev-virtio\\x2dports-{JOURNAL_PORT}.device"
# A port needs no network, so the journal is there even of a machine nobody can log in to.
_JOURNAL = f"""[Unit]
Description=Send the journal to the host
After={_DEVICE}
Wants={_DEVICE}
IgnoreOnIsolate=true

[Service]
StandardOutput=file:/dev/virtio-ports/{JOURNAL_PORT}
ExecStart=/usr/bin/journalctl -q -b -f --no-tail --lines=all --output=short-monotonic

[Install]
WantedBy=basic.target
"""
_AUTOLOGIN = """[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin core --noclear %I $TERM
"""

# What a machine restored from a saved one is told first: what time it is, and, on standard
# input, something no other machine knows.
REFRESH = "sudo sh -c 'date -s @{now:.3f} > /dev/null; cat > /dev/urandom'"
# Journal and D-Bus know the machine by its id: the journal goes on under the new one.
RENEW = """
umount -q /etc/machine-id || true
tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
rm -f /etc/ssh/ssh_host_*
systemctl restart systemd-journald.service sshd-keygen.service
systemctl restart --no-block mantle-virtio-journal-stream.service
"""


def base(key: str, *, autologin: bool = False) -> Config:
    """The key's owner may log in as `core`; the journal streams to the host."""
    units: list[Json] = [{"name": _JOURNAL_UNIT, "enabled": True, "contents": _JOURNAL}]
    if autologin:
        dropin: Json = {"name": "10-autologin.conf", "contents": _AUTOLOGIN}
        units.append({"name": "serial-getty@ttyS0.service", "dropins": [dropin]})
    return {
        "ignition": {"version": "3.0.0"},
        "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": [key]}]},
        "systemd": {"units": units},
    }


def whole(user: Config | None, key: str, *, autologin: bool = False) -> Config:
    """What a machine is really given."""
    ours = base(key, autologin=autologin)
    return merge(ours, user) if user else merge(ours)
