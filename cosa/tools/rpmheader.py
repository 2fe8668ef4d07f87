"""What an RPM header says, as plain values: files, scripts, triggers, capabilities."""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

import rpm

from cosa.core.errors import CosaError, ExitClass
from cosa.model.package import Package

# rpm's lib/rpmfiles.h
FLAG_CONFIG, FLAG_DOC, FLAG_NOREPLACE, FLAG_GHOST, FLAG_LICENSE, FLAG_ARTIFACT = (
    1, 1 << 1, 1 << 4, 1 << 6, 1 << 7, 1 << 12,
)  # fmt: skip

# rpm's RPMSCRIPT_FLAGS: what is done to a script before it runs.
EXPAND, QFORMAT = 1, 2

# rpm's lib/rpmds.h: which event a trigger waits for.
_SENSES = {1 << 16: "in", 1 << 17: "un", 1 << 18: "postun", 1 << 25: "prein"}
_LONGEST = 300  # of what a message quotes from a package
_SCRIPTS = ("pretrans", "prein", "postin", "preun", "postun", "posttrans", "verifyscript")
_VERBS = {"prein": "pre", "postin": "post"}


@dataclass(frozen=True)
class RpmFile:
    """A file as the header lists it. `path` is absolute; `mode` includes the type bits."""

    path: str
    mode: int
    user: str
    group: str
    size: int
    mtime: int
    flags: int
    digest: str
    linkto: str
    rdev: int
    inode: int
    caps: str
    lang: str

    @property
    def is_ghost(self) -> bool:
        """Whether the package owns the path without shipping it."""
        return bool(self.flags & FLAG_GHOST)

    @property
    def is_doc(self) -> bool:
        """Whether `documentation: false` leaves the file out."""
        return bool(self.flags & FLAG_DOC)


@dataclass(frozen=True)
class Scriptlet:
    """A script of a package.

    `kind` is pretrans, pre, post, preun, postun, posttrans or verifyscript; for triggers
    `triggerin`, `filetriggerin`, `transfiletriggerin` (and -un, -postun, -prein).
    `interpreter` is the program with its arguments, `("<lua>",)` for rpm's embedded Lua.
    `flags` are rpm's RPMSCRIPT_FLAGS: 1 macro expansion, 2 query format, 4 critical.
    `patterns` are what a trigger waits for: packages (`NAME`, `NAME >= VERSION`), or path prefixes.
    """

    kind: str
    body: str
    interpreter: tuple[str, ...] = ("/bin/sh",)
    flags: int = 0
    patterns: tuple[str, ...] = ()
    priority: int = 0


def package_of(header: rpm.hdr) -> Package:
    """Name, EVR, architecture and source RPM of a header."""
    epoch = header[rpm.RPMTAG_EPOCH]
    return Package(
        name=text(header[rpm.RPMTAG_NAME]),
        epoch=str(epoch) if epoch is not None else "0",
        version=text(header[rpm.RPMTAG_VERSION]),
        release=text(header[rpm.RPMTAG_RELEASE]),
        arch=text(header[rpm.RPMTAG_ARCH]),
        sourcerpm=text(header[rpm.RPMTAG_SOURCERPM]),
    )


