"""check-passwd and check-groups: ids seeded before scripts run, compared afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable

from cosa.compose import finalize, passwd
from cosa.compose.passwd import Accounts, Expected, Kind
from cosa.compose.tree import Tree
from cosa.core.errors import CosaError, Problems, Where
from cosa.model.treefile import IdCheck, Treefile
from cosa.tools import ostree


def preset(
    tree: Tree, treefile: Treefile, previous: Accounts | None, texts: dict[str, str]
) -> None:
    """Write the accounts every script finds, before any runs.

    `type: file` seeds from that file; `type: previous` with preserve-passwd
    from the previous commit (`texts`: its joined passwd and group files).
    """
    kinds = {"passwd": treefile.check_passwd, "group": treefile.check_groups}
    types = {check.type for check in kinds.values()}
    if "file" in types and "previous" in types and previous:
        raise CosaError(
            "passwd/mixed",
            "check-passwd and check-groups must both be of type file, or neither",
            Where(str(treefile.path)),
        )
    for kind, check in kinds.items():
        text = ""
        if check.type == "file" and check.path:
            text = _read(check)
        elif check.type == "previous" and treefile.preserve_passwd:
            text = texts.get(kind, "")
        if not text:
            continue
        tree.write(f"etc/{kind}", text, 0o644)
        shadow = passwd.preset_shadow(text) if kind == "passwd" else passwd.preset_gshadow(text)
        tree.write("etc/shadow" if kind == "passwd" else "etc/gshadow", shadow, 0o000)


def verify(tree: Tree, treefile: Treefile, previous: Accounts | None) -> None:
    """Compare the finished tree's ids with what they must be; all findings at once.

    Raises `passwd/changed` or `passwd/vanished`.
    """
    found = finalize.accounts_of(tree)
    problems = Problems()
    checks: tuple[tuple[Kind, IdCheck, Iterable[str]], ...] = (
        ("passwd", treefile.check_passwd, treefile.ignore_removed_users),
        ("group", treefile.check_groups, treefile.ignore_removed_groups),
    )
    owners = _Owners(tree)
    for kind, check, ignored in checks:
        expected = _expected(kind, check, previous)
        owned = owners.user if kind == "passwd" else owners.group
        with problems.collecting():
            passwd.check(kind, expected, found, ignore=ignored, owned=owned)
    problems.raise_if_any("the accounts of the tree are not what the treefile demands")


def _expected(kind: Kind, check: IdCheck, previous: Accounts | None) -> list[Expected]:
    if check.type == "file" and check.path:
        return passwd.expected_from_file(_read(check), kind)
    if check.type == "data":
        return passwd.expected_from_data(check.entries)
    if check.type == "previous" and previous:
        if kind == "passwd":
            return [Expected(name, ids) for name, ids in previous.users.items()]
        return [Expected(name, (gid,)) for name, gid in previous.groups.items()]
    return []


def _read(check: IdCheck) -> str:
    assert check.path is not None
    try:
        return check.path.read_text()
    except OSError as err:
        raise CosaError(
            "passwd/file", f"{check.path} cannot be read", Where(str(check.path)), why=str(err)
        ) from err


def previous_texts(repo: ostree.Repo, commit: str | None) -> dict[str, str]:
    """The passwd and group files of an earlier commit, /etc and /usr/lib joined."""
    if not commit:
        return {}
    return {
        kind: (repo.read_text(commit, f"/usr/etc/{kind}") or "")
        + (repo.read_text(commit, f"/usr/lib/{kind}") or "")
        for kind in ("passwd", "group")
    }


class _Owners:
    """Who owns what, looked up only when somebody vanished."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._users: dict[int, str] | None = None
        self._groups: dict[int, str] = {}

    def user(self, uid: int) -> str | None:
        """A file of this user, if there is one."""
        return self._scan().get(uid)

    def group(self, gid: int) -> str | None:
        """A file of this group, if there is one."""
        self._scan()
        return self._groups.get(gid)

    def _scan(self) -> dict[int, str]:
        if self._users is None:
            self._users = {}
            for rel, entry in self._tree.walk():
                info: os.stat_result = entry.stat(follow_symlinks=False)
                self._users.setdefault(info.st_uid, f"/{rel}")
                self._groups.setdefault(info.st_gid, f"/{rel}")
        return self._users
