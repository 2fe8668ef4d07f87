"""OCI archives: a tar of an OCI image layout, as `skopeo copy oci-archive:` reads.

Same content, same bytes: no times, lists sorted, the compressor independent of
the number of processors (OCI image-spec 1.1).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from cosa.core import events
from cosa.core.store import Json
from cosa.tools import tarwrite
from cosa.tools.gzipstream import GzipWriter

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"

# Go's names of architectures, which OCI uses, by ours.
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Layer:
    """A written layer: digests in hex, size compressed; `annotations` go into the manifest."""

    digest: str
    size: int
    diffid: str
    created_by: str
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """What was written: hex digests of manifest and config, the manifest's text."""

    manifest_digest: str
    config_digest: str
    manifest: str


class OciArchive:
    """Writes an archive into an open, seekable file: layers first, then `finish`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._layers: list[Layer] = []
        self._add("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))

    def layer(
        self, title: str, fill: Callable[[GzipWriter], None],
        annotations: Mapping[str, str] | None = None,
    ) -> Layer:  # fmt: skip
        """Write a layer's blob straight into the archive; its name is known only afterwards."""
        file = self._file
        start = file.tell()
        file.write(b"\0" * tarwrite.BLOCK)
        short = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", title)
        with events.step(f"layer: {short}") as step, GzipWriter(file) as gz:
            fill(gz)
        step.size = gz.size
        file.write(b"\0" * tarwrite.padding(gz.size))
        end = file.tell()
        file.seek(start)
        file.write(_header(f"blobs/sha256/{gz.digest}", gz.size))
        file.seek(end)
        made = Layer(gz.digest, gz.size, gz.plain_digest, title, dict(annotations or {}))
        self._layers.append(made)
        return made

    def finish(
        self, labels: Mapping[str, str], *, arch: str, created: str,
        command: Sequence[str] | None = None, annotations: Mapping[str, str] | None = None,
    ) -> Written:  # fmt: skip
        """Write configuration, manifest and index; `arch` is ours (x86_64)."""
        inner: dict[str, Json] = {"Labels": dict(labels)}
        if command:
            inner["Cmd"] = list(command)
        # diff_ids, history and the manifest's layers correspond one to one.
        config = _json({
            "architecture": _GO_ARCH.get(arch, arch),
            "os": "linux",
            "created": created,
            "config": inner,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{x.diffid}" for x in self._layers]},
            "history": [{"created": created, "created_by": x.created_by} for x in self._layers],
        })  # fmt: skip
        config_digest = self._blob(config)
        content: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config_digest, len(config)),
            "layers": [_descriptor(_LAYER, x.digest, x.size, x.annotations) for x in self._layers],
        }
        if annotations:
            content["annotations"] = dict(annotations)
        manifest = _json(content)
        digest = self._blob(manifest)
        name = {"org.opencontainers.image.ref.name": "latest"}
        reference = _descriptor(_MANIFEST, digest, len(manifest), name)
        reference["platform"] = {"architecture": _GO_ARCH.get(arch, arch), "os": "linux"}
        index: dict[str, Json] = {
            "schemaVersion": 2, "mediaType": _INDEX, "manifests": [reference],
        }  # fmt: skip
        self._add("index.json", _json(index))
        self._file.write(tarwrite.end())
        return Written(digest, config_digest, manifest.decode())

    def _blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._add(f"blobs/sha256/{digest}", data)
        return digest

    def _add(self, name: str, data: bytes) -> None:
        self._file.write(_header(name, len(data)))
        self._file.write(tarwrite.padded(data))


def _header(name: str, size: int) -> bytes:
    return tarwrite.header(tarwrite.REGULAR, name.encode(), size=size)


def _descriptor(
    media: str, digest: str, size: int, annotations: Mapping[str, str] | None = None
) -> dict[str, Json]:
    found: dict[str, Json] = {"mediaType": media, "digest": f"sha256:{digest}", "size": size}
    if annotations:
        found["annotations"] = dict(annotations)
    return found


def _json(value: Mapping[str, Json]) -> bytes:
    """Canonical JSON: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
