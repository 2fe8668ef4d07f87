"""RPM files: what the header says, and the payload as a bounded, checked stream.

Headers are read by librpm; nothing here trusts a package: `cosa.compose.fetch` verifies
signature and digests before a file gets this far, and the payload reader still refuses paths that
leave the root, files the header does not list and sizes other than the header's.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, Self

import rpm
import zstandard

from cosa.model.package import Package
from cosa.tools.rpmheader import (
    RpmFile,
    Scriptlet,
    check_paths,
    list_files,
    list_scriptlets,
    package_of,
    quiet,
    refuse,
    sound,
    text,
)

__all__ = [
    "PayloadEntry", "RpmFile", "RpmReader", "Scriptlet", "list_files", "list_scriptlets",
    "package_of", "quiet", "read_header",
]  # fmt: skip

_CHUNK = 1 << 18
_MAX_NAME = 4096


@dataclass(frozen=True)
class PayloadEntry:
    """One member of the payload. `stream` must be read before the next entry is asked for.

    `file` is the header's entry; `hardlink_to` names the first path with the same inode when this
    is a later name of it. The data of a hard-linked file comes with its *last* name
    (`has_data`); read that one and link the others.
    """

    file: RpmFile
    size: int
    has_data: bool
    hardlink_to: str | None
    stream: IO[bytes] = field(compare=False)


class RpmReader:
    """An RPM file opened for reading; use as a context manager.

    Raises `rpm/unreadable` (class UNTRUSTED) when the header does not hold together.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        try:
            self.header = read_header(self._file, path)
            self._payload_at = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @cached_property
    def package(self) -> Package:
        """Identity from the header; place and digest are left empty."""
        with sound(self.path.name):
            return package_of(self.header)

    @cached_property
    def files(self) -> tuple[RpmFile, ...]:
        """Every path the header lists, ghosts included, in its order. Paths are checked."""
        with sound(self.path.name):
            files = list_files(self.header)
        check_paths(files, self.path.name)
        return files

    @cached_property
    def scriptlets(self) -> tuple[Scriptlet, ...]:
        """All scripts and triggers."""
        with sound(self.path.name):
            return tuple(list_scriptlets(self.header))

    def payload(self) -> Iterator[PayloadEntry]:
        """The payload's members in order, each checked against the header.

        Raises `rpm/path`, `rpm/unlisted`, `rpm/size`, `rpm/compression` or `rpm/payload`,
        all of class UNTRUSTED and naming the package file.
        """
        os.lseek(self._file.fileno(), self._payload_at, os.SEEK_SET)
        raw = os.fdopen(os.dup(self._file.fileno()), "rb")
        with raw, self._decompress(raw) as stream, _unpacking(self.path.name):
            yield from _members(stream, self.files, self.path.name)

    def _decompress(self, raw: IO[bytes]) -> IO[bytes]:
        with sound(self.path.name):
            name = text(self.header[rpm.RPMTAG_PAYLOADCOMPRESSOR]) or "gzip"
            form = text(self.header[rpm.RPMTAG_PAYLOADFORMAT]) or "cpio"
        if form != "cpio":
            refuse("rpm/payload", self.path.name, f"payload format {form!r} is not known")
        # librpm's own streams are not reachable from Python; these read the same formats.
        openers: dict[str, Callable[[], Any]] = {
            "zstd": partial(
                zstandard.ZstdDecompressor().stream_reader, raw, read_across_frames=True
            ),
            "xz": partial(lzma.LZMAFile, raw),
            "lzma": partial(lzma.LZMAFile, raw),
            "gzip": partial(gzip.GzipFile, fileobj=raw),
            "bzip2": partial(bz2.BZ2File, raw),
        }
        if name not in openers:
            refuse("rpm/compression", self.path.name, f"compression {name!r} is not known")
        return io.BufferedReader(openers[name](), 1 << 20)


