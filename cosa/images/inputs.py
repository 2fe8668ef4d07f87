"""What decides a disk's bytes besides the commit and the definition's files.

Names and digests of programs, GRUB's modules and our own code, for the step id
of an image. Reading a version from a program costs a process each; file digests
say more and cost less.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cosa
from cosa.core import fs
from cosa.core.store import Json
from cosa.model.platforms import PLATFORMS
from cosa.tools import grub

_PROGRAMS = ("mke2fs", "debugfs", "mkfs.fat", "mcopy", "mmd", "grub-mkimage")
_CODE = (
    "images", "core/fs.py", "tools/gpt.py", "tools/mkfs.py", "tools/grub.py",
    "tools/qemu_img.py", "tools/tarwrite.py", "tools/ostree_objects.py",
    "tools/ostree_read.py",
    "model/imagespec.py", "model/platforms.py",
)  # fmt: skip


def image_inputs(platform: str) -> dict[str, Json]:
    """Digests by readable name, as `explain` shows them. A missing program is `absent`."""
    programs = list(_PROGRAMS)
    if PLATFORMS[platform].format != "raw":
        programs.append("qemu-img")
    found: dict[str, Json] = {f"program {name}": _program(name) for name in programs}
    found["GRUB modules for BIOS"] = _modules()
    found["code of cosa"] = _code()
    return found


@cache
def _program(name: str) -> str:
    path = shutil.which(name)
    return fs.sha256_file(Path(path).resolve()) if path else "absent"


@cache
def _modules() -> str:
    if not grub.MODULES.is_dir():
        return "absent"
    names = grub.with_dependencies((*grub.CORE, "linux"))
    paths = [grub.MODULES / f"{name}.mod" for name in names]
    return _digest([grub.MODULES / "boot.img", grub.MODULES / "kernel.img", *paths])


@cache
def _code() -> str:
    root = Path(cosa.__file__).parent
    paths: list[Path] = []
    for name in _CODE:
        path = root / name
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return _digest(paths)


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{fs.sha256_file(path)}\n".encode())
    return digest.hexdigest()
