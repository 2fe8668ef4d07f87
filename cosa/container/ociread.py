"""Reading an OCI image from an archive, with every digest checked.

An archive is a plain tar of an OCI image layout, so blobs are read where they lie. What
it holds comes from anywhere: sizes are bounded, names are digests, and a layer whose
bytes are not those its manifest names is refused after the last one was read, before
anything made of it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from cosa.core.errors import CosaError, ExitClass, Where

GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}  # ours -> Go's, which OCI uses
_JSON_LIMIT = 8 << 20
_MEMBERS = 10_000
_CHUNK = 1 << 20
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_BROKEN = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError)


@dataclass(frozen=True)
class Layer:
    """A layer: digest and size of its blob, how it is packed, and the digest of the plain tar."""

    digest: str
    size: int
    media: str
    diffid: str


@dataclass(frozen=True)
class Attached:
    """A file beside the image in its index: a disk image for `platform`, `media` its type."""

    platform: str
    arch: str
    media: str
    digest: str


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


class Image:
    """One image of an archive, for one architecture."""

    def __init__(self, path: Path, arch: str) -> None:
        """Raises `import/damaged`, `import/wrong-arch`, `import/several-images`."""
        self.path = path
        self.arch = arch
        self._blobs = _members(path)
        index = self._json(self._plain("index.json"), "index.json")
        chosen = self._choose(index)
        self.manifest_text = self.blob(chosen, _JSON_LIMIT)
        self.manifest_digest = chosen
        manifest = self._json(self.manifest_text, "its manifest")
        self.config: Mapping[str, Any] = self._json(
            self.blob(_text(manifest, "config", "digest"), _JSON_LIMIT), "its configuration"
        )
        self.layers = self._layers(manifest)
        if self.config.get("architecture") not in (None, GO_ARCH.get(arch, arch)):
            raise CosaError(
                "import/wrong-arch",
                f"the image is for {self.config['architecture']}, not for {arch}",
                Where(str(path)), fix="name its architecture with --arch",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the image."""
        inner = self.config.get("config")
        found = inner.get("Labels") if isinstance(inner, Mapping) else None
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}

    @property
    def created(self) -> str:
        """When the image says it was made (RFC 3339), empty when it does not."""
        return str(self.config.get("created") or "")

    def blob(self, digest: str, limit: int) -> bytes:
        """A small blob, checked. Raises `import/damaged`."""
        _, size = self._place(digest)
        if size > limit:
            raise self.damaged(f"its blob {digest} has {size} bytes, more than the {limit} allowed")
        with self.open_blob(digest) as file:
            return file.read()

    @contextmanager
    def open_blob(self, digest: str) -> Iterator[Checked]:
        """A blob's bytes; once the block ends well they have been checked to the last one."""
        offset, size = self._place(digest)
        with self.path.open("rb") as file:
            file.seek(offset)
            checked = Checked(file, size)
            yield checked
            checked.drain()
        if f"sha256:{checked.hexdigest}" != digest:
            raise self.damaged(f"its blob {digest} has other content than its name says")

    @contextmanager
    def open_layer(self, layer: Layer) -> Iterator[tarfile.TarFile]:
        """A layer as a tar to read once, in order; blob and plain tar are checked at the end."""
        with self.open_blob(layer.digest) as packed:
            try:
                plain = Checked(_unpack(packed, layer.media), None)
                with tarfile.open(fileobj=plain, mode="r|", bufsize=_CHUNK) as tar:
                    yield tar
                plain.drain()
            except _BROKEN as err:
                if isinstance(err, OSError) and err.errno is not None:
                    raise
                raise self.damaged(f"its layer {layer.digest} cannot be read", str(err)) from err
        if f"sha256:{plain.hexdigest}" != layer.diffid:
            raise self.damaged(f"the layer {layer.digest} is not the one its configuration names")

    def attached(self) -> list[Attached]:
        """The disk images that come with the image in its index."""
        return list(_attached(self._json(self._plain("index.json"), "index.json")))

    def part(self, digest: str) -> tuple[int, int]:
        """Where a blob lies in the archive: offset and size in bytes. Raises `import/damaged`."""
        return self._place(digest)

    def save_attached(self, disk: Attached, path: Path) -> None:
        """Write a disk image of the index to a file; it is the one layer of its manifest."""
        manifest = self._json(self.blob(disk.digest, _JSON_LIMIT), "a disk image's manifest")
        rows = manifest.get("layers")
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], Mapping):
            raise self.damaged(f"the disk image for {disk.platform} is not one file")
        try:
            with path.open("xb") as out, self.open_blob(_text(rows[0], "digest")) as source:
                while data := source.read(_CHUNK):
                    out.write(data)
        except CosaError:
            path.unlink(missing_ok=True)
            raise

    def damaged(self, why: str, more: str = "") -> CosaError:
        """The error for an archive that cannot be trusted."""
        return CosaError(
            "import/damaged", "this is not a sound OCI image", Where(str(self.path)),
            why=f"{why}{': ' if more else ''}{more}", fix="fetch it again",
            exit_class=ExitClass.UNTRUSTED,
        )  # fmt: skip

    def _place(self, digest: str) -> tuple[int, int]:
        kind, _, name = digest.partition(":")
        found = self._blobs.get(f"blobs/{kind}/{name}") if kind == "sha256" else None
        if found is None:
            raise self.damaged(f"its blob {digest} is missing")
        return found

    def _plain(self, name: str) -> bytes:
        if name not in self._blobs or self._blobs[name][1] > _JSON_LIMIT:
            raise self.damaged(f"it has no usable {name}")
        offset, size = self._blobs[name]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _json(self, data: bytes, name: str) -> Mapping[str, Any]:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as err:
            raise self.damaged(f"{name} is not JSON", str(err)) from err
        if not isinstance(found, dict):
            raise self.damaged(f"{name} is not an object")
        return found

    def _choose(self, index: Mapping[str, Any], depth: int = 0) -> str:
        """The digest of the manifest for our architecture, through nested indexes."""
        rows = _rows(index)
        images = [row for row in rows if not _is_disk(row)]
        fitting = [row for row in images if _arch(row) in (None, GO_ARCH.get(self.arch, self.arch))]
        if len(fitting) > 1:
            raise CosaError(
                "import/several-images", "the archive holds several images", Where(str(self.path)),
                fix="name one: oci-archive:FILE:TAG", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        if not fitting:
            there = ", ".join(sorted({str(_arch(row)) for row in images})) or "none"
            raise CosaError(
                "import/wrong-arch", f"the archive holds no image for {self.arch}",
                Where(str(self.path)), why=f"it has: {there}", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        digest = str(fitting[0].get("digest"))
        if fitting[0].get("mediaType") in _INDEXES and depth < 3:
            inner = self._json(self.blob(digest, _JSON_LIMIT), "an index of it")
            return self._choose(inner, depth + 1)
        return digest

    def _layers(self, manifest: Mapping[str, Any]) -> tuple[Layer, ...]:
        rows = manifest.get("layers")
        rootfs = self.config.get("rootfs")
        diffids = rootfs.get("diff_ids") if isinstance(rootfs, Mapping) else None
        if not isinstance(rows, list) or not rows:
            raise self.damaged("its manifest names no layers")
        if not isinstance(diffids, list) or len(diffids) != len(rows):
            raise self.damaged("its manifest and its configuration name different layers")
        made = []
        for row, diffid in zip(rows, diffids, strict=True):
            digest = _text({"row": row}, "row", "digest")
            media = _text({"row": row}, "row", "mediaType")
            made.append(Layer(digest, self._place(digest)[1], media, str(diffid)))
        return tuple(made)


class Checked(io.RawIOBase):
    """A stream that hashes what is read from it; `size` bounds it when known."""

    def __init__(self, source: Readable, size: int | None) -> None:
        self._source = source
        self._left = size
        self._digest = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, all that is left by default."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        if self._left is not None:
            size = min(size, self._left)
        data = self._source.read(size)
        self._digest.update(data)
        if self._left is not None:
            self._left -= len(data)
        return data

    def readable(self) -> bool:
        """It is."""
        return True

    def drain(self) -> None:
        """Read what nobody wanted, so that the digest is that of all."""
        while self.read(_CHUNK):
            pass

    @property
    def hexdigest(self) -> str:
        """Of all that was read."""
        return self._digest.hexdigest()


def _unpack(packed: Checked, media: str) -> Readable:
    """The plain tar of a layer's blob."""
    if media.endswith("zstd"):
        import zstandard

        reader: Readable = zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", packed))
        return reader
    if media.endswith("gzip"):
        return gzip.GzipFile(fileobj=packed, mode="rb")
    return packed


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Where each regular member of an uncompressed tar lies: name -> (offset, size)."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for number, member in enumerate(tar):
                if number > _MEMBERS:
                    raise ValueError("too many members")
                if member.isreg():
                    name = member.name.removeprefix("./")
                    found[name] = (member.offset_data, member.size)
    except FileNotFoundError:
        raise CosaError(
            "import/no-file", f"there is no file {path}", exit_class=ExitClass.USAGE
        ) from None
    except (*_BROKEN, RecursionError) as err:
        raise CosaError(
            "import/damaged", "this is not an OCI archive", Where(str(path)), why=str(err),
            fix="`skopeo copy ... oci-archive:FILE` makes one", exit_class=ExitClass.UNTRUSTED,
        ) from err  # fmt: skip
    return found


def _attached(index: Mapping[str, Any]) -> Iterator[Attached]:
    for row in _rows(index):
        if _is_disk(row):
            system = _text(row, "platform", "os")
            yield Attached(system, _arch(row) or "", _text(row, "artifactType"),
                           _text(row, "digest"))  # fmt: skip


def attached_of(index: bytes) -> Sequence[Attached]:
    """The disk images an image index names; none when it is no index."""
    try:
        found = json.loads(index)
    except (ValueError, RecursionError):
        return ()
    return tuple(_attached(found)) if isinstance(found, Mapping) else ()


def _rows(index: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of an index that can be any."""
    found = index.get("manifests")
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _is_disk(row: Mapping[str, Any]) -> bool:
    return str(row.get("artifactType", "")).startswith("application/vnd.diskimage")


def _arch(row: Mapping[str, Any]) -> str | None:
    platform = row.get("platform")
    found = platform.get("architecture") if isinstance(platform, Mapping) else None
    return found if isinstance(found, str) else None


def _text(data: Mapping[str, Any], *keys: str) -> str:
    here: Any = data
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, str) else ""
