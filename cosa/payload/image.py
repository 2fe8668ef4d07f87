"""The release image: the base image with one layer more, as bytes ready for a registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosa.payload.assemble import Release
from cosa.payload.component import Image
from cosa.payload.errors import refused
from cosa.payload.layer import Packed, pack_release
from cosa.tools.registry import DOCKER_MANIFEST, OCI_MANIFEST

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
NAME_LABEL = "io.openshift.release"
BASE_LABEL = "io.openshift.release.base-image-digest"
_COMMENT = "Release image for OpenShift"


@dataclass(frozen=True)
class ReleaseImage:
    """A release image: manifest, configuration and the one new layer."""

    manifest: bytes
    media_type: str
    config: bytes
    layer: Packed
    base: Image

    @property
    def digest(self) -> str:
        """The image's digest."""
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"

    @property
    def config_digest(self) -> str:
        """The configuration's digest."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"


def release_image(release: Release, base: Image, created: str, *, oci: bool) -> ReleaseImage:
    """The release laid over its base image. Raises `payload/bad-base`."""
    layer = pack_release(release.files, release.newest)
    config = _config(release, base, layer, created)
    raw = json.dumps(config, separators=(",", ":"), sort_keys=True).encode()
    layers = [_descriptor(one, base, oci=oci) for one in base.manifest.layers]
    layers.append({
        "mediaType": _OCI_LAYER if oci else _DOCKER_LAYER,
        "size": len(layer.data), "digest": layer.digest,
    })  # fmt: skip
    kind = OCI_MANIFEST if oci else DOCKER_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {
            "mediaType": _OCI_CONFIG if oci else _DOCKER_CONFIG,
            "size": len(raw),
            "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}",
        },
        "layers": layers,
    }
    text = json.dumps(manifest, indent=3).encode()
    return ReleaseImage(text, kind, raw, layer, base)


def _descriptor(layer: Mapping[str, Any], base: Image, *, oci: bool) -> dict[str, Any]:
    kind = str(layer.get("mediaType", ""))
    if "zstd" in kind and not oci:
        raise refused(
            "bad-base", f"the base image {base.ref} has layers packed with zstd",
            why="images of Docker's format cannot have them, and old readers neither",
            fix="push the base image with gzip layers, or pass --oci",
        )  # fmt: skip
    if oci:
        known = kind if kind.startswith("application/vnd.oci.") else _OCI_LAYER
    else:
        known = _DOCKER_LAYER
    return {"mediaType": known, "size": layer["size"], "digest": layer["digest"]}


def _config(release: Release, base: Image, layer: Packed, created: str) -> dict[str, Any]:
    """The base's configuration: entry point, environment and architecture stay, labels go."""
    diff_ids = (base.config.get("rootfs") or {}).get("diff_ids") or []
    if len(diff_ids) != len(base.manifest.layers):
        raise refused(
            "bad-base", f"the configuration of the base image {base.ref} names"
            f" {len(diff_ids)} layers, its manifest {len(base.manifest.layers)}",
            untrusted=True,
        )  # fmt: skip
    run = dict(base.config.get("config") or {})
    run["Labels"] = {NAME_LABEL: release.stream.name, BASE_LABEL: base.manifest.digest}
    history: list[dict[str, Any]] = [{"created": created, "comment": _COMMENT}]
    history += [{"created": created} for _ in base.manifest.layers]
    kept = {
        key: base.config[key] for key in ("architecture", "os", "variant", "os.version")
        if base.config.get(key)
    }  # fmt: skip
    return {
        "architecture": "amd64", "os": "linux", **kept,
        "created": created,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids, layer.diff_id]},
        "history": history,
    }  # fmt: skip
