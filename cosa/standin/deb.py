"""Reading a .deb that nobody vouches for: an ar archive of two compressed tars.

Source of the format: deb(5). Nothing is unpacked to disk; members are handed
out one by one after their names were checked.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.standin import control as deb822
from cosa.standin import tarstream
from cosa.standin.tarstream import Member, Reader, TarStream

MAX_CONTROL_FILE = 8 << 20
MAX_CONTROL_TOTAL = 64 << 20
_AR_MAGIC = b"!<arch>\n"


@dataclass(frozen=True)
class Section:
    """Where one ar member's content lies in the file."""

    name: str
    offset: int
    size: int


class Deb:
    """One package: `control` and `parts` (control.tar's files) are read at once, data on demand.

    Raises on construction and while iterating: `standin/truncated`,
    `standin/bad-archive`, `standin/compression`, `standin/control`,
    `untrusted/path`, all of class UNTRUSTED.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._sections = _sections(file, path.stat().st_size)
        self.parts = self._read_control()
        if "control" not in self.parts:
            raise tarstream.bad("it has no control file")
        self.control_text = self.parts["control"].decode("utf-8", "replace")
        self.control = deb822.parse_one(self.control_text)

    @contextmanager
    def data(self) -> Iterator[TarStream]:
        """The payload as a tar stream; use `safe_members` on it."""
        with self._tar("data.tar") as tar:
            yield tar

    def _read_control(self) -> dict[str, bytes]:
        parts: dict[str, bytes] = {}
        total = 0
        with self._tar("control.tar") as tar:
            for member in safe_members(tar):
                total += member.size
                if member.size > MAX_CONTROL_FILE or total > MAX_CONTROL_TOTAL:
                    raise tarstream.bad(f"the control file {member.name!r} is too large")
                if member.kind == tarstream.FILE:
                    parts[member.name] = tar.read(member.size)
        return parts

    @contextmanager
    def _tar(self, stem: str) -> Iterator[TarStream]:
        section = next(s for s in self._sections if s.name.startswith(stem))
        try:
            with self.path.open("rb") as file:
                file.seek(section.offset)
                part = cast(IO[bytes], io.BufferedReader(_Slice(file, section.size), 1 << 18))
                yield TarStream(_decompressor(part, section.name.removeprefix(stem)))
        except (EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as err:
            code = "standin/truncated" if isinstance(err, EOFError) else "standin/bad-archive"
            raise CosaError(
                code, f"{section.name} cannot be unpacked", why=str(err),
                exit_class=ExitClass.UNTRUSTED,
            ) from err  # fmt: skip


class _Slice(io.RawIOBase):
    """A readable part of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)[: self._left]  # type: ignore[arg-type]
        data = self._file.read(len(view))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _decompressor(part: IO[bytes], suffix: str) -> Reader:
    match suffix:
        case "":
            return part
        case ".xz":
            return lzma.LZMAFile(part)
        case ".zst":
            return cast(
                Reader, zstandard.ZstdDecompressor().stream_reader(part, read_across_frames=True)
            )
        case ".gz":
            return cast(Reader, gzip.GzipFile(fileobj=part))
    raise CosaError(
        "standin/compression",
        f"the compression '{suffix}' is not known",
        why="deb(5) has .gz, .xz, .zst and none at all",
        exit_class=ExitClass.UNTRUSTED,
    )


def _sections(file: IO[bytes], size: int) -> list[Section]:
    """The ar members: debian-binary, control.tar*, data.tar*, in this order."""
    if file.read(8) != _AR_MAGIC:
        raise tarstream.bad("it is not a Debian package (no ar magic)")
    sections: list[Section] = []
    position = 8
    while position < size:
        file.seek(position)
        head = file.read(60)
        if len(head) < 60:
            raise _short()
        length = head[48:58].strip()
        if head[58:60] != b"`\n" or not length.isdigit():
            raise tarstream.bad("an ar header cannot be read")
        name = head[:16].decode("ascii", "replace").strip().rstrip("/")
        sections.append(Section(name, position + 60, int(length)))
        position += 60 + int(length) + int(length) % 2
        if sections[-1].offset + sections[-1].size > size:
            raise _short()
    # Names that begin with an underscore may stand between (deb(5)).
    sections = [section for section in sections if not section.name.startswith("_")]
    names = [section.name for section in sections]
    stems = [".".join(name.split(".")[:2]) for name in names]
    if stems[:3] != ["debian-binary", "control.tar", "data.tar"]:
        if stems == ["debian-binary", "control.tar", "data.tar"][: len(stems)]:
            raise _short()
        raise tarstream.bad(f"its members are {', '.join(names[:5]) or 'none'}")
    file.seek(sections[0].offset)
    if not file.read(min(sections[0].size, 16)).startswith(b"2."):
        raise tarstream.bad("its format is not 2.x")
    return sections


def _short() -> CosaError:
    return CosaError("standin/truncated", "the file ends too early", exit_class=ExitClass.UNTRUSTED)


def safe_members(tar: TarStream) -> Iterator[Member]:
    """Members whose names stay below the root, each once, none through a symlink.

    Device nodes are refused: no Debian package may ship one (policy 10.6).
    """
    seen: dict[str, str] = {}
    root = Path("/")
    for member in tar:
        if not member.name:
            continue
        fs.safe_join(root, member.name)
        if any(part in ("", ".") for part in member.name.split("/")):
            raise tarstream.bad(f"the path {member.name!r} is not in its plain form")
        if member.name in seen:
            raise tarstream.bad(f"it has {member.name!r} twice")
        for above in _parents(member.name):
            if seen.get(above, tarstream.DIRECTORY) != tarstream.DIRECTORY:
                raise tarstream.bad(f"{member.name!r} lies below {above!r}, which is no directory")
        if member.kind in (tarstream.CHARDEV, tarstream.BLOCKDEV):
            raise tarstream.bad(f"it has the device node {member.name!r}")
        if member.kind == tarstream.HARDLINK and seen.get(member.link) != tarstream.FILE:
            raise tarstream.bad(f"{member.name!r} is a hard link to {member.link!r}, not in it")
        if member.kind == tarstream.SYMLINK and (not member.link or "\n" in member.link):
            raise tarstream.bad(f"the symlink {member.name!r} has the target {member.link!r}")
        seen[member.name] = tarstream.FILE if member.kind == tarstream.HARDLINK else member.kind
        yield member


def _parents(name: str) -> Iterator[str]:
    position = name.find("/")
    while position > 0:
        yield name[:position]
        position = name.find("/", position + 1)