def list_files(header: rpm.hdr) -> tuple[RpmFile, ...]:
    """The header's file list, unchecked."""
    names = _paths(header)
    count = len(names)

    def column(tag: int, default: object) -> Sequence[Any]:
        values = header[tag]
        return values or [default] * count

    sizes = header[rpm.RPMTAG_LONGFILESIZES] or header[rpm.RPMTAG_FILESIZES] or [0] * count
    rows = zip(
        names,
        column(rpm.RPMTAG_FILEMODES, 0),
        column(rpm.RPMTAG_FILEUSERNAME, "root"),
        column(rpm.RPMTAG_FILEGROUPNAME, "root"),
        sizes,
        column(rpm.RPMTAG_FILEMTIMES, 0),
        column(rpm.RPMTAG_FILEFLAGS, 0),
        column(rpm.RPMTAG_FILEDIGESTS, ""),
        column(rpm.RPMTAG_FILELINKTOS, ""),
        column(rpm.RPMTAG_FILERDEVS, 0),
        column(rpm.RPMTAG_FILEINODES, 0),
        column(rpm.RPMTAG_FILECAPS, ""),
        column(rpm.RPMTAG_FILELANGS, ""),
        strict=True,
    )
    return tuple(
        RpmFile(
            path, mode & 0xFFFF, text(user), text(group), size, mtime, flags, text(digest),
            text(link), rdev, inode, text(caps), text(lang),
        )
        for path, mode, user, group, size, mtime, flags, digest, link, rdev, inode, caps, lang
        in rows
    )  # fmt: skip


def _paths(header: rpm.hdr) -> list[str]:
    """Folder and name put together; librpm's own RPMTAG_FILENAMES follows a bad index anywhere."""
    folders = [text(name) for name in header[rpm.RPMTAG_DIRNAMES] or ()]
    names = [text(name) for name in header[rpm.RPMTAG_BASENAMES] or ()]
    indexes = header[rpm.RPMTAG_DIRINDEXES] or ()
    return [folders[at] + name for at, name in zip(indexes, names, strict=True)]


def check_paths(files: Sequence[RpmFile], what: str) -> None:
    """Refuse paths that leave the root, by `..` or through a symlink of the same package.

    Nor may one lead through anything else that is no folder.
    """
    links = {
        f.path: f for f in files if stat.S_ISLNK(f.mode) or not (stat.S_ISDIR(f.mode) or f.is_ghost)
    }
    for file in files:
        pure = PurePosixPath(file.path)
        parts = file.path.split("/")
        if (
            not file.path.startswith("/") or ".." in parts or "." in parts or "" in parts[1:-1]
            or (file.path.endswith("/") and not (file.path == "/" and stat.S_ISDIR(file.mode)))
            or any(ord(char) < 32 for char in file.path)
        ):  # fmt: skip
            refuse("rpm/path", what, f"its path {file.path!r} is no plain path below the root")
        for parent in map(str, pure.parents):
            if parent in links:
                kind = "link" if stat.S_ISLNK(links[parent].mode) else "file"
                why = f"its path {file.path!r} leads through the {kind} {parent!r}"
                refuse("rpm/path", what, why)


def list_scriptlets(header: rpm.hdr) -> Iterator[Scriptlet]:
    """Scripts in rpm's order of running, then triggers."""
    for name in _SCRIPTS:
        upper = name.upper()
        body = header[getattr(rpm, f"RPMTAG_{upper}")]
        prog = header[getattr(rpm, f"RPMTAG_{upper}PROG")]
        if body is None and not prog:
            continue
        flags = header[getattr(rpm, f"RPMTAG_{upper}FLAGS")] or 0
        yield Scriptlet(_VERBS.get(name, name), text(body), _words(prog), flags)
    for prefix in ("", "FILE", "TRANSFILE"):
        yield from _triggers(header, prefix)


def _triggers(header: rpm.hdr, prefix: str) -> Iterator[Scriptlet]:
    def column(name: str) -> list[Any]:
        value = header[getattr(rpm, f"RPMTAG_{prefix}TRIGGER{name}")]
        if value is None:
            return []
        return list(value) if isinstance(value, list | tuple) else [value]

    bodies, programs = column("SCRIPTS"), column("SCRIPTPROG")
    flags = column("SCRIPTFLAGS") or [0] * len(bodies)
    priorities = column("PRIORITIES") if prefix else [0] * len(bodies)
    names, senses = column("NAME"), column("FLAGS")
    versions = column("VERSION") or [""] * len(names)
    waits = list(zip(column("INDEX"), names, senses, versions, strict=True))
    for number, body in enumerate(bodies):
        mine = [wait[1:] for wait in waits if wait[0] == number]
        event = next((word for bit, word in _SENSES.items() if mine and mine[0][1] & bit), "in")
        yield Scriptlet(
            kind=f"{prefix.lower()}trigger{event}",
            body=text(body),
            interpreter=_words(programs[number] if number < len(programs) else None),
            flags=flags[number],
            patterns=tuple(_condition(*wait) for wait in mine),
            priority=priorities[number] if number < len(priorities) else 0,
        )


