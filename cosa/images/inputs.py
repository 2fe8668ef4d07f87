"""What decides a disk's bytes besides the commit and the definition's files.

Programs, GRUB's modules and our own code by name, for the step id of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cosa.core import codeid, fs
from cosa.core.store import Json
from cosa.model.platforms import PLATFORMS
from cosa.tools import grub, programs

_PROGRAMS = ("mke2fs", "debugfs", "mkfs.fat", "mcopy", "mmd", "grub-mkimage")
# Where the making of a disk begins; what they import counts as well.
_CODE = ("images.disk", "images.produce")


def image_inputs(platform: str, memory: Path | None = None) -> dict[str, Json]:
    """Identities and digests by readable name, as `explain` shows them.

    A missing program is `absent`. `memory` is as with `programs.identities`.
    """
    names = list(_PROGRAMS)
    if PLATFORMS[platform].format != "raw":
        names.append("qemu-img")
    found: dict[str, Json] = {
        f"program {name}": identity for name, identity in programs.identities(names, memory).items()
    }
    found["GRUB modules for BIOS"] = _modules()
    found["code of cosa"] = codeid.modules_behind(*_CODE)
    return found


@cache
def _modules() -> str:
    if not grub.MODULES.is_dir():
        return "absent"
    names = grub.with_dependencies((*grub.CORE, "linux"))
    paths = [grub.MODULES / f"{name}.mod" for name in names]
    return _digest([grub.MODULES / "boot.img", grub.MODULES / "kernel.img", *paths])


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{fs.sha256_file(path)}\n".encode())
    return digest.hexdigest()
