"""The images of a release, read: labels from their configurations, manifests from their layers.

Only configurations and last layers are fetched, by digest, side by side: that
is all a release needs. `cache` keeps what operators' layers held, by digest of
the layer, because a layer never changes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cosa.core import events, parallel
from cosa.core.errors import Problems
from cosa.model.imageref import ImageRef
from cosa.payload.errors import refused
from cosa.payload.imagestream import (
    ALWAYS,
    OPERATOR,
    OVERRIDE,
    WHEN_SET,
    ImageStream,
    Tag,
    by_digest,
)
from cosa.payload.layer import LAYER_LIMIT, File, Pieces, files_below
from cosa.tools.registry import SCHEMA1, Client, Manifest

PARALLEL = 12
_LOOKED_AT = 32 << 20  # bytes of an earlier layer that is looked through for lost manifests
_PRELOADED = 1 << 20  # layers up to this size are read in one answer, and checked at once
METALAYER = "io.openshift.metalayer"


@dataclass(frozen=True)
class Image:
    """One component's image: manifest for one architecture, and its configuration."""

    tag: Tag
    ref: ImageRef
    manifest: Manifest
    config: Mapping[str, Any]
    listed: Manifest | None = None  # the manifest list it came from

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def is_operator(self) -> bool:
        """Any non-empty label counts, even "false": so do all readers."""
        return bool(self.labels.get(OPERATOR))

    @property
    def size(self) -> int:
        """Bytes of all layers, as stored."""
        return sum(int(layer["size"]) for layer in self.manifest.layers)


@dataclass(frozen=True)
class Operator:
    """What an operator contributes: its files, and the image stream it refers to."""

    image: Image
    files: tuple[File, ...]
    references: ImageStream | None = None
    lost: tuple[str, ...] = field(default=())


def read_images(
    client: Client, tags: Sequence[Tag], *, arch: str = "amd64", missing_ok: bool = False
) -> dict[str, Image]:
    """All images of a release by tag, side by side; every failure at once.

    With `missing_ok`, images the registry does not have are left out with a warning.
    """
    problems = Problems()

    def one(tag: Tag) -> Image | None:
        try:
            return read_image(client, tag, arch)
        except Exception as err:
            if missing_ok and getattr(err, "code", "") == "registry/no-image":
                events.warn(f"the image of {tag.name} is not in its registry: {tag.pullspec}")
                return None
            with problems.collecting():
                raise
            return None

    found = parallel.each(one, tags, limit=PARALLEL)
    problems.raise_if_any("images of the release cannot be read")
    return {image.tag.name: image for image in found if image}


def read_image(client: Client, tag: Tag, arch: str = "amd64") -> Image:
    """One component's manifest and configuration, its annotations filled from its labels."""
    ref = by_digest(tag)
    manifest = client.manifest(ref)
    if manifest.media_type in SCHEMA1:
        raise refused(
            "schema1", f'the image of the tag "{tag.name}" has the old format (schema 1): {ref}',
            why="its digest would change when mirrored",
            fix="push it again with a current tool",
        )  # fmt: skip
    listed = None
    if manifest.is_list:
        listed, manifest = manifest, client.manifest(_choose(manifest, tag, arch))
    config = _config(client, manifest, tag)
    tag = Tag(tag.name, tag.pullspec, _annotated(tag, config))
    return Image(tag, ref, manifest, config, listed)


def _choose(manifest: Manifest, tag: Tag, arch: str) -> ImageRef:
    for one in manifest.data["manifests"]:
        platform = one.get("platform") or {}
        if platform.get("os", "linux") == "linux" and platform.get("architecture") == arch:
            return manifest.ref.at(one["digest"])
    there = sorted(
        str((one.get("platform") or {}).get("architecture")) for one in manifest.data["manifests"]
    )
    raise refused(
        "no-architecture", f'the image of the tag "{tag.name}" is not there for linux/{arch}',
        why=f"it is there for {', '.join(there)}",
    )  # fmt: skip


