"""One Debian package into one RPM: same files, owners, modes, dependencies, scripts."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cosa.standin import evr, filecaps, scripts, tarstream
from cosa.standin.control import Alternatives, Control, Relation
from cosa.standin.deb import Deb, safe_members
from cosa.standin.openpgp import SigningKey
from cosa.standin.rpmwriter import (
    CONFIG_KEEP,
    DOC,
    EQUAL,
    GREATER,
    LESS,
    LICENSE,
    Dependency,
    File,
    Payload,
    Spec,
    write,
)  # fmt: skip
from cosa.standin.tarstream import Member, TarStream

# Part of every cached conversion's id: raise it when the output changes.
VERSION = 1
ESSENTIAL = "deb-essential"
ARCHES = {
    "amd64": "x86_64", "arm64": "aarch64", "ppc64el": "ppc64le", "s390x": "s390x",
    "riscv64": "riscv64", "all": "noarch",
}  # fmt: skip
_FLAGS = {"<<": LESS, "<=": LESS | EQUAL, "=": EQUAL, ">=": GREATER | EQUAL, ">>": GREATER}
_TYPES = {
    tarstream.FILE: stat.S_IFREG, tarstream.HARDLINK: stat.S_IFREG,
    tarstream.SYMLINK: stat.S_IFLNK, tarstream.DIRECTORY: stat.S_IFDIR,
    tarstream.FIFO: stat.S_IFIFO,
}  # fmt: skip
# Before the merge of / and /usr packages could ship files in these.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def convert(deb_path: Path, out: Path, key: SigningKey, dropped: Collection[str] = ()) -> Spec:
    """Write the RPM for a .deb whose digest was checked; what it says of itself.

    `dropped` names Conflicts clauses to leave out (see `cosa.standin.meaning`).
    Raises `CosaError` of class UNTRUSTED for anything odd; see `deb.Deb`.
    """
    deb = Deb(deb_path)
    with tempfile.TemporaryFile(dir=out.parent) as packed:
        payload, newest = _payload(deb, packed)
        _add_database(deb, payload, newest)
        if deb.control.name == "base-passwd":
            _add_accounts(deb, payload, newest)
        spec = describe(deb.control, newest, dropped)
        _add_path_provides(spec, payload)
        info = info_stem(deb.control)
        spec.scripts = scripts.scriptlets(spec.name, deb.control.arch, info, deb.parts)
        if spec.scripts and not deb.control.essential:
            spec.requires.append(Dependency(ESSENTIAL))
        _set_flags(deb, payload)
        write(spec, payload, packed, key, out)
    return spec


def describe(control: Control, build_time: int, dropped: Collection[str] = ()) -> Spec:
    """Names, versions, texts and dependencies of a package as RPM has them."""
    version = evr.convert(control.version)
    if control.arch not in ARCHES:
        raise tarstream.bad(f"its architecture {control.arch!r} is not known")
    summary, _, rest = control.get("Description", control.name).partition("\n")
    source, _, source_version = control.get("Source", control.name).partition(" ")
    from_source = evr.convert(source_version.strip("() ") or control.version)
    return Spec(
        name=control.name, epoch=version.epoch, version=version.version, release=version.release,
        arch=ARCHES[control.arch], summary=summary, description=_paragraphs(rest) or summary,
        license="see the copyright file", group=control.get("Section", "misc"),
        url=control.get("Homepage", ""), packager=control.get("Maintainer", ""),
        vendor="Debian", source_rpm=f"{source}-{from_source.bare}.src.rpm", build_time=build_time,
        requires=_dependencies(control, "Pre-Depends", "Depends"),
        provides=[
            *_dependencies(control, "Provides"), Dependency(control.name, EQUAL, str(version)),
        ],
        conflicts=[
            dependency(clause) for clause in control.relations("Conflicts", "Breaks")
            if not is_foreign(clause, control.arch) and str(clause[0]) not in dropped
        ],
        recommends=_dependencies(control, "Recommends"),
        suggests=_dependencies(control, "Suggests"),
        enhances=_dependencies(control, "Enhances"),
    )  # fmt: skip


def info_stem(control: Control) -> str:
    """The package's stem in dpkg's info folder: with the architecture where several may coexist."""
    if control.get("Multi-Arch") == "same":
        return f"{control.name}:{control.arch}"
    return control.name


def is_foreign(clause: Alternatives, arch: str) -> bool:
    """Whether a clause is about packages of another architecture only."""
    return all(r.qualifier not in ("", "any", "native", arch) for r in clause)


def dependency(clause: Alternatives) -> Dependency:
    """A clause as RPM's dependency; several alternatives become a rich one."""
    if len(clause) == 1:
        return _single(clause[0])
    return Dependency("(" + " or ".join(_words(relation) for relation in clause) + ")")


