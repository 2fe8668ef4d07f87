"""Writing RPM packages (format 4) directly, the same bytes for the same input.

The payload is compressed while it streams in; the header, which tells digests
of everything, is written in front of it afterwards. Source of the format:
RPM's docs/manual (format_lead.md, format_v4.md, format_header.md, tags.md);
cpio "newc".
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import zstandard

from cosa.standin import rpmheader
from cosa.standin.openpgp import SigningKey
from cosa.standin.rpmheader import INT16, INT64, Header

ZSTD_LEVEL = 3
CONFIG, DOC, LICENSE = 1, 2, 1 << 7
_NOREPLACE = 1 << 4
CONFIG_KEEP = CONFIG | _NOREPLACE

LESS, GREATER, EQUAL = 1 << 1, 1 << 2, 1 << 3
_RPMLIB = 1 << 24
_ARCH_NUMBERS = {"x86_64": 1, "noarch": 1, "aarch64": 19, "ppc64le": 16, "s390x": 15, "riscv64": 22}
_MAX_INT32 = 0xFFFFFFFF


@dataclass(frozen=True, order=True)
class Dependency:
    """A name, RPM's comparison flags and an EVR; rich dependencies have only a name."""

    name: str
    flags: int = 0
    evr: str = ""


@dataclass
class File:
    """One file as the header tells it. `path` is absolute, `mode` has the type bits."""

    path: str
    mode: int
    mtime: int
    user: str = "root"
    group: str = "root"
    size: int = 0
    digest: str = ""
    link: str = ""
    flags: int = 0
    caps: str = ""
    inode: int = 0


@dataclass
class Spec:
    """What a package says of itself."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str
    summary: str
    description: str
    license: str
    group: str
    url: str
    packager: str
    vendor: str
    source_rpm: str
    build_time: int
    requires: list[Dependency] = field(default_factory=list)
    provides: list[Dependency] = field(default_factory=list)
    conflicts: list[Dependency] = field(default_factory=list)
    recommends: list[Dependency] = field(default_factory=list)
    suggests: list[Dependency] = field(default_factory=list)
    enhances: list[Dependency] = field(default_factory=list)
    # posttrans, preun, postun: text for /bin/sh
    scripts: dict[str, str] = field(default_factory=dict)

    @property
    def nevra(self) -> str:
        """`name-version-release.arch`, the file name without `.rpm`."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}"


class Payload:
    """A cpio archive under way: compressed into `out`, every digest taken on the fly."""

    def __init__(self, out: IO[bytes]) -> None:
        self.files: list[File] = []
        self.size = 0
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._out = out
        params = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, write_checksum=False)
        self._zstd = zstandard.ZstdCompressor(compression_params=params).compressobj()

    def add(self, file: File, content: Iterable[bytes] = ()) -> None:
        """Append a file; its size and digest are taken from `content`, told size must agree."""
        file.inode = len(self.files) + 1
        self.files.append(file)
        if stat.S_ISLNK(file.mode):
            target = os.fsencode(file.link)
            file.size = len(target)
            content = [target]
        self._entry(file, links=1, size=file.size)
        digest = hashlib.sha256()
        count = 0
        for chunk in content:
            digest.update(chunk)
            self._write(chunk)
            count += len(chunk)
        if count != file.size:
            raise ValueError(f"{file.path}: {count} bytes of content, {file.size} told")
        self._write(b"\0" * (-count % 4))
        if stat.S_ISREG(file.mode):
            file.digest = digest.hexdigest()

    def add_linked(self, group: list[File], content: Callable[[], Iterable[bytes]]) -> None:
        """Append the names of one inode; RPM wants the content with the last in header order."""
        group.sort(key=_sort_key)
        inode = len(self.files) + 1
        digest = hashlib.sha256()
        for chunk in content():
            digest.update(chunk)
        for file in group:
            file.inode, file.digest = inode, digest.hexdigest()
            last = file is group[-1]
            self._entry(file, links=len(group), size=file.size if last else 0)
            self.files.append(file)
        for chunk in content():
            self._write(chunk)
        self._write(b"\0" * (-group[-1].size % 4))

    def finish(self) -> tuple[str, str]:
        """Close the archive; hex sha256 of the compressed and of the plain payload."""
        self._entry(File("TRAILER!!!", 0, 0), links=1, size=0, prefix="")
        self._emit(self._zstd.flush())
        return self._packed.hexdigest(), self._plain.hexdigest()

    def _entry(self, file: File, *, links: int, size: int, prefix: str = ".") -> None:
        name = os.fsencode(prefix + file.path) + b"\0"
        numbers = (
            file.inode, file.mode, 0, 0, links, file.mtime, size, 0, 0, 0, 0, len(name), 0,
        )  # fmt: skip
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name
        self._write(head + b"\0" * (-len(head) % 4))

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        self._plain.update(data)
        self._emit(self._zstd.compress(data))

    def _emit(self, packed: bytes) -> None:
        if packed:
            self._packed.update(packed)
            self._out.write(packed)


