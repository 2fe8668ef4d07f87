"""Layers of images: what lies below one folder of a layer, and the layer a release adds.

Reading trusts nothing: sizes and counts are bounded, links and folders are
passed over, a name that is not a plain path is refused by name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast

from cosa.payload.errors import refused

FILE_LIMIT = 4 << 20  # bytes of one manifest; Kubernetes objects are below 1.5 MiB
FILES_LIMIT = 5000
LAYER_LIMIT = 2 << 30  # bytes unpacked that are looked through for manifests
# Time stamps in gzip and levels are fixed: same inputs, same digest.
_LEVEL = 6


@dataclass(frozen=True)
class File:
    """A file of a layer: its name below the folder, content, and mtime in seconds."""

    name: str
    data: bytes
    mtime: int


def files_below(layer: IO[bytes], folder: str, origin: str) -> list[File]:
    """The plain files right below `folder/` in a layer, sorted by name.

    Folders below, links and devices are passed over, as `oc` does. Raises
    `payload/bad-layer`, `payload/too-big`.
    """
    found: dict[str, File] = {}
    total = 0
    try:
        with tarfile.open(fileobj=unpacked(layer, origin), mode="r|") as tar:
            for member in tar:
                total += member.size
                if total > LAYER_LIMIT:
                    raise refused(
                        "too-big", f"{origin}: a layer holds more than {LAYER_LIMIT} bytes",
                        untrusted=True,
                    )  # fmt: skip
                name = _plain_name(member.name, folder, origin)
                if name is None or not member.isreg():
                    continue
                if member.size > FILE_LIMIT or len(found) >= FILES_LIMIT:
                    raise refused(
                        "too-big", f"{origin}: {member.name} is too large, or one file too many",
                        why=f"at most {FILES_LIMIT} files of {FILE_LIMIT} bytes are taken",
                        untrusted=True,
                    )  # fmt: skip
                source = tar.extractfile(member)
                assert source is not None, "regular files have content"
                found[name] = File(name, source.read(), int(member.mtime))
    except _broken() as err:
        raise refused(
            "bad-layer", f"{origin}: a layer cannot be read", why=str(err), untrusted=True
        ) from None
    return [found[name] for name in sorted(found)]


def _broken() -> tuple[type[Exception], ...]:
    """What a damaged layer raises while it is read; asked for only when something was raised."""
    import zstandard

    return (
        tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error,
        zstandard.ZstdError,
    )  # fmt: skip


def _plain_name(path: str, folder: str, origin: str) -> str | None:
    """The name right below `folder`; None for anything else. Refuses names that climb out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise refused(
            "escapes", f"{origin}: the layer holds {path!r}, which leaves the image's root",
            untrusted=True,
        )  # fmt: skip
    return parts[1] if len(parts) == 2 and parts[0] == folder else None


def unpacked(layer: IO[bytes], origin: str) -> IO[bytes]:
    """The tar within a layer, whatever it is packed with. Raises `payload/bad-layer`."""
    magic = layer.read(4)
    joined = cast("IO[bytes]", _Joined(magic, layer))
    if magic[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=joined, mode="rb"))
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        return cast("IO[bytes]", unpacker.stream_reader(joined))
    if magic[:3] == b"BZh" or magic[:3] == b"\xfd7z":
        raise refused("bad-layer", f"{origin}: a layer is packed in a way no reader knows")
    return joined


class _Joined(io.RawIOBase):
    """A stream whose first bytes have been read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._rest.read(size)
        if size is None or size < 0:
            data, self._head = self._head + self._rest.read(), b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data


class Pieces(io.RawIOBase):
    """An iterator of bytes as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        while size is None or size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        if size is None or size < 0:
            size = len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


@dataclass(frozen=True)
class Packed:
    """A layer ready to be pushed: gzip bytes, their digest and the digest of the tar within."""

    data: bytes
    digest: str
    diff_id: str


def pack_release(files: Sequence[File], newest: int) -> Packed:
    """The layer `release-manifests/`: names and modes as `oc adm release new` writes them.

    Entry names have no leading `./`: readers know `release-manifests/X` only.
    `newest` is the folder's time. Same files, same bytes.
    """
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        top = tarfile.TarInfo("release-manifests")
        top.type, top.mode, top.mtime = tarfile.DIRTYPE, 0o777, newest
        tar.addfile(top)
        for file in files:
            entry = tarfile.TarInfo(f"release-manifests/{file.name}")
            entry.mode, entry.mtime, entry.size = 0o444, file.mtime, len(file.data)
            tar.addfile(entry, io.BytesIO(file.data))
    plain = raw.getvalue()
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    # zlib writes a gzip header without name and with time 0.
    data = packer.compress(plain) + packer.flush()
    return Packed(
        data, f"sha256:{hashlib.sha256(data).hexdigest()}",
        f"sha256:{hashlib.sha256(plain).hexdigest()}",
    )  # fmt: skip
