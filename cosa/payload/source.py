"""What a release is made from: an image stream, another release, a folder, or words SRC=DST."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core.errors import CosaError, Problems, Where
from cosa.model.imageref import parse_ref
from cosa.payload import documents
from cosa.payload.errors import refused
from cosa.payload.imagestream import OVERRIDE, ImageStream, Tag, parse, parse_input
from cosa.payload.layer import FILE_LIMIT, File
from cosa.tools.registry import Client

FROM_RELEASE = "release.openshift.io/from-release"
FROM_STREAM = "release.openshift.io/from-image-stream"


@dataclass(frozen=True)
class Source:
    """Tags of a release to be, and operators whose manifests lie in folders."""

    tags: tuple[Tag, ...]
    folders: dict[str, tuple[File, ...]]
    annotations: dict[str, str]
    overridden: frozenset[str] = frozenset()


def from_stream_file(path: Path, *, public: bool) -> Source:
    """An image stream in a file of JSON or YAML; `-` reads standard input."""
    import sys

    origin = "standard input" if str(path) == "-" else str(path)
    try:
        raw = sys.stdin.buffer.read(64 << 20) if str(path) == "-" else path.read_bytes()
    except OSError as err:
        raise refused("no-input", f"{origin} cannot be read", why=err.strerror or "") from None
    stream = parse_input(documents.one_object(raw, origin), origin, public=public)
    found = {FROM_STREAM: stream.name} if stream.name else {}
    return Source(stream.tags, {}, found)


def from_release(stream: ImageStream, pullspec: str) -> Source:
    """The images of an existing release."""
    return Source(stream.tags, {}, {FROM_RELEASE: pullspec})


def from_folder(folder: Path) -> Source:
    """A folder per operator, named after its tag; `image-references` beside them names images."""
    references = folder / "image-references"
    if not folder.is_dir():
        raise refused("no-input", f"{folder} is not a folder")
    if not references.is_file():
        raise refused(
            "no-input", f"{folder} holds no file image-references",
            why="it says which images the release is made of",
            fix="write an ImageStream whose tags name images by digest",
        )  # fmt: skip
    stream = parse(documents.one_object(references.read_bytes(), str(references)), str(references))
    folders = {}
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.is_symlink():
            folders[each.name] = _files(each)
    return Source(stream.tags, folders, {})


def _files(folder: Path) -> tuple[File, ...]:
    found = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.is_symlink():
            continue
        if path.stat().st_size > FILE_LIMIT:
            raise refused("too-big", f"{path} is larger than {FILE_LIMIT} bytes")
        found.append(File(path.name, path.read_bytes(), int(path.stat().st_mtime)))
    return tuple(found)


def mapping_file(path: Path) -> list[str]:
    """The words SRC=DST of a file; `#` begins a comment."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise refused("no-input", f"{path} cannot be read", why=str(err)) from None
    words = []
    problems = Problems()
    for number, line in enumerate(lines, 1):
        for word in line.partition("#")[0].split():
            if "=" in word:
                words.append(word)
            else:
                problems.add(
                    "payload/bad-mapping", f"{word!r} is not SRC=DST", Where(str(path), number)
                )
    problems.raise_if_any(f"{path} is not a list of mappings")
    return words


def override(source: Source, words: Iterable[str], client: Client) -> Source:
    """Put images in by hand: NAME=PULLSPEC; a tag is looked up and becomes a digest."""
    tags = {tag.name: tag for tag in source.tags}
    named: set[str] = set()
    problems = Problems()
    for word in words:
        with problems.collecting():
            name, pullspec = _mapping(word)
            tags[name] = Tag(name, _by_digest(pullspec, client), {OVERRIDE: "true"})
            named.add(name)
    problems.raise_if_any("images cannot be replaced as asked")
    return Source(tuple(tags.values()), source.folders, source.annotations, frozenset(named))


def _mapping(word: str) -> tuple[str, str]:
    name, equals, pullspec = word.partition("=")
    if not equals or not name or not pullspec:
        raise refused(
            "bad-mapping", f"{word!r} is not SRC=DST",
            why="SRC is the name of a component, DST the image that takes its place",
        )  # fmt: skip
    return name, pullspec


def _by_digest(pullspec: str, client: Client) -> str:
    ref = parse_ref(pullspec)
    return str(ref if ref.digest else ref.at(client.manifest(ref).digest))


def select(source: Source, include: Sequence[str], exclude: Sequence[str]) -> Source:
    """Leave images out; a name that is not there is an error, all at once."""
    there = {tag.name for tag in source.tags}
    problems = Problems()
    for name in (*include, *exclude):
        if name not in there:
            problems.add(
                "payload/no-input-image",
                f'no input image tag named "{name}"',
                fix="see the names with `cosa payload info --pullspecs`",
            )
    problems.raise_if_any("images were named that the input does not have")
    tags = tuple(tag for tag in source.tags if tag.name not in exclude)
    if not tags:
        raise refused("no-images", "no component images defined")
    return Source(tags, source.folders, source.annotations, source.overridden)


def read_metadata(text: str) -> dict[str, object]:
    """The JSON object of --metadata."""
    try:
        value = json.loads(text or "{}")
    except ValueError as err:
        raise CosaError("payload/bad-metadata", "--metadata is not JSON", why=str(err)) from None
    if not isinstance(value, dict):
        raise refused("bad-metadata", "--metadata must be a JSON object")
    return value
