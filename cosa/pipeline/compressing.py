"""Programs that compress one file, the same to the bit wherever they run.

Levels are upstream's: xz 9, gzip 6, zstd 10, zip 9.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cosa.core import fs, parallel, run
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import facilities

_XZ_MEMORY = 1300 << 20  # per thread at level 9: a dictionary of 64 MiB and blocks of 192 MiB


@dataclass(frozen=True)
class Compressor:
    """A way to compress: its name, the suffix files get, the level."""

    name: str
    suffix: str
    level: int

    @property
    def threads(self) -> int:
        """How many processors one file keeps busy."""
        return 1 if self.name in ("gzip", "zip") else parallel.jobs()


COMPRESSORS = {
    each.name: each
    for each in (
        Compressor("xz", ".xz", 9), Compressor("gzip", ".gz", 6), Compressor("zstd", ".zst", 10),
        Compressor("zip", ".zip", 9),
    )
}  # fmt: skip
_BY_SUFFIX = {each.suffix: each for each in COMPRESSORS.values()}


def of_file(name: str) -> Compressor | None:
    """What a file was compressed with, by its name."""
    return _BY_SUFFIX.get(os.path.splitext(name)[1])


def compress(source: Path, out: Path, how: Compressor) -> None:
    """Compress a file into another. Raises `run/failed`, `env/missing-tool`."""
    if how.name == "zip":
        _zip(source, out, how.level)
        return
    argv = {
        # +N: blocks as with many threads even on one processor, so that the result is the same.
        "xz": ["xz", "-c", f"-{how.level}", f"-T+{_xz_threads()}"],
        "gzip": ["gzip", "-c", "-n", f"-{how.level}"],
        "zstd": ["zstd", "-q", "-c", f"-{how.level}", f"-T{parallel.jobs()}"],
    }[how.name]
    with out.open("wb") as file:
        run.run([*argv, source], stdout=file)


def decompress(source: Path, out: Path, how: Compressor, limit: int) -> None:
    """Decompress a file into another; zeros become holes.

    Raises `compress/too-big` when it unfolds to more than `limit` bytes, and what
    `compress` raises.
    """

    def look() -> None:
        if out.stat().st_size > limit:
            raise CosaError(
                "compress/too-big", f"{source.name} unfolds to more than {fs.mib(limit)}",
                why="that is the size its build's metadata gives", exit_class=ExitClass.UNTRUSTED,
            )  # fmt: skip

    if how.name == "zip":
        _unzip(source, out, look)
    else:
        with out.open("wb") as file:
            run.run([how.name, "-dc", source], stdout=file, poll=look)
    look()
    run.run(["fallocate", "--dig-holes", out], check=False)


def _xz_threads() -> int:
    return max(1, min(parallel.jobs(), facilities.memory()[0] // _XZ_MEMORY))


def _zip(source: Path, out: Path, level: int) -> None:
    # A fixed day and mode: the same file gives the same archive.
    entry = zipfile.ZipInfo(source.name)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive,
        source.open("rb") as file,
        archive.open(entry, "w", force_zip64=True) as packed,
    ):
        shutil.copyfileobj(file, packed, fs.CHUNK)


def _unzip(source: Path, out: Path, look: Callable[[], None]) -> None:
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise CosaError(
                "compress/contents", f"{source.name} holds {len(names)} files, not one",
                exit_class=ExitClass.UNTRUSTED,
            )  # fmt: skip
        with archive.open(names[0]) as packed, out.open("wb") as file:
            while chunk := packed.read(fs.CHUNK):
                file.write(chunk)
                file.flush()
                look()