def write(spec: Spec, payload: Payload, packed: IO[bytes], key: SigningKey, out: Path) -> None:
    """Write the whole package: lead, signatures, header, then the payload out of `packed`."""
    digests = payload.finish()
    header = _header(spec, payload, digests).encode()
    packed.flush()
    signatures = _signatures(header, packed.tell(), payload.size, key)
    with out.open("wb") as file:
        file.write(_lead(spec))
        file.write(signatures + b"\0" * (-len(signatures) % 8))
        file.write(header)
        packed.seek(0)
        shutil.copyfileobj(packed, file, 1 << 20)


def _lead(spec: Spec) -> bytes:
    """The historic first 96 bytes; only the magic and the types still matter."""
    name = f"{spec.name}-{spec.version}-{spec.release}".encode()[:65]
    number = _ARCH_NUMBERS.get(spec.arch, 1)
    return (
        bytes.fromhex("edabeedb0300") + (0).to_bytes(2) + number.to_bytes(2)
        + name.ljust(66, b"\0") + (1).to_bytes(2) + (5).to_bytes(2) + b"\0" * 16
    )  # fmt: skip


def _signatures(header: bytes, packed: int, plain: int, key: SigningKey) -> bytes:
    """Digest and signature over the header, which in turn holds the payload's digests."""
    sealed = Header(rpmheader.REGION_SIGNATURES)
    sealed.raw(267, key.sign(header))  # RPMSIGTAG_DSA: header-only, also for EdDSA
    sealed.text(273, hashlib.sha256(header).hexdigest())
    size = len(header) + packed
    if size <= _MAX_INT32 and plain <= _MAX_INT32:
        sealed.ints(1000, [size])
        sealed.ints(1007, [plain])
    else:
        sealed.ints(270, [size], INT64)
        sealed.ints(271, [plain], INT64)
    return sealed.encode()


def _header(spec: Spec, payload: Payload, digests: tuple[str, str]) -> Header:
    header = Header(rpmheader.REGION_IMMUTABLE)
    header.texts(100, ["C"])
    texts = {
        1000: spec.name, 1001: spec.version, 1002: spec.release, 1011: spec.vendor,
        1014: spec.license, 1015: spec.packager, 1020: spec.url, 1021: "linux",
        1022: spec.arch, 1044: spec.source_rpm, 1007: "standin", 1064: "4.20.0",
        1124: "cpio", 1125: "zstd", 1126: str(ZSTD_LEVEL), 5062: "utf-8",
        1010: "cosa stand-in", 1132: f"{spec.arch}-linux",
    }  # fmt: skip
    for tag, value in texts.items():
        if value:
            header.text(tag, value)
    for tag, value in ((1004, spec.summary), (1005, spec.description), (1016, spec.group)):
        header.i18n(tag, value)
    if spec.epoch:
        header.ints(1003, [spec.epoch])
    header.ints(1006, [spec.build_time])
    header.texts(5092, [digests[0]])
    header.ints(5093, [8])
    header.texts(5097, [digests[1]])
    _add_files(header, sorted(payload.files, key=_sort_key))
    _add_dependencies(header, spec, payload)
    for kind, (body, program) in _SCRIPT_TAGS.items():
        if kind in spec.scripts:
            header.text(body, spec.scripts[kind])
            header.texts(program, ["/bin/sh"])
    return header


