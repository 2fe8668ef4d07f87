"""From an installed tree to an OSTree one: /usr/etc, links in the root, accounts, empty /var."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable

from cosa.compose import passwd, tmpfiles
from cosa.compose.passwd import Accounts
from cosa.compose.tree import Tree
from cosa.core import events
from cosa.model.treefile import Treefile

_ROOT_LINKS = {
    "home": "var/home", "media": "run/media", "mnt": "var/mnt", "opt": "var/opt",
    "ostree": "sysroot/ostree", "root": "var/roothome", "srv": "var/srv",
}  # fmt: skip
_CARRIED = re.compile(r"usr|boot|var|etc|lib.*|s?bin")
# What programs leave behind that is of one run, one machine or one minute only.
_LEFTOVERS = (
    "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
    "etc/.pwd.lock", "etc/.updated", "var/.updated", "etc/machine-id", "etc/hostname",
    "etc/resolv.conf",
)  # fmt: skip


def tidy(tree: Tree, treefile: Treefile) -> None:
    """Remove what belongs to this run or to a machine: locks, backups, the machine's identity."""
    for rel in _LEFTOVERS:
        if rel in {"etc/hostname", "etc/resolv.conf"} and not _empty(tree, rel):
            continue
        tree.remove(rel)
    if treefile.machineid_compat:
        tree.write("etc/machine-id", "", 0o444)
    keys = tree.path("etc/ssh")
    for path in sorted(keys.glob("ssh_host_*_key*")) if keys.is_dir() else []:
        path.unlink()
    # An index of library inodes and times, of use to this run's ldconfig only.
    tree.remove("var/cache/ldconfig")


def _empty(tree: Tree, rel: str) -> bool:
    path = tree.path(rel)
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 0


def homes(tree: Tree) -> None:
    """Tell useradd and the SELinux policy where homes really are."""
    text = tree.read("etc/default/useradd")
    if text is not None:
        changed, count = re.subn(r"(?m)^HOME=.*$", "HOME=/var/home", text)
        tree.write("etc/default/useradd", changed if count else text + "HOME=/var/home\n")
    policies = tree.path("etc/selinux")
    for path in sorted(policies.glob("*/contexts/files/file_contexts.subs_dist")):
        rel = os.path.relpath(path, tree.root)
        tree.write(rel, equivalences(tree.read(rel) or ""))


def equivalences(text: str) -> str:
    """file_contexts.subs_dist with what an OSTree layout needs, and nothing that contradicts it."""
    wanted = {"/home": "/var/home", "/usr/etc": "/etc", "/usr/lib/opt": "/opt"}
    lines = [
        line for line in text.splitlines()
        # `/var/home /home` and `/home /var/home` together would go round in circles.
        if line.split()[:1] not in [["/var/home"], *([key] for key in wanted)]
    ]  # fmt: skip
    # One substitution is made per path, so what the policy says of a folder in /etc has to be
    # said of it in /usr/etc too; first and last, as libselinux's order of search has changed.
    nested = [f"/usr{line}" for line in lines if line.startswith("/etc/")]
    lines = [line for line in lines if not line.startswith("/usr/etc/")]
    lines += [f"{alias} {path}" for alias, path in wanted.items()]
    return "\n".join([*nested, *lines, *nested]) + "\n"


def accounts_of(tree: Tree) -> Accounts:
    """The tree's users and groups, wherever they are kept."""
    texts = {
        name: (tree.read(f"etc/{name}") or "") + (tree.read(f"usr/lib/{name}") or "")
        for name in ("passwd", "group")
    }
    return Accounts.parse(texts["passwd"], texts["group"])


def split_accounts(tree: Tree, keep: Iterable[str]) -> bool:
    """Move system accounts to /usr/lib for nss-altfiles; False where the tree has no such module.

    Without the module nobody would read /usr/lib/passwd, so the accounts stay.
    """
    if not has_altfiles(tree):
        return False
    for kind in ("passwd", "group"):
        text = tree.read(f"etc/{kind}")
        if text is None:
            continue
        parts = passwd.split(text, "passwd" if kind == "passwd" else "group", keep)
        older = tree.read(f"usr/lib/{kind}") or ""
        tree.write(f"etc/{kind}", parts.etc, 0o644)
        tree.write(f"usr/lib/{kind}", older + parts.lib, 0o644)
    text = tree.read("etc/nsswitch.conf")
    if text is not None and not tree.path("etc/nsswitch.conf").is_symlink():
        tree.write("etc/nsswitch.conf", altfiles(text))
    return True