def _config(client: Client, manifest: Manifest, tag: Tag) -> Mapping[str, Any]:
    raw = client.blob(manifest.ref, str(manifest.config["digest"]))
    try:
        config = json.loads(raw)
        labels = (config.get("config") or {}).get("Labels") or {}
        if not all(isinstance(value, str) for value in labels.values()):
            raise TypeError("labels must be strings")
    except (ValueError, AttributeError, TypeError) as err:
        raise refused(
            "bad-config", f'the configuration of the image of "{tag.name}" cannot be read',
            why=str(err), untrusted=True,
        ) from None  # fmt: skip
    result: Mapping[str, Any] = config
    return result


def _annotated(tag: Tag, config: Mapping[str, Any]) -> dict[str, str]:
    labels = (config.get("config") or {}).get("Labels") or {}
    own = {} if tag.annotations.get(OVERRIDE) == "true" else dict(tag.annotations)
    found = own | {name: labels.get(name, "") for name in ALWAYS}
    found |= {name: labels[name] for name in WHEN_SET if labels.get(name)}
    if tag.annotations.get(OVERRIDE) == "true":
        found[OVERRIDE] = "true"
    return found


def read_operator(
    client: Client, image: Image, *, every_layer: bool = False, folder: str = "manifests"
) -> Operator:
    """An operator's manifests: from the last layer that readers look at, or from all layers.

    Manifests in earlier layers are lost to `oc`; their names come back in `lost`,
    when they can be seen without reading large layers.
    """
    name = image.tag.name
    layers = image.manifest.layers
    if not layers:
        raise refused("no-layers", f'the image of the tag "{name}" has no layers')
    found: dict[str, File] = {}
    for layer in layers if every_layer else layers[-1:]:
        for file in read_layer(client, image, layer, folder):
            found[file.name] = file
    lost: list[str] = []
    if not every_layer and not found:
        lost = _lost(client, image, folder)
    files = tuple(found[key] for key in sorted(found) if key != "image-references")
    references = None
    if "image-references" in found:
        references = _references(found["image-references"].data, name)
    return Operator(image, files, references, tuple(lost))


def _lost(client: Client, image: Image, folder: str) -> list[str]:
    """Names of manifests in layers before the last, which `oc` would silently drop."""
    names: set[str] = set()
    for layer in image.manifest.layers[:-1]:
        if int(layer["size"]) > _LOOKED_AT:
            continue  # a base with a whole OS in it: not worth a download for a warning
        names |= {file.name for file in read_layer(client, image, layer, folder)}
    return sorted(names)


def read_layer(client: Client, image: Image, layer: Mapping[str, Any], folder: str) -> list[File]:
    """The files right below a folder of one layer, its digest checked."""
    digest, size = str(layer["digest"]), int(layer["size"])
    if size > LAYER_LIMIT:
        raise refused(
            "too-big", f'a layer of the image of "{image.tag.name}" has {size} bytes',
            untrusted=True,
        )  # fmt: skip
    if size <= _PRELOADED:
        data = client.blob(image.manifest.ref, digest, limit=_PRELOADED)
        return files_below(io.BytesIO(data), folder, image.tag.name)
    with client.opened(image.manifest.ref, digest) as pieces:
        checked = _Checked(Pieces(pieces))
        files = files_below(checked, folder, image.tag.name)  # type: ignore[arg-type]
        checked.finish(digest, image.tag.name)
    return files


class _Checked(io.RawIOBase):
    """A stream that knows the digest of all that went through it."""

    def __init__(self, source: Pieces) -> None:
        import hashlib

        self._source = source
        self._state = hashlib.sha256()

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._state.update(data)
        return data

    def finish(self, digest: str, name: str) -> None:
        """Read what is left. Raises `registry/wrong-digest`."""
        while self.read(1 << 20):
            pass
        if f"sha256:{self._state.hexdigest()}" != digest:
            raise refused(
                "wrong-digest", f'a layer of the image of "{name}" does not match its digest',
                why="failed content verification", untrusted=True,
            )  # fmt: skip


def _references(data: bytes, name: str) -> ImageStream:
    from cosa.payload.documents import one_object
    from cosa.payload.imagestream import parse

    origin = f"{name}/image-references"
    return parse(one_object(data, origin), origin)
