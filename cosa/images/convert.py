"""From a platform's raw disk to the file users get: one module per format below formats/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.images.formats import qcow2, raw

type Converter = Callable[[Path, Path], None]

FORMATS: dict[str, Converter] = {"qcow2": qcow2.convert, "raw": raw.convert}


def convert(source: Path, out: Path, fmt: str) -> None:
    """Write the raw disk `source` as `fmt` to `out`, which appears when it is complete.

    Raises `image/format` for a format that cannot be made, `run/failed`,
    `env/disk-full`.
    """
    if fmt not in FORMATS:
        raise CosaError(
            "image/format", f"disks cannot be stored as {fmt}",
            why=f"possible are {', '.join(FORMATS)}", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    fs.need_space(out.parent, source.stat().st_blocks * 512, f"{out.name}")
    with fs.private_dir(out.parent, fmt) as work:
        made = work / out.name
        FORMATS[fmt](source, made)
        fs.publish(made, out)
