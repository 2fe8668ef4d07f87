"""Images to registries: an archive of a build pushed, several architectures joined in a list.

Only what the repository lacks is sent, so an interrupted push goes on where it was,
and nothing travels twice. Digests are what `skopeo copy --preserve-digests` gives for OCI;
Docker's format (`v2s2`) holds the same blobs under another manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.container.ociread import GO_ARCH, Image
from cosa.core import events, parallel
from cosa.core.errors import CosaError
from cosa.model.imageref import ImageRef
from cosa.tools.registry import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Client
from cosa.tools.registry_http import Part

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_UPLOADS = 4


@dataclass(frozen=True)
class Member:
    """One architecture's image in a list."""

    arch: str
    digest: str
    size: int
    media_type: str


def push_archive(
    client: Client, archive: Path, arch: str, target: ImageRef, *, v2s2: bool = False
) -> str:
    """Push an ociarchive of a build under the target's tag; the image's digest.

    Raises `import/damaged` for an archive that is not sound, `container/not-v2s2` for
    layers Docker's format cannot hold, `registry/...`.
    """
    image = Image(archive, arch)
    manifest, kind = image.manifest_text, OCI_MANIFEST
    data = json.loads(manifest)
    if v2s2:
        manifest, kind = _as_docker(data, archive), DOCKER_MANIFEST
    blobs = [*data["layers"], data["config"]]
    with events.step("push") as step:
        step.summary = f"{target}, {len(blobs)} blobs"

        def send(blob: Mapping[str, Any]) -> bool:
            offset, size = image.part(blob["digest"])
            return client.put_blob(target, blob["digest"], Part(archive, offset, size))

        sent = parallel.each(send, blobs, limit=_UPLOADS)
        step.summary = f"{sum(sent)} of {len(blobs)} blobs were not there yet"
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        # By digest first: a tag must never name what is not whole.
        if not client.exists(target.at(digest)):
            client.put_manifest(target.at(digest), manifest, kind)
        if target.tag:
            client.put_manifest(target, manifest, kind)
    return digest


def _as_docker(data: Mapping[str, Any], archive: Path) -> bytes:
    for layer in data["layers"]:
        if not str(layer.get("mediaType", "")).endswith("tar+gzip"):
            raise CosaError(
                "container/not-v2s2", f"{archive} cannot be pushed in Docker's format",
                why=f"it has a layer of the type {layer.get('mediaType')}",
                fix="push it with --format oci",
            )  # fmt: skip
    made = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": _descriptor(data["config"], _DOCKER_CONFIG),
        "layers": [_descriptor(layer, _DOCKER_LAYER) for layer in data["layers"]],
    }
    return json.dumps(made, separators=(",", ":")).encode()


def _descriptor(blob: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "size": blob["size"], "digest": blob["digest"]}


def make_list(members: Sequence[Member], *, v2s2: bool = False) -> tuple[bytes, str]:
    """A manifest list of several architectures, in the order of their names; and its type."""
    kind = DOCKER_LIST if v2s2 else OCI_INDEX
    data = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [
            {
                "mediaType": one.media_type,
                "size": one.size,
                "digest": one.digest,
                "platform": {"architecture": GO_ARCH.get(one.arch, one.arch), "os": "linux"},
            }
            for one in sorted(members, key=lambda one: one.arch)
        ],
    }
    return json.dumps(data, separators=(",", ":")).encode(), kind
