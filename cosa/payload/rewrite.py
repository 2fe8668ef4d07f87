"""What operators leave open in their manifests, filled in: images by digest, versions.

An operator's `image-references` maps placeholder strings (`from.name`) to tags of
the release. The rules are those of `oc adm release new`; where it leaves a
placeholder standing, `lint` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from cosa.core.errors import Problems
from cosa.payload.errors import refused
from cosa.payload.imagestream import ImageStream
from cosa.payload.versions import Component

type Rewriter = Callable[[bytes], bytes]

_SUFFIX = rb"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]+)?"
# oc consumes the character before and after: of two in a row with one character between
# them the second stays. Readers depend on the same bytes, so the quirk is kept.
_IMAGE_START, _IMAGE_END = rb"(\W|\A)(", rb")" + _SUFFIX + rb"(\s|[\"']|\Z)"
_VERSION = re.compile(rb"(\W|\A)0\.0\.1-snapshot(?:-([a-z0-9-]*))?(\W|\Z)", re.ASCII)


def image_rewriter(
    references: ImageStream, images: Mapping[str, str], origin: str, *, missing_ok: bool = False
) -> Rewriter:
    """Replace the placeholders of an operator's `image-references` by the release's images.

    `images` maps tag to pullspec. Every reference that cannot be met is named at
    once; with `missing_ok` an image that the release lacks is left as it is.
    """
    sources: dict[bytes, str] = {}
    owners: dict[str, str] = {}
    problems = Problems()
    for tag in references.tags:
        with problems.collecting():
            _check_reference(tag.name, tag.pullspec, owners, origin)
            if tag.name in images:
                sources[tag.pullspec.encode()] = images[tag.name]
            elif not missing_ok:
                raise refused(
                    "no-input-image", f'{origin}: no input image tag named "{tag.name}"',
                    why="its image-references ask for it",
                    fix="add the image to the input, or pass --allow-missing-images",
                )  # fmt: skip
    problems.raise_if_any(f"{origin}: image-references cannot be met")
    if not sources:
        return lambda data: data
    names = b"|".join(re.escape(source) for source in sorted(sources))
    pattern = re.compile(_IMAGE_START + names + _IMAGE_END, re.ASCII)

    def rewrite(data: bytes) -> bytes:
        # Few manifests name images, and looking is far cheaper than matching.
        if not any(source in data for source in sources):
            return data
        return pattern.sub(lambda m: m[1] + sources[m[2]].encode() + m[3], data)

    return rewrite


def _check_reference(name: str, source: str, owners: dict[str, str], origin: str) -> None:
    if not source:
        raise refused(
            "no-source", f"{origin}: no from.name for the tag {name}",
            fix="say in image-references which string of the manifests stands for it",
        )  # fmt: skip
    if source in owners:
        raise refused(
            "source-twice",
            f'{origin}: the source repository "{source}" was defined more than once'
            f' (for "{owners[source]}" and "{name}")',
            fix="give each tag a placeholder of its own",
        )  # fmt: skip
    owners[source] = name


def version_rewriter(
    release: str, components: Mapping[str, Iterable[Component]], origin: str
) -> Rewriter:
    """Replace `0.0.1-snapshot` by the release's version, `0.0.1-snapshot-KEY` by a component's.

    `components` holds what the images this operator refers to declare. Build
    metadata (`+build`) is not put in.
    """
    plain = release.partition("+")[0].encode()

    def replacement(found: re.Match[bytes]) -> bytes:
        if found[2] is None:
            return found[1] + plain + found[3]
        key = found[2].decode()
        if not key:
            raise refused("empty-version", f"{origin}: empty version references are not allowed")
        return found[1] + _version_of(key, components, origin).encode() + found[3]

    def rewrite(data: bytes) -> bytes:
        return _VERSION.sub(replacement, data) if b"0.0.1-snapshot" in data else data

    return rewrite


def _version_of(key: str, components: Mapping[str, Iterable[Component]], origin: str) -> str:
    declared = list(components.get(key, ()))
    if not declared:
        known = ", ".join(sorted(components)) or "none"
        raise refused(
            "unknown-version", f'{origin}: unknown version reference "{key}"',
            why=f"the images it refers to declare: {known}",
            fix="declare it in the label io.openshift.build.versions of one of its images",
        )  # fmt: skip
    if len(declared) > 1:
        tags = ", ".join(sorted(one.tag for one in declared))
        raise refused(
            "two-versions", f"{origin}: multiple versions defined for version {key}",
            why=f"by the images {tags}", fix="let only one of them declare it",
        )  # fmt: skip
    return declared[0].version.partition("+")[0]
