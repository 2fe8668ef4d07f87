"""Accounts: looking up names in the tree, presets, the split for nss-altfiles, the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cosa.core.errors import CosaError, Problems

type Kind = Literal["passwd", "group"]


def rows(text: str) -> list[list[str]]:
    """The lines of a passwd or group file as fields; comments and blank lines left out."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [line.split(":") for line in lines]


@dataclass(frozen=True)
class Accounts:
    """Names and numbers of a tree's users and groups."""

    users: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # uid, gid
    groups: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, passwd: str, group: str) -> Accounts:
        """Read the two files. Lines that make no sense are left out, as libc does."""
        users = {
            row[0]: (int(row[2]), int(row[3]))
            for row in rows(passwd) if len(row) >= 4 and row[2].isdigit() and row[3].isdigit()
        }  # fmt: skip
        groups = {row[0]: int(row[2]) for row in rows(group) if len(row) >= 3 and row[2].isdigit()}
        return cls(users, groups)

    def uid(self, name: str) -> int | None:
        """A user's number; root always has one."""
        return 0 if name == "root" else self.users[name][0] if name in self.users else None

    def gid(self, name: str) -> int | None:
        """A group's number; root always has one."""
        return 0 if name == "root" else self.groups.get(name)


@dataclass(frozen=True)
class Split:
    """A file in two: what stays in /etc, and what nss-altfiles reads from /usr/lib."""

    etc: str
    lib: str


def split(text: str, kind: Kind, keep: Iterable[str] = ()) -> Split:
    """Divide a passwd or group file.

    root (number 0) stays in /etc, everybody else moves to /usr/lib; groups named
    in `keep` (etc-group-members) are in both, so that members can be added to them.
    """
    both = set(keep)
    etc, lib = [], []
    for row in rows(text):
        line = ":".join(row)
        if len(row) > 2 and row[2] == "0":
            etc.append(line)
            continue
        lib.append(line)
        if kind == "group" and row[0] in both:
            etc.append(line)
    return Split("".join(f"{line}\n" for line in etc), "".join(f"{line}\n" for line in lib))


def preset_shadow(passwd: str) -> str:
    """An /etc/shadow with everybody locked, for a preset passwd file."""
    return "".join(f"{row[0]}:*::0:99999:7:::\n" for row in rows(passwd))


def preset_gshadow(group: str) -> str:
    """An /etc/gshadow for a preset group file."""
    return "".join(f"{row[0]}:::\n" for row in rows(group))


@dataclass(frozen=True)
class Expected:
    """What an account must be. `ids` is [uid], [uid, gid] or [gid]; None accepts any."""

    name: str
    ids: tuple[int, ...] | None


def expected_from_file(text: str, kind: Kind) -> list[Expected]:
    """Expectations from a passwd or group file."""
    found = Accounts.parse(text if kind == "passwd" else "", text if kind == "group" else "")
    if kind == "passwd":
        return [Expected(name, ids) for name, ids in found.users.items()]
    return [Expected(name, (gid,)) for name, gid in found.groups.items()]


def expected_from_data(entries: Mapping[str, int | Sequence[int]]) -> list[Expected]:
    """Expectations from a treefile's `check-passwd: {type: data, entries: ...}`."""
    return [
        Expected(name, (ids,) if isinstance(ids, int) else tuple(ids))
        for name, ids in entries.items()
    ]


def check(
    kind: Kind,
    expected: Sequence[Expected],
    found: Accounts,
    *,
    ignore: Iterable[str] = (),
    owned: Callable[[int], str | None] = lambda _: None,
) -> None:
    """Compare a tree's accounts with what they must be.

    A changed number is an error. A vanished account is one only if `owned`
    names a file it still owns and `ignore` (`*` for all) does not list it.
    Raises `passwd/changed`, all findings at once.
    """
    lenient = set(ignore)
    problems = Problems()
    noun = "user" if kind == "passwd" else "group"
    for want in expected:
        have: tuple[int, ...] | None
        if kind == "passwd":
            have = found.users.get(want.name)
        else:
            gid = found.groups.get(want.name)
            have = None if gid is None else (gid,)
        if have is None:
            file = owned(want.ids[0]) if want.ids else None
            if file and not lenient & {want.name, "*"}:
                problems.add(
                    "passwd/vanished",
                    f"the {noun} {want.name} is gone, but still owns {file}",
                    fix=f"list it in ignore-removed-{noun}s if that is meant",
                )
        elif want.ids and have[: len(want.ids)] != want.ids:
            problems.add(
                "passwd/changed",
                f"the {noun} {want.name} has the id {_ids(have[: len(want.ids)])}, "
                f"not {_ids(want.ids)}",
                why="files of machines that update would belong to somebody else",
                fix=f"give it that id, or correct check-{'passwd' if noun == 'user' else 'groups'}",
            )
    problems.raise_if_any(f"the {noun}s of the tree are not what the treefile demands")


def _ids(ids: Sequence[int]) -> str:
    return ":".join(map(str, ids))


def need_id(value: int | None, noun: str, name: str, package: str, path: str) -> int:
    """The number, or the error for a packaged file whose owner does not exist."""
    if value is None:
        raise CosaError(
            "compose/unknown-owner",
            f"{package} wants /{path} to belong to the {noun} {name}, which the tree does not have",
            why="no package's sysusers.d file and no %pre script has made it",
            fix="add the package that makes it, or preset it with check-passwd and check-groups",
        )
    return value
