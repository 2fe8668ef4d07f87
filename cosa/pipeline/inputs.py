"""All that decides a build's bytes, by area and name; what has parts is an object of them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cosa
from cosa.compose.inputs import compose_inputs
from cosa.compose.resolve import Resolution
from cosa.core import codeid, fs
from cosa.core.store import Json
from cosa.images.inputs import image_inputs
from cosa.model import document
from cosa.pipeline import definition
from cosa.pipeline.definition import Definition
from cosa.pipeline.record import Inputs
from cosa.tools import ostree
from cosa.tools.gzipstream import engine_version

# Of the flow itself these files hand options to what makes an artefact.
_FLOW = ("artefacts.py",)


def inputs_of(found: Definition, resolution: Resolution, layers: dict[str, Path]) -> Inputs:
    """The inputs of a build, by area: `compose`, `container`, `image`.

    One area serves all platforms, so that which images were asked for does not
    count as a change; qemu's inputs are the largest set.
    """
    image: dict[str, Json] = {"image.yaml": found.image.to_json()}
    if found.platforms:
        image["platforms.yaml"] = json.loads(json.dumps(document.load(found.platforms).value))
    memory = definition.shared_cache() / "programs.json"
    inputs: Inputs = {
        "compose": compose_inputs(
            found.tree, resolution.packages, found.config,
            overrides_rootfs=found.overrides_rootfs, extra_layers=layers,
        ),
        "container": {
            "name": found.name,
            "stream": str(found.tree.variables.get("stream", "")),
            "compression": engine_version(),
            "ostree": ostree.version(),
            "code of cosa": codeid.modules_behind("container.archive") | _flow(),
        },
        "image": image | image_inputs("qemu", memory) | {"code of the flow": _flow()},
    }  # fmt: skip
    # As they will be read from the record: lists, no tuples.
    plain: Inputs = json.loads(json.dumps(inputs))
    return plain


@cache
def _flow() -> dict[str, str]:
    root = Path(cosa.__file__).parent
    return {f"pipeline/{name}": fs.sha256_file(root / "pipeline" / name) for name in _FLOW}
