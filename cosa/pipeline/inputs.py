"""All that decides a build's bytes, as digests by area and name."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import cosa
from cosa.compose.inputs import compose_inputs
from cosa.compose.resolve import Resolution
from cosa.container.gzipstream import engine_version
from cosa.core import fs, store
from cosa.core.store import Json
from cosa.images.inputs import image_inputs
from cosa.pipeline.definition import Definition
from cosa.pipeline.record import Inputs

_SHARED = ("core", "model", "tools")


def inputs_of(found: Definition, resolution: Resolution, layers: dict[str, Path]) -> Inputs:
    """The inputs of a build, by area: `compose`, `container`, `image`.

    One area serves all platforms, so that which images were asked for does not
    count as a change; qemu's inputs are the largest set.
    """
    image: dict[str, Json] = {"image.yaml": store.step_id("spec", found.image.to_json())}
    if found.platforms:
        image["platforms.yaml"] = fs.sha256_file(found.platforms)
    return {
        "compose": compose_inputs(
            found.tree, resolution.packages, found.config,
            overrides_rootfs=found.overrides_rootfs, extra_layers=layers,
        ),
        "container": {
            "compression": engine_version(),
            "code of cosa": code_digest("container"),
        },
        "image": image | image_inputs("qemu"),
    }  # fmt: skip


@functools.cache
def code_digest(*areas: str) -> str:
    """Digest of our own code in some folders and in those they stand on."""
    root = Path(cosa.__file__).parent
    digest = hashlib.sha256()
    for area in sorted({*areas, *_SHARED}):
        for path in sorted((root / area).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
