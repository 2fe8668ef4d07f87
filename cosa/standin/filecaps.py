"""File capabilities: the kernel's binary form as the text RPM keeps.

Source: linux/capability.h (`struct vfs_cap_data`) and cap_from_text(3).
"""

from __future__ import annotations

import struct

from cosa.standin import tarstream

_NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
    "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
    "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
    "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
    "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
)  # fmt: skip
_REVISION_2, _REVISION_MASK, _EFFECTIVE = 0x02000000, 0xFF000000, 1


def text(raw: bytes) -> str:
    """`cap_net_raw=ep` and the like. Raises `standin/bad-archive` for other revisions."""
    if len(raw) != 20:
        raise tarstream.bad("a file capability that cannot be read")
    magic, permitted, inheritable, permitted2, inheritable2 = struct.unpack("<5I", raw)
    if magic & _REVISION_MASK != _REVISION_2:
        raise tarstream.bad("a file capability that cannot be read")
    may = permitted | permitted2 << 32
    inherit = inheritable | inheritable2 << 32
    effective = "e" if magic & _EFFECTIVE else ""
    groups: dict[str, list[str]] = {}
    for number, name in enumerate(_NAMES):
        bit = 1 << number
        flags = ("i" if inherit & bit else "") + ("p" if may & bit else "")
        if flags:
            groups.setdefault(effective + flags, []).append(f"cap_{name}")
    return " ".join(f"{','.join(names)}={flags}" for flags, names in groups.items())