def _dependencies(control: Control, *fields: str) -> list[Dependency]:
    made = []
    for clause in control.relations(*fields):
        own = tuple(r for r in clause if not is_foreign((r,), control.arch))
        if own:
            made.append(dependency(own))
    return made


def _single(relation: Relation) -> Dependency:
    if not relation.operator:
        return Dependency(relation.name)
    return Dependency(relation.name, _FLAGS[relation.operator], str(evr.convert(relation.version)))


def _words(relation: Relation) -> str:
    if not relation.operator:
        return relation.name
    operator = {"<<": "<", ">>": ">"}.get(relation.operator, relation.operator)
    return f"{relation.name} {operator} {evr.convert(relation.version)}"


def _paragraphs(text: str) -> str:
    """An extended description without its markup: ` .` stands for an empty line."""
    return "\n".join(
        "" if line.strip() == "." else line.strip() for line in text.split("\n")
    ).strip()


def canonical(name: str) -> str:
    """The path of an archive member: absolute, below /usr where / has only links."""
    first, slash, _ = name.partition("/")
    return f"/usr/{name}" if slash and first in _MERGED else f"/{name}"


class _HardLinksError(Exception):
    """The package has hard links, so their targets must be known beforehand."""


def _payload(deb: Deb, packed: IO[bytes]) -> tuple[Payload, int]:
    """Everything of data.tar as a payload, and the newest time in it.

    Hard links are rare and known only once they come by; a second attempt then
    knows their targets. That spares all others a pass of their own.
    """
    payload = Payload(packed)
    try:
        return payload, _add_data(deb, payload, None)
    except _HardLinksError:
        packed.seek(0)
        packed.truncate()
        payload = Payload(packed)
        return payload, _add_data(deb, payload, _hard_links(deb))


def _add_data(deb: Deb, payload: Payload, links: Collection[str] | None) -> int:
    pending: dict[str, _Linked] = {}
    newest = 0
    with deb.data() as tar, tempfile.TemporaryFile() as spool:
        for member in safe_members(tar):
            newest = max(newest, member.mtime)
            file = _file(member)
            if member.kind == tarstream.HARDLINK and links is None:
                raise _HardLinksError
            if links and member.name in links:
                pending[member.name] = _Linked.keep(file, tar, spool)
            elif member.kind == tarstream.HARDLINK:
                original = pending[_original(member.link, pending)]
                original.also(file)
                pending[member.name] = original
            else:
                payload.add(file, _content(tar) if member.kind == tarstream.FILE else ())
        for linked in {id(item): item for item in pending.values()}.values():
            payload.add_linked(linked.group, lambda item=linked: item.read(spool))  # type: ignore[misc]
    return newest


def _original(name: str, pending: dict[str, _Linked]) -> str:
    if name not in pending:
        raise tarstream.bad(f"a hard link to {name!r}, which is not a plain file before it")
    return name


def _hard_links(deb: Deb) -> set[str]:
    """Names that hard links in the package point to."""
    with deb.data() as tar:
        return {member.link for member in tar if member.kind == tarstream.HARDLINK}


@dataclass
class _Linked:
    """A file with several names, its content put aside until all of them are known."""

    group: list[File]
    offset: int

    @classmethod
    def keep(cls, file: File, tar: TarStream, spool: IO[bytes]) -> _Linked:
        offset = spool.seek(0, os.SEEK_END)
        for chunk in _content(tar):
            spool.write(chunk)
        return cls([file], offset)

    def also(self, file: File) -> None:
        first = self.group[0]
        file.size, file.mode, file.mtime = first.size, first.mode, first.mtime
        file.user, file.group, file.caps = first.user, first.group, first.caps
        self.group.append(file)

    def read(self, spool: IO[bytes]) -> Iterator[bytes]:
        spool.seek(self.offset)
        left = self.group[0].size
        while left:
            chunk = spool.read(min(left, tarstream.CHUNK))
            yield chunk
            left -= len(chunk)


