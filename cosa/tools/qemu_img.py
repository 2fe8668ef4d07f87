"""qemu-img: disk images from one format to another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosa.core import run


def convert(
    source: Path, out: Path, fmt: str, *, options: Sequence[str] = (), compress: bool = False
) -> None:
    """Convert a raw image; blocks of zeros stay unallocated. Raises `run/failed`."""
    # Not -W: it writes clusters as they come, in an order that changes from run to run.
    argv: list[str | Path] = ["qemu-img", "convert", "-f", "raw", "-O", fmt]
    if compress:
        argv.append("-c")
    for option in options:
        argv += ["-o", option]
    run.run([*argv, source, out])


def info(image: Path) -> Mapping[str, object]:
    """What qemu-img says of an image, parsed."""
    answer = run.run(["qemu-img", "info", "--output=json", image]).out
    parsed: dict[str, object] = json.loads(answer)
    return parsed


def same_content(one: Path, one_fmt: str, other: Path, other_fmt: str) -> bool:
    """Whether two images hold the same bytes, whatever their formats."""
    argv: list[str | Path] = [
        "qemu-img",
        "compare",
        "-q",
        "-f",
        one_fmt,
        "-F",
        other_fmt,
        one,
        other,
    ]
    result = run.run(argv, check=False)
    if result.status > 1:
        raise run.failed(result)
    return result.status == 0
