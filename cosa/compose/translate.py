"""Where the paths of a package go in an OSTree tree, and what cannot go there.

The rules are rpm-ostree's (rust/src/importer.rs), with two liberties taken while
scripts still have to run: `/etc`, `/boot` and `/var` keep their own names until
the tree is finalised (`finalize.py`, `kernel.py`), so that a script finds there
what its package shipped. What is left in /var becomes tmpfiles.d lines then.
"""

from __future__ import annotations

import enum
import stat
from dataclasses import dataclass

# Packages that lay out the root directory itself: what has no place in the tree is left out.
LAYOUT_PACKAGES = frozenset({"filesystem", "rootfiles"})

_MERGED = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32"})
_CARRIED = frozenset({"usr", "etc", "boot", "var", "run"})
# Folders every root has; the tree makes its own (rpmostree-postprocess.cxx).
_SKELETON = frozenset(
    {"dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "sysroot", "tmp"}
)
# State that is really part of the system: it moves out of /var, which is the machine's own.
_STATE = {
    "var/lib/alternatives": "usr/lib/alternatives",
    "var/lib/vagrant": "usr/lib/vagrant",
    "var/lib/selinux": "etc/selinux",
}


class Fate(enum.Enum):
    """What becomes of a packaged path."""

    KEEP = "keep"
    SKIP = "skip"
    TMPFILES = "tmpfiles"  # only a tmpfiles.d line: /run is made at boot
    REFUSE = "refuse"


@dataclass(frozen=True)
class Placement:
    """Where a packaged path goes; `link` is a further link (from, to) the move needs."""

    fate: Fate
    path: str = ""
    link: tuple[str, str] | None = None


def merged(path: str) -> str:
    """`lib/x` as `usr/lib/x`: the tree is a merged one, whatever the package thinks."""
    head, slash, rest = path.partition("/")
    return f"usr/{head}/{rest}" if slash and head in _MERGED else path


def place(path: str, mode: int, package: str) -> Placement:
    """Decide on one path of a package; `path` is absolute, `mode` has the type bits."""
    rel = merged(path.strip("/"))
    head, _, rest = rel.partition("/")
    is_dir = stat.S_ISDIR(mode)
    if not rel:
        return Placement(Fate.SKIP)
    if not rest:
        if stat.S_ISLNK(mode) and head in _MERGED:
            return Placement(Fate.KEEP, rel)
        known = head in _MERGED or head in _CARRIED or head in _SKELETON
        if known and not stat.S_ISREG(mode):
            return Placement(Fate.SKIP)
        return _nowhere(package)
    if head == "opt":
        top = rest.partition("/")[0]
        return Placement(Fate.KEEP, f"usr/lib/opt/{rest}", (f"opt/{top}", f"/usr/lib/opt/{top}"))
    if head == "run":
        return Placement(Fate.TMPFILES if is_dir or stat.S_ISLNK(mode) else Fate.SKIP, rel)
    for old, new in _STATE.items():
        if rel == old or rel.startswith(old + "/"):
            return Placement(Fate.KEEP, new + rel.removeprefix(old), (old, f"/{new}"))
    if head in _CARRIED:
        return Placement(Fate.KEEP, rel)
    if head in _SKELETON and is_dir:
        return Placement(Fate.SKIP)
    return _nowhere(package)


def _nowhere(package: str) -> Placement:
    return Placement(Fate.SKIP if package in LAYOUT_PACKAGES else Fate.REFUSE)


def committed(path: str) -> str:
    """The path under which the commit has it: `etc/x` is `usr/etc/x` there."""
    if path == "etc" or path.startswith("etc/"):
        return f"usr/{path}"
    if path.startswith("boot/"):
        return f"usr/lib/ostree-boot/{path.removeprefix('boot/')}"
    return path


def ref_name(name: str, evr: str, arch: str) -> str:
    """A package's branch in the cache, escaped as rpm-ostree does: `_` doubled, others `_XX`."""

    def escape(text: str) -> str:
        return "".join(
            char if char.isascii() and (char.isalnum() or char in ".-")
            else "__" if char == "_" else "".join(f"_{byte:02X}" for byte in char.encode())
            for char in text
        )  # fmt: skip

    return f"rpmostree/pkg/{escape(name)}/{escape(evr)}.{escape(arch)}"
