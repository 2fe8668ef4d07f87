"""The image stream `image-references`: which images a payload is made of.

Format: ImageStream of image.openshift.io/v1, as `oc adm release` reads and
writes it; the same kind of object says what an operator's manifests refer to
and what a release is to be made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cosa.core.errors import Problems
from cosa.model.imageref import ImageRef, is_digest, parse_ref
from cosa.payload.errors import refused

COMMIT = "io.openshift.build.commit.id"
REF = "io.openshift.build.commit.ref"
SOURCE = "io.openshift.build.source-location"
VERSIONS = "io.openshift.build.versions"
DISPLAY_NAMES = "io.openshift.build.version-display-names"
OPERATOR = "io.openshift.release.operator"
OVERRIDE = "io.openshift.release.override"
ALWAYS = (COMMIT, REF, SOURCE)  # copied from labels, empty when absent
WHEN_SET = (VERSIONS, DISPLAY_NAMES)


@dataclass(frozen=True)
class Tag:
    """One component: its name, the image's name, and what is noted about it."""

    name: str
    pullspec: str
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageStream:
    """An image stream as far as releases use it; tags in the order of the document."""

    name: str
    tags: tuple[Tag, ...]
    created: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Tag | None:
        """The tag of a name."""
        return next((tag for tag in self.tags if tag.name == name), None)


def parse(data: Any, origin: str) -> ImageStream:
    """An image stream from its JSON value. `origin` names it in errors."""
    if not isinstance(data, dict) or data.get("kind") != "ImageStream":
        kind = data.get("kind") if isinstance(data, dict) else type(data).__name__
        raise refused(
            "not-an-image-stream", f"{origin}: unrecognized image-references in release payload",
            why=f"an ImageStream of image.openshift.io/v1 was expected, found {kind!r}",
        )  # fmt: skip
    version = data.get("apiVersion")
    if version not in ("image.openshift.io/v1", "v1"):
        raise refused(
            "not-an-image-stream", f"{origin}: unrecognized image-references in release payload",
            why=f"apiVersion is {version!r}",
        )  # fmt: skip
    metadata = _mapping(data.get("metadata"), origin, "metadata")
    spec = _mapping(data.get("spec"), origin, "spec")
    tags = []
    for number, entry in enumerate(_list(spec.get("tags"), origin, "spec.tags")):
        place = f"spec.tags[{number}]"
        tag = _mapping(entry, origin, place)
        source = _mapping(tag.get("from"), origin, f"{place}.from")
        tags.append(
            Tag(
                _text(tag.get("name"), origin, f"{place}.name"),
                _text(source.get("name", ""), origin, f"{place}.from.name"),
                _texts(tag.get("annotations"), origin, f"{place}.annotations"),
            )
        )
    return ImageStream(
        _text(metadata.get("name", ""), origin, "metadata.name"), tuple(tags),
        str(metadata.get("creationTimestamp") or ""),
        _texts(metadata.get("annotations"), origin, "metadata.annotations"),
    )  # fmt: skip


def parse_input(data: Any, origin: str, *, public: bool) -> ImageStream:
    """An input stream with every tag resolved to a digest.

    `public` rewrites references to the stream's public repository, as a
    cluster's stream has them; otherwise the source's own references stay.
    Raises all tags that cannot be resolved at once.
    """
    stream = parse(data, origin)
    status = _mapping(data.get("status") or {}, origin, "status")
    spec = {tag.get("name"): tag for tag in data["spec"].get("tags", [])}
    imported = {
        str(tag.get("tag")): tag for tag in _list(status.get("tags"), origin, "status.tags")
        if isinstance(tag, dict)
    }  # fmt: skip
    repository = str(status.get("publicDockerImageRepository") or "")
    problems = Problems()
    tags = []
    for name in dict.fromkeys([*(tag.name for tag in stream.tags), *imported]):
        with problems.collecting():
            tags.append(
                _resolve(name, stream.find(name), spec.get(name), imported.get(name), repository,
                         public=public, origin=origin)
            )  # fmt: skip
    problems.raise_if_any(f"{origin} cannot be used as the input of a release")
    return ImageStream(stream.name, tuple(tags), stream.created, stream.annotations)