def _condition(name: object, sense: int, version: object) -> str:
    """What a trigger waits for as a spec file has it: `NAME`, or `NAME >= VERSION`."""
    operator = "".join(sign for bit, sign in ((2, "<"), (4, ">"), (8, "=")) if sense & bit)
    wanted = text(version)
    return f"{text(name)} {operator} {wanted}" if operator and wanted else text(name)


# Order of linux/capability.h; the bit is the position.
_CAPABILITIES = [
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
    "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
    "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
    "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
    "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
]  # fmt: skip


def capability_xattr(caps: str) -> bytes:
    """The `security.capability` value (vfs_cap_data, revision 2) of a header's capability text.

    Understands `cap_a,cap_b=ep`, `= cap_a+ep` and several clauses, as libcap writes them.
    Raises `ValueError` for anything else.
    """
    permitted = inheritable = 0
    effective = False
    for clause in caps.split():
        for operator in "=+":
            names, found, letters = clause.partition(operator)
            if found:
                break
        else:
            raise ValueError(f"{caps!r} is not a capability text")
        bits = 0
        for name in filter(None, names.split(",")):
            known = name.removeprefix("cap_").lower()
            if known not in _CAPABILITIES:
                raise ValueError(f"{name!r} is no capability")
            bits |= 1 << _CAPABILITIES.index(known)
        permitted |= bits if "p" in letters else 0
        inheritable |= bits if "i" in letters else 0
        effective |= "e" in letters and bool(bits)
    low = 0xFFFFFFFF
    return struct.pack(
        "<5I", 0x02000000 | int(effective),
        permitted & low, inheritable & low, permitted >> 32, inheritable >> 32,
    )  # fmt: skip


def _words(value: object) -> tuple[str, ...]:
    if not value:
        return ("/bin/sh",)
    if isinstance(value, list | tuple):
        return tuple(text(item) for item in value)
    return (text(value),)


@contextmanager
def sound(what: str) -> Iterator[None]:
    """Refuse the package `what` when its header turns out to be broken while the block reads it.

    librpm checks a value only when it is asked for; the rest is tags of a wrong type or count.
    """
    try:
        yield
    except rpm.error as err:
        refuse("rpm/unreadable", what, f"its header does not hold together ({err})")
    except (ValueError, TypeError, IndexError, OverflowError):
        why = "lists in it have different lengths, or values are of a wrong kind"
        refuse("rpm/unreadable", what, f"its header does not hold together: {why}")


# librpm's verbosity is global.
_librpm = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep librpm from printing while the block runs: what it has to say is in our errors."""
    with _librpm:
        rpm.setVerbosity(rpm.RPMLOG_EMERG)
        try:
            yield
        finally:
            rpm.setVerbosity(rpm.RPMLOG_NOTICE)


def text(value: object) -> str:
    """A header value as text; undecodable bytes survive as surrogates, None is empty."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    return str(value) if value is not None else ""


def refuse(code: str, what: str, why: str) -> NoReturn:
    """Raise the error for a package file that must not be unpacked."""
    if len(why) > _LONGEST:
        why = f"{why[: _LONGEST // 2]} ... {why[-_LONGEST // 2 :]}"
    raise CosaError(
        code,
        f"the package {what} is refused: {why}",
        fix="get the package again from a repository you trust; it was not unpacked",
        exit_class=ExitClass.UNTRUSTED,
    )