def has_altfiles(tree: Tree) -> bool:
    """Whether libc can be told to read /usr/lib/passwd."""
    lib = tree.path("usr/lib")
    folders = [lib, tree.path("usr/lib64"), *lib.glob("*-linux-*")]
    return any((folder / "libnss_altfiles.so.2").exists() for folder in folders)


def altfiles(text: str) -> str:
    """nsswitch.conf with `altfiles` after `files` for users and groups."""

    def add(match: re.Match[str]) -> str:
        words = match[2].split()
        if "altfiles" in words or "files" not in words:
            return match[0]
        words.insert(words.index("files") + 1, "altfiles")
        return f"{match[1]}{' '.join(words)}"

    return re.sub(r"(?m)^((?:passwd|group|shadow):\s*)(.*)$", add, text)


def finish(tree: Tree, treefile: Treefile, run_lines: Iterable[str]) -> None:
    """The last changes: nothing of the tree runs after this."""
    accounts = accounts_of(tree)
    # Of two names for one number the first counts, as with getpwuid.
    users = {uid: name for name, (uid, _) in reversed(list(accounts.users.items()))}
    groups = {gid: name for name, gid in reversed(list(accounts.groups.items()))}
    _opt_and_local(tree, treefile)
    tmpfiles.write_integration(tree, treefile.opt_usrlocal)
    dropped = tmpfiles.settle_var(tree, run_lines, users, groups)
    if dropped:
        events.note(f"{dropped} files in /var were left out: a commit's /var is empty")
    if not split_accounts(tree, treefile.etc_group_members):
        events.note("no nss-altfiles in the tree: all accounts stay in /etc")
    _root(tree, treefile)
    tree.remove("usr/etc")
    os.rename(tree.path("etc"), tree.path("usr/etc"))
    base_db(tree)


def _opt_and_local(tree: Tree, treefile: Treefile) -> None:
    if treefile.opt_usrlocal == "var":
        tree.link("usr/local", "../var/usrlocal")
        return
    tree.mkdir("usr/local")
    if treefile.opt_usrlocal == "root":
        if tree.path("usr/lib/opt").is_dir():
            os.rename(tree.path("usr/lib/opt"), tree.path("usr/opt"))
        tree.mkdir("usr/opt")
        return
    tree.mkdir("usr/lib/opt")
    # systemd-escaped names of the folders that get an overlay for the machine's own files.
    for name in ("usr-lib-opt", "usr-local"):
        unit = f"ostree-state-overlay@{name}.service"
        tree.link(
            f"usr/lib/systemd/system/local-fs.target.requires/{unit}",
            "../ostree-state-overlay@.service",
        )


def _root(tree: Tree, treefile: Treefile) -> None:
    """The root folder: links into /var and /run, mount points, nothing else."""
    for path in sorted(tree.root.iterdir()):
        if not _CARRIED.fullmatch(path.name):
            tree.remove(path.name)
    for name in ("dev", "proc", "run", "sys", "sysroot"):
        tree.mkdir(name)
    links = dict(_ROOT_LINKS)
    if treefile.opt_usrlocal != "var":
        links["opt"] = "usr/opt" if treefile.opt_usrlocal == "root" else "usr/lib/opt"
    for name, target in links.items():
        tree.link(name, target)
    if treefile.tmp_is_dir or treefile.container:
        tree.mkdir("tmp", 0o1777)
    else:
        tree.link("tmp", "sysroot/tmp")
    boot = tree.path("boot")
    if boot.is_dir():
        shutil.rmtree(boot)
    tree.mkdir("boot")
    tree.root.chmod(0o755)


def base_db(tree: Tree) -> None:
    """rpm-ostree's record of the database as composed: hard links to the one in use."""
    source = tree.path("usr/share/rpm")
    if not source.is_dir():
        return
    tree.remove("usr/lib/sysimage/rpm-ostree-base-db")
    target = tree.mkdir("usr/lib/sysimage/rpm-ostree-base-db")
    for path in sorted(source.iterdir()):
        if path.is_file():
            os.link(path, target / path.name)
