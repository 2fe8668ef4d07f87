"""/var belongs to the machine: what packages left there becomes tmpfiles.d lines."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from cosa.compose.tree import Tree
from cosa.core import fs

AUTOVAR = "usr/lib/tmpfiles.d/rpm-ostree-autovar.conf"
INTEGRATION = "usr/lib/tmpfiles.d/rpm-ostree-0-integration.conf"
OPT_USRLOCAL = "usr/lib/tmpfiles.d/rpm-ostree-0-integration-opt-usrlocal.conf"

_INTEGRATION_LINES = (
    "d /var/home 0755 root root -",
    "d /var/srv 0755 root root -",
    "d /var/roothome 0700 root root -",
    "d /var/mnt 0755 root root -",
    "d /run/media 0755 root root -",
    "L /var/lib/rpm - - - - ../../usr/share/rpm",
)
_LOCAL = ("bin", "etc", "games", "include", "lib", "man", "sbin", "share", "src")
# Lines of our own below say it, or systemd itself.
_KNOWN = frozenset({
    "var/home", "var/srv", "var/roothome", "var/mnt", "var/opt", "var/usrlocal", "var/tmp",
    "var/lib/rpm", "var/run", "var/lock",
})  # fmt: skip


def escape(path: str) -> str:
    """A path as tmpfiles.d wants it: specifiers doubled, blanks as escapes."""
    out = path.replace("\\", "\\x5c").replace("%", "%%")
    return "".join(
        f"\\x{ord(char):02x}" if char.isspace() or char in "\"'" else char for char in out
    )


def declared(tree: Tree) -> set[str]:
    """The paths existing tmpfiles.d files take care of, without leading `/`."""
    found = set()
    folder = tree.path("usr/lib/tmpfiles.d")
    for file in sorted(folder.glob("*.conf")) if folder.is_dir() else []:
        if file.name == os.path.basename(AUTOVAR) or not file.is_file():
            continue
        for line in file.read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0][0] in "dDvqQLfFC" and words[1].startswith("/"):
                found.add(words[1].strip("/"))
    return found


def var_lines(
    tree: Tree, users: Mapping[int, str], groups: Mapping[int, str]
) -> tuple[list[str], int]:
    """Lines that make /var's folders and links again, and how many files are left behind.

    `users` and `groups` map ids to names; an id without a name is written as number.
    """
    known = declared(tree) | _KNOWN
    lines = []
    files = 0
    for rel, entry in tree.walk("var"):
        info = entry.stat(follow_symlinks=False)
        if rel.startswith(("var/tmp/", "var/lib/rpm/")):
            continue
        if not stat.S_ISDIR(info.st_mode) and not stat.S_ISLNK(info.st_mode):
            files += 1
        if rel in known:
            continue
        if stat.S_ISLNK(info.st_mode):
            lines.append(f"L /{escape(rel)} - - - - {os.readlink(entry.path)}")
        elif stat.S_ISDIR(info.st_mode):
            user = users.get(info.st_uid, str(info.st_uid))
            group = groups.get(info.st_gid, str(info.st_gid))
            mode = stat.S_IMODE(info.st_mode)
            lines.append(f"d /{escape(rel)} {mode:04o} {user} {group} - -")
    return lines, files


def settle_var(
    tree: Tree, extra: Iterable[str], users: Mapping[int, str], groups: Mapping[int, str]
) -> int:
    """Write the autovar file and empty /var; the number of files that were dropped."""
    lines, files = var_lines(tree, users, groups)
    known = declared(tree)
    lines += [line for line in extra if line.split()[1].strip("/") not in known]
    if lines:
        text = "".join(f"{line}\n" for line in sorted(set(lines), key=lambda line: line.split()[1]))
        tree.mkdir("usr/lib/tmpfiles.d")
        tree.write(AUTOVAR, text, 0o644)
    for entry in sorted(tree.path("var").iterdir()):
        fs.remove_tree(entry)
    return files


def write_integration(tree: Tree, opt_usrlocal: str) -> None:
    """The lines every OSTree system needs for the root's links to lead somewhere."""
    tree.mkdir("usr/lib/tmpfiles.d")
    tree.write(INTEGRATION, "".join(f"{line}\n" for line in _INTEGRATION_LINES), 0o644)
    lines = []
    if opt_usrlocal == "var":
        lines = ["d /var/opt 0755 root root -", "d /var/usrlocal 0755 root root -"]
        lines += [f"d /var/usrlocal/{name} 0755 root root -" for name in _LOCAL]
    folder = tree.path("usr/lib/opt")
    if opt_usrlocal == "var" and folder.is_dir():
        lines += [f"L /opt/{escape(path.name)} - - - - /usr/lib/opt/{path.name}"
                  for path in sorted(folder.iterdir())]  # fmt: skip
    if lines:
        tree.write(OPT_USRLOCAL, "".join(f"{line}\n" for line in lines), 0o644)
