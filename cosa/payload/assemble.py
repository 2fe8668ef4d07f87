"""A release put together in memory: which images stay, under which names manifests go in.

Pure: images and operators read come in, the release's files come out. The rules
are those of `oc adm release new`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from cosa.core.errors import CosaError, Problems, Where
from cosa.payload import documents, versions
from cosa.payload.component import Image, Operator
from cosa.payload.errors import refused
from cosa.payload.imagestream import ImageStream, Tag, to_json
from cosa.payload.layer import File
from cosa.payload.rewrite import Rewriter, image_rewriter, version_rewriter

BASE = "cluster-version-operator"


@dataclass(frozen=True)
class Wanted:
    """What was asked of the release. `metadata` values are strings or JSON."""

    name: str
    created: str  # RFC 3339
    previous: Sequence[str] = ()
    next: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    base: str = BASE
    missing_ok: bool = False
    check_manifests: bool = True


@dataclass(frozen=True)
class Release:
    """A release's files in the order of its layer, and what they refer to."""

    stream: ImageStream
    files: tuple[File, ...]
    newest: int
    dropped: tuple[str, ...]  # tags nothing refers to


def assemble(
    wanted: Wanted, images: Mapping[str, Image], operators: Mapping[str, Operator]
) -> Release:
    """The release made of these images. Raises everything that is wrong at once."""
    problems = Problems()
    with problems.collecting():
        check_name(wanted.name)
    if wanted.base not in images:
        problems.add(
            "payload/no-base",
            f'the base image tag "{wanted.base}" could not be found in the input',
            fix="add the image of the cluster version operator to the input",
        )
    files: list[File] = []
    taken: set[str] = set()
    for name in sorted(operators):
        with problems.collecting():
            files += _operator_files(operators[name], wanted, images, taken)
    kept, dropped = _prune(wanted, images, operators)
    with problems.collecting():
        versions.check_consistent(versions.by_key(images[name].tag for name in kept))
    problems.raise_if_any("the release cannot be made")
    newest = max((file.mtime for file in files), default=0)
    stream = ImageStream(
        wanted.name, tuple(images[name].tag for name in kept), wanted.created, wanted.annotations
    )
    head = [
        File("image-references", _json(to_json(stream)), newest),
        File("release-metadata", _json(release_metadata(wanted)), newest),
    ]
    return Release(stream, (*head, *files), newest, tuple(dropped))


def check_name(name: str) -> None:
    """A release's name is its version. Raises `payload/bad-name`."""
    if not versions.is_semver(name):
        raise refused(
            "bad-name", "--name must be a semantic version", why=f"{name!r} is not",
            fix="write MAJOR.MINOR.PATCH[-PRE][+BUILD]",
        )  # fmt: skip


def release_metadata(wanted: Wanted) -> dict[str, Any]:
    """The file `release-metadata`, from which update graphs are made."""
    data: dict[str, Any] = {
        "kind": "cincinnati-metadata-v0",
        "version": wanted.name,
        "previous": sorted(set(wanted.previous)),
    }
    if wanted.next:
        data["next"] = sorted(set(wanted.next))
    if wanted.metadata:
        data["metadata"] = dict(sorted(wanted.metadata.items()))
    return data


def _prune(
    wanted: Wanted, images: Mapping[str, Image], operators: Mapping[str, Operator]
) -> tuple[list[str], list[str]]:
    """Names that stay and names nothing refers to."""
    named = {wanted.base, *wanted.include}
    for name, operator in operators.items():
        if operator.files or operator.references:
            named.add(name)
        if operator.references:
            named |= {tag.name for tag in operator.references.tags}
    kept = sorted(name for name in images if name in named)
    return kept, sorted(set(images) - set(kept))


def _operator_files(
    operator: Operator, wanted: Wanted, images: Mapping[str, Image], taken: set[str]
) -> list[File]:
    """An operator's manifests as the release has them; what is wrong in any, at once."""
    tag = operator.image.tag.name
    references = operator.references
    rewriters = []
    referred: Iterable[Tag] = ()
    if references:
        specs = {name: image.tag.pullspec for name, image in images.items()}
        rewriters.append(image_rewriter(references, specs, tag, missing_ok=wanted.missing_ok))
        referred = [images[one.name].tag for one in references.tags if one.name in images]
    declared = versions.by_key(referred)
    rewriters.append(version_rewriter(wanted.name, declared, tag))
    problems = Problems()
    made = []
    for file in operator.files:
        with problems.collecting():
            data = _rewritten(file, rewriters, f"{tag}/{file.name}")
            if wanted.check_manifests and file.name.endswith(documents.SUFFIXES):
                documents.check_first(data, f"{tag}/{file.name}")
            made.append(File(_name(file.name, tag, taken), data, file.mtime))
    problems.raise_if_any(f"manifests of {tag} cannot be used")
    return made


def _rewritten(file: File, rewriters: Sequence[Rewriter], place: str) -> bytes:
    data = file.data
    try:
        for rewriter in rewriters:
            data = rewriter(data)
    except CosaError as err:
        err.where = Where(place)
        raise
    return data


def _name(name: str, tag: str, taken: set[str]) -> str:
    """The name in the release; one that is taken gets `_2`, `_3` before its extension."""
    name = name if name.startswith("0000_") else f"0000_50_{tag}_{name}"
    path, count, free = PurePosixPath(name), 1, name
    while free in taken:
        count += 1
        free = f"{path.stem}_{count}{path.suffix}"
    taken.add(free)
    return free


def _json(data: Any) -> bytes:
    """As Go's encoder writes it with two spaces: no final newline, HTML characters escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode()