_SCRIPT_TAGS = {"preun": (1025, 1087), "postun": (1026, 1088), "posttrans": (1152, 1154)}


def _sort_key(file: File) -> bytes:
    return os.fsencode(file.path)


def _add_files(header: Header, files: list[File]) -> None:
    once = {file.inode: file.size for file in files if stat.S_ISREG(file.mode)}
    total = sum(once.values())
    if total <= _MAX_INT32:
        header.ints(1009, [total])
    else:
        header.ints(5009, [total], INT64)
    folders: dict[str, int] = {}
    indexes = [
        folders.setdefault(os.path.dirname(f.path).rstrip("/") + "/", len(folders)) for f in files
    ]
    header.ints(1028, [file.size if not stat.S_ISDIR(file.mode) else 4096 for file in files])
    header.ints(1030, [file.mode for file in files], INT16)
    header.ints(1033, [0 for _ in files], INT16)
    header.ints(1034, [file.mtime for file in files])
    header.texts(1035, [file.digest for file in files])
    header.texts(1036, [file.link for file in files])
    header.ints(1037, [file.flags for file in files])
    header.texts(1039, [file.user for file in files])
    header.texts(1040, [file.group for file in files])
    header.ints(1045, [_MAX_INT32 for _ in files])
    header.ints(1095, [1 for _ in files])
    header.ints(1096, [file.inode for file in files])
    header.texts(1097, ["" for _ in files])
    header.ints(1116, indexes)
    header.texts(1117, [os.path.basename(file.path) for file in files])
    header.texts(1118, list(folders))
    if files:
        header.ints(5011, [8])
    if any(file.caps for file in files):
        header.texts(5010, [file.caps for file in files])


def _add_dependencies(header: Header, spec: Spec, payload: Payload) -> None:
    requires = sorted({*spec.requires, *_rpmlib(spec, payload)})
    tables = (
        (requires, 1049, 1048, 1050),
        (sorted(set(spec.provides)), 1047, 1112, 1113),
        (sorted(set(spec.conflicts)), 1054, 1053, 1055),
        (sorted(set(spec.recommends)), 5046, 5048, 5047),
        (sorted(set(spec.suggests)), 5049, 5051, 5050),
        (sorted(set(spec.enhances)), 5055, 5057, 5056),
    )
    for items, names, flags, versions in tables:
        header.texts(names, [item.name for item in items])
        header.ints(flags, [item.flags for item in items])
        header.texts(versions, [item.evr for item in items])


def _rpmlib(spec: Spec, payload: Payload) -> list[Dependency]:
    """The features of RPM that reading this package takes."""
    wanted = {
        "CompressedFileNames": "3.0.4-1", "PayloadFilesHavePrefix": "4.0-1",
        "FileDigests": "4.6.0-1", "PayloadIsZstd": "5.4.18-1",
    }  # fmt: skip
    everything = [*spec.requires, *spec.conflicts, *spec.recommends, *spec.suggests, *spec.enhances]
    if any(item.name.startswith("(") for item in everything):
        wanted["RichDependencies"] = "4.12.0-1"
    if any(file.caps for file in payload.files):
        wanted["FileCaps"] = "4.6.1-1"
    if any("~" in item.evr for item in (*everything, *spec.provides)):
        wanted["TildeInVersions"] = "4.10.0-1"
    return [
        Dependency(f"rpmlib({name})", LESS | EQUAL | _RPMLIB, version)
        for name, version in wanted.items()
    ]
