"""A release that exists: its image, what it lists, and its manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosa.core.errors import Problems
from cosa.model.imageref import ImageRef, parse_ref
from cosa.payload import component, versions
from cosa.payload.component import Image
from cosa.payload.documents import objects
from cosa.payload.errors import refused
from cosa.payload.imagestream import ImageStream, Tag, by_digest, load_json, parse
from cosa.payload.layer import File
from cosa.tools.registry import Client

FOLDER = "release-manifests"
REFERENCES, METADATA = "image-references", "release-metadata"


@dataclass(frozen=True)
class Payload:
    """A release: its image, image stream, metadata, and manifests by name."""

    ref: ImageRef
    image: Image
    stream: ImageStream
    metadata: Mapping[str, Any]
    files: Mapping[str, File]
    raw_references: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The release's version."""
        return str(self.metadata.get("version") or self.stream.name)

    @property
    def digest(self) -> str:
        """Digest of its image, of the list where it is one."""
        return (self.image.listed or self.image.manifest).digest

    @property
    def manifests(self) -> dict[str, File]:
        """The manifests alone, without the release's own two files."""
        return {k: v for k, v in self.files.items() if k not in (REFERENCES, METADATA)}


def load(client: Client, pullspec: str, *, arch: str = "amd64") -> Payload:
    """Read a release from a registry. Raises `payload/not-a-release` and what is wrong with it."""
    ref = parse_ref(pullspec)
    manifest = client.manifest(ref)
    pinned = ref.at(manifest.digest)
    image = component.read_image(client, Tag("release", str(pinned)), arch)
    files = _files(client, image)
    if REFERENCES not in files:
        raise refused(
            "not-a-release", f"{pullspec}: release image did not contain an {REFERENCES} file",
            why=f"its layers hold no entry {FOLDER}/{REFERENCES}",
            fix="name a release image, not one of its components",
        )  # fmt: skip
    problems = Problems()
    data: Any = {}
    metadata: Any = {}
    stream = ImageStream("", ())
    with problems.collecting():
        data = load_json(files[REFERENCES].data, f"{pullspec}: {REFERENCES}")
        stream = parse(data, f"{pullspec}: {REFERENCES}")
    with problems.collecting():
        metadata = _metadata(files.get(METADATA), pullspec)
    problems.raise_if_any(f"{pullspec} is not a valid release")
    return Payload(pinned, image, stream, metadata, files, data)


def _files(client: Client, image: Image) -> dict[str, File]:
    """What the last layer holds; releases put together by others may use several."""
    found: dict[str, File] = {}
    for layer in reversed(image.manifest.layers):
        for file in component.read_layer(client, image, layer, FOLDER):
            found.setdefault(file.name, file)
        if REFERENCES in found:
            break
    return dict(sorted(found.items()))


def _metadata(file: File | None, pullspec: str) -> Mapping[str, Any]:
    if file is None:
        return {}
    data = load_json(file.data, f"{pullspec}: {METADATA}")
    if not isinstance(data, dict) or data.get("kind") != "cincinnati-metadata-v0":
        raise refused(
            "not-a-release", f"{pullspec}: unrecognized {METADATA}",
            why="an object of kind cincinnati-metadata-v0 was expected",
        )  # fmt: skip
    if not versions.is_semver(str(data.get("version", ""))):
        raise refused(
            "not-a-release", f"{pullspec}: the version in {METADATA} is not a semantic version",
            why=f"it is {data.get('version')!r}",
        )  # fmt: skip
    return data


def component_versions(payload: Payload) -> dict[str, versions.Component]:
    """Versions of components by key, as the images' annotations declare them."""
    found = versions.by_key(payload.stream.tags)
    return {key: declared[0] for key, declared in sorted(found.items())}


def image_for(payload: Payload, name: str) -> str:
    """The pullspec of a component. Raises `payload/no-such-image` naming the release."""
    tag = payload.stream.find(name)
    if tag is None:
        from difflib import get_close_matches

        near = get_close_matches(name, [one.name for one in payload.stream.tags], n=1)
        raise refused(
            "no-such-image", f'no image tag "{name}" exists in the release image {payload.ref}',
            why=f"it is release {payload.version}",
            fix=f"did you mean {near[0]!r}?" if near else "see the names with --pullspecs",
        )  # fmt: skip
    return str(by_digest(tag))


def trusted_keys(payload: Payload) -> dict[str, str]:
    """What a cluster on this release trusts: `verifier-public-key-*` and `store-*` by name.

    Empty when the release names no ConfigMap of them: every update needs force then.
    """
    for name, file in payload.manifests.items():
        if b"verification-config-map" not in file.data:
            continue
        for one in objects(file.data, name):
            if one.kind == "ConfigMap" and (
                "release.openshift.io/verification-config-map" in one.annotations
            ):
                data = one.data.get("data") or {}
                return {str(key): str(value) for key, value in data.items()}
    return {}
