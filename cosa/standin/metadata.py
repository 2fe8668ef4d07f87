"""Repository metadata from per-package pieces, equal for equal packages.

createrepo_c reads each RPM once; its XML is kept beside the RPM and only
joined afterwards, so a repository of hundreds takes a fraction of a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import createrepo_c as cr

from cosa.core import fs

_KINDS = ("primary", "filelists", "other")


def describe(rpm: Path, href: str) -> dict[str, str | int]:
    """The XML of one RPM for each kind of metadata, and its build time."""
    package = cr.package_from_rpm(str(rpm))
    package.location_href = href
    package.time_file = package.time_build  # when the file was written does not matter
    pieces: dict[str, str | int] = dict(zip(_KINDS, cr.xml_dump(package), strict=True))
    return pieces | {"time": package.time_build}


def write(folder: Path, packages: Sequence[Path]) -> bytes:
    """Make `folder/repodata` from files that hold `describe`'s results; repomd.xml's content."""
    repodata = folder / "repodata"
    repodata.mkdir()
    pieces = [json.loads(path.read_text()) for path in packages]
    newest = max((int(piece["time"]) for piece in pieces), default=0)
    makers = {
        "primary": cr.PrimaryXmlFile, "filelists": cr.FilelistsXmlFile, "other": cr.OtherXmlFile,
    }  # fmt: skip
    repomd = cr.Repomd()
    repomd.set_revision(str(newest))
    for kind in _KINDS:
        path = repodata / f"{kind}.xml.zst"
        stat = cr.ContentStat(cr.SHA256)
        file = makers[kind](str(path), cr.ZSTD_COMPRESSION, stat)
        file.set_num_of_pkgs(len(pieces))
        for piece in pieces:
            file.add_chunk(piece[kind])
        file.close()
        record = cr.RepomdRecord(kind, str(path))
        record.load_contentstat(stat)
        record.fill(cr.SHA256)
        record.timestamp = newest
        record.rename_file()
        repomd.set_record(record)
    text: bytes = repomd.xml_dump().encode()
    fs.atomic_write(repodata / "repomd.xml", text)
    return text
