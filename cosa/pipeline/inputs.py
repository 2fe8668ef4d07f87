"""All that decides a build's bytes, as digests by area and name."""

from __future__ import annotations

import functools
import hashlib
import shutil
from pathlib import Path

import cosa
from cosa.compose.inputs import compose_inputs
from cosa.compose.resolve import Resolution
from cosa.core import fs, store
from cosa.core.store import Json
from cosa.pipeline.definition import Definition
from cosa.pipeline.record import Inputs
from cosa.tools import grub

# What writes the bytes of a disk, besides our own code. A program's file changes with
# every release of its package.
_PROGRAMS = ("mke2fs", "debugfs", "mkfs.fat", "mcopy", "mmd", "grub-mkimage", "qemu-img")
_SHARED = ("core", "model", "tools")


def inputs_of(found: Definition, resolution: Resolution, layers: dict[str, Path]) -> Inputs:
    """The inputs of a build, by area: `compose`, `container`, `image`."""
    image: dict[str, Json] = {"image.yaml": store.step_id("spec", found.image.to_json())}
    if found.platforms:
        image["platforms.yaml"] = fs.sha256_file(found.platforms)
    return {
        "compose": compose_inputs(
            found.tree, resolution.packages, found.config,
            overrides_rootfs=found.overrides_rootfs, extra_layers=layers,
        ),
        "container": {"cosa": code_digest("container")},
        "image": image | image_tools(),
    }  # fmt: skip


def image_tools() -> dict[str, Json]:
    """Digests of what makes disks: programs, GRUB's modules, our code."""
    found: dict[str, Json] = {"cosa": code_digest("images")}
    for program in _PROGRAMS:
        place = shutil.which(program)
        found[f"program {program}"] = fs.sha256_file(Path(place)) if place else "missing"
    if grub.MODULES.is_dir():
        digest = hashlib.sha256()
        for path in sorted(grub.MODULES.iterdir()):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
        found["GRUB modules"] = digest.hexdigest()
    return found


@functools.cache
def code_digest(*areas: str) -> str:
    """Digest of our own code in some folders and in those they stand on."""
    root = Path(cosa.__file__).parent
    digest = hashlib.sha256()
    for area in sorted({*areas, *_SHARED}):
        for path in sorted((root / area).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