def _content(tar: TarStream) -> Iterator[bytes]:
    while chunk := tar.read():
        yield chunk


def _file(member: Member) -> File:
    raw = member.xattrs.get("security.capability")
    return File(
        path=canonical(member.name), mode=_TYPES[member.kind] | member.mode, mtime=member.mtime,
        user=member.user or "root", group=member.group or "root", size=member.size,
        link=member.link if member.kind == tarstream.SYMLINK else "",
        caps=filecaps.text(raw) if raw else "",
    )  # fmt: skip


def _add_text(payload: Payload, path: str, data: bytes, mtime: int, mode: int = 0o644) -> None:
    payload.add(File(path, stat.S_IFREG | mode, mtime, size=len(data)), [data] if data else [])


def _add_folders(payload: Payload, path: str, mtime: int) -> None:
    """The folders above a path that the package does not have yet, outermost first."""
    known = {file.path for file in payload.files}
    for above in reversed(Path(path).parents):
        if str(above) not in known and str(above) != "/":
            payload.add(File(str(above), stat.S_IFDIR | 0o755, mtime))


def _add_database(deb: Deb, payload: Payload, mtime: int) -> None:
    """The package's part of dpkg's database: status, file list, conffiles, debconf's files."""
    info = f"{scripts.DATABASE}/info/{info_stem(deb.control)}"
    status = f"{scripts.DATABASE}/status.d/{deb.control.name}"
    listed = "".join(f"{file.path}\n" for file in payload.files)
    _add_folders(payload, f"{info}.list", mtime)
    _add_text(payload, f"{info}.list", ("/.\n" + listed).encode("utf-8", "surrogateescape"), mtime)
    for part, mode in (("conffiles", 0o644), ("templates", 0o644), ("config", 0o755)):
        if part in deb.parts:
            _add_text(payload, f"{info}.{part}", deb.parts[part], mtime, mode)
    _add_folders(payload, status, mtime)
    paragraph = deb.control_text.strip("\n")
    first, _, rest = paragraph.partition("\n")
    text = f"{first}\nStatus: install ok installed\n{rest}\n\n"
    _add_text(payload, status, text.encode(), mtime)


def _add_accounts(deb: Deb, payload: Payload, mtime: int) -> None:
    """/etc/passwd and /etc/group from base-passwd's masters, as its own script would make them.

    They must be there before anything is unpacked: files belong to names.
    """
    masters: dict[str, bytes] = {}
    with deb.data() as tar:
        for member in safe_members(tar):
            if member.name.startswith("usr/share/base-passwd/") and member.name.endswith(".master"):
                masters[os.path.basename(member.name)] = tar.read(member.size)
    for name in ("passwd", "group"):
        if f"{name}.master" not in masters:
            raise tarstream.bad(f"base-passwd has no {name}.master")
        _add_folders(payload, f"/etc/{name}", mtime)
        _add_text(payload, f"/etc/{name}", masters[f"{name}.master"], mtime)
        payload.files[-1].flags = CONFIG_KEEP


def _add_path_provides(spec: Spec, payload: Payload) -> None:
    """/bin/sh and the like: other people's RPMs ask for these paths though / has only links."""
    for file in payload.files:
        folder, _, name = file.path.rpartition("/")
        if folder in ("/usr/bin", "/usr/sbin") and name in ("sh", "bash"):
            spec.provides.append(Dependency(f"/bin/{name}"))


def _set_flags(deb: Deb, payload: Payload) -> None:
    conffiles = set()
    for line in deb.parts.get("conffiles", b"").decode("utf-8", "surrogateescape").splitlines():
        words = line.split()
        if words and words[0] != "remove-on-upgrade":
            conffiles.add(canonical(words[-1].lstrip("/")))
    for file in payload.files:
        if stat.S_ISDIR(file.mode):
            continue
        if file.path in conffiles:
            file.flags |= CONFIG_KEEP
        elif file.path.startswith("/usr/share/doc/"):
            file.flags |= LICENSE if file.path.endswith("/copyright") else DOC
        elif file.path.startswith(("/usr/share/man/", "/usr/share/info/")):
            file.flags |= DOC
