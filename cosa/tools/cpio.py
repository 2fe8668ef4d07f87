"""Reading initramfs images: `newc` cpio archives, one behind the other, some compressed.

The format is the kernel's (Documentation/driver-api/early-userspace/buffer-format.rst).
Archives come from images that may be damaged or hostile: names never leave the folder,
and symlinks are made last, so that nothing is ever written through one.
"""

from __future__ import annotations

import bz2
import lzma
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass

LIMIT = 8 << 30  # bytes one image may unfold to
_MAGICS = (b"070701", b"070702")
_END = "TRAILER!!!"
_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd"


class _Unpacker(Protocol):
    """What the decompressors of zlib, lzma, bz2 and zstandard have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What was behind its end."""

    def decompress(self, data: bytes, /) -> bytes:
        """Bytes of the plain stream."""


@dataclass(frozen=True)
class Member:
    """One entry; `file` stands at its content, `size` bytes, until the next one is asked for."""

    name: str
    mode: int
    size: int
    links: int
    inode: tuple[int, int, int]
    file: IO[bytes]

    def read(self) -> bytes:
        """The content of a symlink or a small file."""
        return self.file.read(min(self.size, fs.CHUNK))


def members(image: Path) -> Iterator[Member]:
    """Every entry of every archive of an image. Raises `cpio/malformed`, `cpio/too-big`."""
    with image.open("rb") as file:
        yield from _archives(file, image)


def extract(image: Path, folder: Path) -> None:
    """Unpack an image into a folder that is empty; devices become empty files.

    Raises `untrusted/path` and what `members` raises.
    """
    links: dict[Path, str] = {}
    waiting: dict[tuple[int, int, int], list[Path]] = {}
    for member in members(image):
        path = fs.safe_join(folder, member.name)
        kind = stat.S_IFMT(member.mode)
        _clear(path, links, keep_folder=kind == stat.S_IFDIR)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == stat.S_IFDIR:
            path.mkdir(exist_ok=True)
        elif kind == stat.S_IFLNK:
            links[path] = os.fsdecode(member.read())
        elif kind == stat.S_IFREG and member.links > 1 and not member.size:
            # The content of hard links stands with the last of them.
            waiting.setdefault(member.inode, []).append(path)
            path.touch()
        else:
            with path.open("wb") as out:
                if kind == stat.S_IFREG:
                    _copy(member, out)
            path.chmod(member.mode & 0o777 | 0o600)
            for other in waiting.pop(member.inode, []):
                other.unlink(missing_ok=True)
                os.link(path, other)
    for path, target in links.items():
        path.symlink_to(target)


def _clear(path: Path, links: dict[Path, str], *, keep_folder: bool) -> None:
    """Make way: a later archive replaces what an earlier one holds."""
    links.pop(path, None)
    for above in path.parents:
        links.pop(above, None)
        if above.exists() and not above.is_dir():
            above.unlink()
    if path.is_dir() and not keep_folder:
        shutil.rmtree(path)
    elif not path.is_dir():
        path.unlink(missing_ok=True)


def _copy(member: Member, out: IO[bytes]) -> None:
    left = member.size
    while left:
        chunk = member.file.read(min(left, fs.CHUNK))
        if not chunk:
            raise _malformed("", "it ends in the middle of a file")
        out.write(chunk)
        left -= len(chunk)


def _archives(file: IO[bytes], image: Path) -> Iterator[Member]:
    while True:
        start = _skip_zeros(file)
        magic = file.read(6)
        file.seek(start)
        if not magic:
            return
        if magic in _MAGICS:
            yield from _archive(file, image)
            continue
        unpacker = _unpacker(magic)
        if unpacker is None:
            what = f"at byte {start} there is neither cpio nor a known compression"
            raise _malformed(image, what)
        with tempfile.TemporaryFile(dir=image.parent) as plain:
            _unpack(file, plain, unpacker, image)
            yield from _archives(plain, image)


def _unpacker(magic: bytes) -> _Unpacker | None:
    if magic.startswith(_GZIP):
        return zlib.decompressobj(31)
    if magic.startswith(_XZ):
        return lzma.LZMADecompressor()
    if magic.startswith(_BZIP2):
        return bz2.BZ2Decompressor()
    if magic.startswith(_ZSTD):
        import zstandard

        made: _Unpacker = zstandard.ZstdDecompressor().decompressobj()
        return made
    return None


def _unpack(file: IO[bytes], plain: IO[bytes], unpacker: _Unpacker, image: Path) -> None:
    """Unpack streams that follow each other at once; `file` stands behind them afterwards."""
    size = 0
    try:
        while chunk := file.read(fs.CHUNK):
            while chunk:
                data = unpacker.decompress(chunk)
                size += len(data)
                if size > LIMIT:
                    raise CosaError(
                        "cpio/too-big", f"{image.name} unfolds to more than {fs.mib(LIMIT)}",
                        exit_class=ExitClass.UNTRUSTED,
                    )  # fmt: skip
                plain.write(data)
                chunk = unpacker.unused_data
                if not unpacker.eof:
                    break
                if len(chunk) < 6:
                    chunk += file.read(6)
                following = _unpacker(chunk)
                if following is None:
                    file.seek(-len(chunk), os.SEEK_CUR)
                    plain.seek(0)
                    return
                unpacker = following
    except (zlib.error, lzma.LZMAError, OSError, ValueError, ImportError) as err:
        raise _malformed(image, str(err)) from err
    except Exception as err:
        if type(err).__name__ != "ZstdError":  # loading the module for its name alone is dear
            raise
        raise _malformed(image, str(err)) from err
    if not unpacker.eof:
        raise _malformed(image, "its compressed part is cut off")
    plain.seek(0)


def _archive(file: IO[bytes], image: Path) -> Iterator[Member]:
    while True:
        start = file.tell()
        head = file.read(110)
        try:
            if len(head) < 110 or head[:6] not in _MAGICS:
                raise ValueError("it is cut off")
            (
                ino,
                mode,
                _uid,
                _gid,
                links,
                _time,
                size,
                major,
                minor,
                _rmaj,
                _rmin,
                length,
                _sum,
            ) = (int(head[at : at + 8], 16) for at in range(6, 110, 8))
            if not 0 < length <= 4096:
                raise ValueError(f"a name of {length} bytes")
        except ValueError as err:
            raise _malformed(image, f"the header at byte {start}: {err}") from None
        name = os.fsdecode(file.read(length).rstrip(b"\0"))
        content = start + _aligned(110 + length)
        if name == _END:
            file.seek(content)
            return
        file.seek(content)
        plain = name.removeprefix("./").lstrip("/")
        if plain and plain != ".":
            yield Member(plain, mode, size, links, (major, minor, ino), file)
        file.seek(content + _aligned(size))


def _aligned(size: int) -> int:
    return (size + 3) // 4 * 4


def _skip_zeros(file: IO[bytes]) -> int:
    """Padding between archives may have any length; the offset behind it."""
    while chunk := file.read(4096):
        rest = chunk.lstrip(b"\0")
        if rest:
            return file.seek(-len(rest), os.SEEK_CUR)
    return file.tell()


def _malformed(image: Path | str, why: str) -> CosaError:
    name = image.name if isinstance(image, Path) else "the image"
    return CosaError(
        "cpio/malformed", f"{name} is no initramfs image", why=why, exit_class=ExitClass.UNTRUSTED
    )
