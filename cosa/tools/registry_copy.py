"""Images from one repository to another: only what the target lacks, digests kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosa.core.errors import CosaError
from cosa.model.imageref import ImageRef
from cosa.tools.registry import SCHEMA1, Client, Manifest

_IN_MEMORY = 4 << 20  # bytes; larger blobs go through a file


def copy_image(client: Client, source: ImageRef, target: ImageRef) -> str:
    """Copy an image, or a list with all its images; the manifest comes last. Its digest.

    What the target has already is not sent again, so a copy that was cut goes on.
    """
    manifest = client.manifest(source)
    wanted = target if target.tag else target.at(manifest.digest)
    if client.exists(target.at(manifest.digest)) and not target.tag:
        return manifest.digest
    if manifest.media_type in SCHEMA1:
        raise CosaError(
            "registry/schema1", f"{source} has the old format (schema 1)",
            why="its digest would change when copied", fix="push it again with a current tool",
        )  # fmt: skip
    _copy_content(client, manifest, target)
    return client.put_manifest(wanted, manifest.raw, manifest.media_type)


def _copy_content(client: Client, manifest: Manifest, target: ImageRef) -> None:
    if manifest.is_list:
        for one in manifest.data["manifests"]:
            child = client.manifest(manifest.ref.at(one["digest"]))
            _copy_content(client, child, target)
            client.put_manifest(target.at(child.digest), child.raw, child.media_type)
        return
    for descriptor in [*manifest.layers, manifest.config]:
        copy_blob(client, manifest.ref, target, descriptor)


def copy_blob(
    client: Client, source: ImageRef, target: ImageRef, descriptor: Mapping[str, Any]
) -> None:
    """Bring one blob to a repository; on the same host the registry does it itself."""
    digest, size = str(descriptor["digest"]), int(descriptor["size"])
    if source.name == target.name or client.has_blob(target, digest):
        return
    same = source.repository if source.host == target.host else ""
    if size <= _IN_MEMORY:
        data = client.blob(source, digest, limit=max(size, 1))
        client.put_blob(target, digest, data, mount_from=same)
        return
    with tempfile.TemporaryDirectory(prefix="cosa-blob") as folder:
        path = Path(folder) / "blob"
        client.save_blob(source, digest, path)
        client.put_blob(target, digest, path, mount_from=same)