def read_header(file: IO[bytes], path: Path) -> rpm.hdr:
    """The main header, digests checked but no signature; `file` then stands at the payload."""
    transaction = rpm.TransactionSet()
    transaction.setKeyring(rpm.keyring())
    transaction.setVSFlags(rpm.RPMVSF_MASK_NOSIGNATURES)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    with quiet():
        try:
            return transaction.hdrFromFdno(file.fileno())
        except rpm.error as err:
            refuse("rpm/unreadable", path.name, f"its header is damaged ({err})")


@contextmanager
def _unpacking(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        refuse("rpm/payload", what, "the payload is damaged (a number in it is none)")
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as err:
        refuse("rpm/payload", what, f"the payload is damaged ({err})")


def _members(stream: IO[bytes], files: Sequence[RpmFile], what: str) -> Iterator[PayloadEntry]:
    """Read the cpio archive: `newc`, or rpm's stripped form for files of 4 GiB and more."""
    listed = {file.path: file for file in files}
    names: dict[int, list[str]] = {}
    for file in files:
        if stat.S_ISREG(file.mode) and not file.is_ghost:
            names.setdefault(file.inode, []).append(file.path)
    seen: set[str] = set()
    while True:
        magic = _exactly(stream, 6)
        if magic == b"07070X":
            index = int(_exactly(stream, 8), 16)
            if index >= len(files):
                refuse("rpm/unlisted", what, f"its payload names file number {index}")
            _exactly(stream, 2)
            path, size = files[index].path, None
        elif magic in (b"070701", b"070702"):
            fields = _exactly(stream, 104)
            size, name_size = int(fields[48:56], 16), int(fields[88:96], 16)
            if not 0 < name_size <= _MAX_NAME:
                refuse("rpm/payload", what, "a name in the payload is too long")
            raw = _exactly(stream, name_size + -(110 + name_size) % 4)[: name_size - 1]
            if raw == b"TRAILER!!!":
                return
            path = _root_path(os.fsdecode(raw), what)
        else:
            refuse("rpm/payload", what, f"no cpio header where one should be: {magic!r}")
        entry = listed.get(path)
        if entry is None or path in seen:
            refuse("rpm/unlisted", what, f"its payload has {path!r}, which the header does not")
        seen.add(path)
        group = names.get(entry.inode, [path]) if stat.S_ISREG(entry.mode) else [path]
        last = seen.issuperset(group)
        expected = _data_size(entry) if last else 0
        if size is None:
            size = expected
        if size != expected and not (size == entry.size and len(group) > 1):
            refuse("rpm/size", what, f"{path!r} has {size} bytes of data where {expected} belong")
        data = _Bounded(stream, size, what)
        first = next((name for name in group if name in seen), path)
        yield PayloadEntry(
            entry, size, last or size > 0, first if first != path else None, data  # type: ignore[arg-type]
        )  # fmt: skip
        data.drain()
        _exactly(stream, -size % 4)


def _data_size(entry: RpmFile) -> int:
    if stat.S_ISREG(entry.mode):
        return entry.size
    return len(os.fsencode(entry.linkto)) if stat.S_ISLNK(entry.mode) else 0


def _root_path(name: str, what: str) -> str:
    path = "/" + name.removeprefix("./").removeprefix("/")
    if ".." in path.split("/") or any(ord(char) < 32 for char in path):
        refuse("rpm/path", what, f"its payload has {name!r}, no plain path below the root")
    return path


class _Bounded:
    """The data of one member: reads stop at its end, `drain` skips what nobody read."""

    def __init__(self, stream: IO[bytes], size: int, what: str) -> None:
        self._stream = stream
        self._left = size
        self._what = what

    def read(self, size: int = -1) -> bytes:
        want = self._left if size < 0 else min(size, self._left)
        # Whoever reads this stands outside of `payload`.
        with _unpacking(self._what):
            data = self._stream.read(want) if want else b""
            if want and not data:
                raise EOFError("it ends too early")
        self._left -= len(data)
        if size < 0 and self._left:
            return data + self.read()
        return data

    def drain(self) -> None:
        while self._left:
            self.read(_CHUNK)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise EOFError("it ends too early")
        data += more
    return data