def _resolve(
    name: str, tag: Tag | None, spec: Any, status: Any, repository: str, *,
    public: bool, origin: str,
) -> Tag:  # fmt: skip
    """One tag by digest. A generation means that the status is the truth, annotations are lost."""
    items = (status or {}).get("items") or []
    trusted = tag is None or (spec or {}).get("generation") is not None
    if tag and not trusted and tag.pullspec:
        ref = parse_ref(tag.pullspec)
        if ref.digest:
            if public and repository:
                return Tag(name, f"{repository}@{ref.digest}", tag.annotations)
            return Tag(name, str(ref.at(ref.digest)), tag.annotations)
    if not items or not is_digest(str(items[0].get("image", ""))):
        raise refused(
            "not-imported",
            f'{origin}: the tag "{name}" in the source input stream has not been imported yet',
            why="it names no digest, and the stream's status has none for it",
            fix="name the image by digest, or wait until the tag is imported",
        )  # fmt: skip
    digest = items[0]["image"]
    kept = {} if trusted or tag is None else tag.annotations
    if public and repository:
        return Tag(name, f"{repository}@{digest}", kept)
    source = str(items[0].get("dockerImageReference") or (tag.pullspec if tag else ""))
    return Tag(name, str(parse_ref(source).at(digest)), kept)


def to_json(stream: ImageStream) -> dict[str, Any]:
    """The stream as a payload has it, tags sorted by name."""
    metadata: dict[str, Any] = {"name": stream.name, "creationTimestamp": stream.created or None}
    if stream.annotations:
        metadata["annotations"] = dict(sorted(stream.annotations.items()))
    return {
        "kind": "ImageStream",
        "apiVersion": "image.openshift.io/v1",
        "metadata": metadata,
        "spec": {
            "lookupPolicy": {"local": False},
            "tags": [_tag_json(tag) for tag in sorted(stream.tags, key=lambda tag: tag.name)],
        },
        "status": {"dockerImageRepository": ""},
    }


def _tag_json(tag: Tag) -> dict[str, Any]:
    return {
        "name": tag.name,
        "annotations": dict(sorted(tag.annotations.items())),
        "from": {"kind": "DockerImage", "name": tag.pullspec},
        "generation": None,
        "importPolicy": {},
        "referencePolicy": {"type": ""},
    }


def by_digest(tag: Tag) -> ImageRef:
    """A component's image, which must be named by digest. Raises `payload/tag-reference`."""
    ref = parse_ref(tag.pullspec)
    if not ref.digest:
        raise refused(
            "tag-reference",
            f'the tag "{tag.name}" refers to {tag.pullspec}, which is not a digest:'
            " image-references should only contain pointers to images by digest",
            fix="name it as REPOSITORY@sha256:...",
        )  # fmt: skip
    return ref


def load_json(raw: bytes, origin: str) -> Any:
    """JSON of a payload. Raises `payload/not-json`."""
    try:
        return json.loads(raw)
    except ValueError as err:
        raise refused("not-json", f"{origin}: invalid JSON", why=str(err)) from None


def _mapping(value: Any, origin: str, place: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(origin, place, "a mapping", value)
    return value


def _list(value: Any, origin: str, place: str) -> Sequence[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(origin, place, "a list", value)
    return value


def _text(value: Any, origin: str, place: str) -> str:
    if not isinstance(value, str):
        raise _wrong(origin, place, "a string", value)
    return value


def _texts(value: Any, origin: str, place: str) -> dict[str, str]:
    return {
        str(key): _text(text, origin, f"{place}.{key}")
        for key, text in _mapping(value, origin, place).items()
    }


def _wrong(origin: str, place: str, wanted: str, value: Any) -> Exception:
    return refused(
        "not-an-image-stream", f"{origin}: unrecognized image-references in release payload",
        why=f"{place} must be {wanted}, not {type(value).__name__}",
    )  # fmt: skip
