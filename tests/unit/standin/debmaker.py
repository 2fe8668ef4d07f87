"""Small Debian packages made in memory, good and bad ones alike."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import zstandard

PACK = {
    "": lambda raw: raw,
    ".xz": lzma.compress,
    ".gz": lambda raw: gzip.compress(raw, mtime=0),
    ".zst": zstandard.compress,
    ".lzma": lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE),
}
MTIME = 1_700_000_000


@dataclass
class Entry:
    """One tar entry; the kind follows from what is given, or is said outright."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    link: str = ""
    kind: bytes = tarfile.REGTYPE
    user: str = "root"
    group: str = "root"
    pax: dict[str, str] = field(default_factory=dict)
    claim: int = -1  # a size other than the data's


def folder(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, mode=mode, kind=tarfile.DIRTYPE)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, link=target, mode=0o777, kind=tarfile.SYMTYPE)


def hardlink(name: str, target: str) -> Entry:
    return Entry(name, link=target, kind=tarfile.LNKTYPE)


def tar(entries: Iterable[Entry], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.mode, info.type, info.linkname = entry.mode, entry.kind, entry.link
        info.uname, info.gname, info.mtime = entry.user, entry.group, MTIME
        info.size = len(entry.data) if entry.claim < 0 else entry.claim
        info.pax_headers = entry.pax
        out.write(info.tobuf(form, errors="surrogateescape"))
        out.write(entry.data + b"\0" * (-len(entry.data) % 512))
    return out.getvalue() + b"\0" * 1024


def ar(sections: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in sections.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        out += head.encode() + data + b"\n" * (len(data) % 2)
    return out


def control(name: str = "tiny", version: str = "1.0-1", arch: str = "amd64", **more: str) -> str:
    fields = {
        "Package": name, "Version": version, "Architecture": arch,
        "Maintainer": "Somebody <s@example.org>", "Section": "misc",
        "Description": f"the {name} package\n With a longer text.\n .\n And a second paragraph.",
    }  # fmt: skip
    fields |= {key.replace("_", "-"): value for key, value in more.items()}
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


PLAIN = (
    folder("./"), folder("./usr/"), folder("./usr/bin/"),
    Entry("./usr/bin/tiny", b"#!/bin/sh\necho tiny\n", 0o755),
)  # fmt: skip


def deb(
    text: str = "",
    entries: Iterable[Entry] = PLAIN,
    parts: Mapping[str, bytes] | None = None,
    *,
    data_suffix: str = ".xz",
    control_suffix: str = ".xz",
    data: bytes | None = None,
    form: int = tarfile.GNU_FORMAT,
) -> bytes:
    files = {"control": (text or control()).encode(), **(parts or {})}
    inner = tar([folder("./"), *(Entry(f"./{name}", raw) for name, raw in files.items())])
    payload = PACK[data_suffix](tar(entries, form)) if data is None else data
    return ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{control_suffix}": PACK[control_suffix](inner),
            f"data.tar{data_suffix}": payload,
        }
    )
