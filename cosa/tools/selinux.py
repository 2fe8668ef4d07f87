"""SELinux labels of a tree's paths, by its own policy, through libostree and libselinux."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from cosa.core.errors import CosaError, ExitClass
from cosa.tools import ostree

# Mount points: some policies say `<<none>>` for them, because a mount covers them.
_MOUNT_POINTS = frozenset({"dev", "proc", "run", "sys", "sysroot", "tmp"})


class Labels:
    """Labels by the policy in a tree. `etc` may be the tree's /etc or /usr/etc."""

    def __init__(self, root: Path, *, usr_etc_as_etc: bool = False) -> None:
        self._usr_etc_as_etc = usr_etc_as_etc
        self._policy: Any = _load(root)
        self._known: dict[tuple[str, int], str | None] = {}

    @property
    def checksum(self) -> str:
        """Identity of the policy."""
        return str(self._policy.get_csum() or "")

    def of(self, rel: str, mode: int) -> str | None:
        """The label of a path (relative to the root) with this mode; None if it has none."""
        path = "/" + rel
        if self._usr_etc_as_etc and (path == "/usr/etc" or path.startswith("/usr/etc/")):
            path = path.removeprefix("/usr")
        key = (path, stat.S_IFMT(mode))
        if key not in self._known:
            label = self._policy.get_label(path, mode, None)[1]
            if label is None and rel in _MOUNT_POINTS:
                label = self._policy.get_label("/", mode, None)[1]
            self._known[key] = label
        return self._known[key]


def _load(root: Path) -> Any:
    module = ostree.module()
    from gi.repository import Gio, GLib

    try:
        policy = module.SePolicy.new(Gio.File.new_for_path(str(root)), None)
    except GLib.Error as err:
        raise CosaError(
            "selinux/policy",
            "the tree's SELinux policy cannot be read",
            why=str(err.message),
            exit_class=ExitClass.STEP,
        ) from err
    if policy.get_name() is None:
        raise CosaError(
            "selinux/no-policy",
            "the tree has no SELinux policy to label it with",
            fix="add a policy package, or set `selinux: false` in the treefile",
        )
    return policy
