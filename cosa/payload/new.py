"""`payload new`: operator images in, one release image out; nothing is sent before all is well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from cosa.core import clock, events, fs, parallel
from cosa.core.errors import Problems
from cosa.model.imageref import ImageRef, parse_ref
from cosa.payload import component, lint
from cosa.payload.assemble import BASE, Release, Wanted, assemble
from cosa.payload.component import Image, Operator
from cosa.payload.errors import refused
from cosa.payload.image import ReleaseImage, release_image
from cosa.payload.imagestream import Tag, parse
from cosa.payload.source import Source
from cosa.tools.registry import Client
from cosa.tools.registry_copy import copy_blob, copy_image

_WARNINGS = 20  # shown at most


@dataclass(frozen=True)
class Options:
    """What the command line asks of a new release."""

    wanted: Wanted
    to_image: str = ""
    to_file: Path | None = None
    to_dir: Path | None = None
    mirror: str = ""
    oci: bool = False
    every_layer: bool = False
    arch: str = "amd64"
    strict: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Made:
    """A release that was made: digest of its image, name, time, and what lint had to say."""

    digest: str
    release: Release
    image: ReleaseImage
    findings: tuple[lint.Finding, ...] = field(default=())


def new(source: Source, options: Options, client: Client) -> Made:
    """Make a release. Raises all that is wrong with its inputs at once, before anything is sent."""
    wanted = options.wanted
    with events.step("read images") as step:
        images = component.read_images(
            client, source.tags, arch=options.arch, missing_ok=wanted.missing_ok
        )
        step.summary = f"{len(images)} images"
    with events.step("read operators") as step:
        operators = _operators(client, source, images, options)
        step.summary = f"{len(operators)} operators"
    if options.mirror:
        images = {name: _mirrored(image, options.mirror) for name, image in images.items()}
    with events.step("assemble") as step:
        release = assemble(wanted, images, operators)
        for name in release.dropped:
            step.note(f"nothing refers to {name}: left out")
        findings = tuple(lint.of_release(release))
        step.summary = f"{len(release.files)} files, {len(release.stream.tags)} images"
    _judge(findings, strict=options.strict)
    image = release_image(release, images[wanted.base], wanted.created, oci=options.oci)
    if not options.dry_run:
        _write(release, image, source, options, client)
    return Made(image.digest, release, image, findings)


def created_at() -> str:
    """The release's time, RFC 3339: SOURCE_DATE_EPOCH, else now."""
    pinned = clock.source_date_epoch()
    moment = datetime.fromtimestamp(clock.now() if pinned is None else pinned, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def default_name(created: str) -> str:
    """The version of a release that was given none: `0.0.1-` and its time, as `oc` has it."""
    return f"0.0.1-{created.replace('T', '-').replace(':', '').rstrip('Z')}"


def _operators(
    client: Client, source: Source, images: Mapping[str, Image], options: Options
) -> dict[str, Operator]:
    """Every operator's manifests, side by side."""
    problems = Problems()
    wanted = [
        image for name, image in images.items()
        if name in source.folders or (image.is_operator and name != options.wanted.base)
    ]  # fmt: skip

    def one(image: Image) -> Operator | None:
        name = image.tag.name
        with problems.collecting():
            if name in source.folders:
                return _from_folder(image, source)
            every = options.every_layer or name in source.overridden
            operator = component.read_operator(client, image, every_layer=every)
            if operator.lost:
                _warn_lost(operator)
            return operator
        return None

    found = parallel.each(one, wanted, limit=component.PARALLEL)
    problems.raise_if_any("operators' manifests cannot be read")
    return {each.image.tag.name: each for each in found if each}


def _warn_lost(operator: Operator) -> None:
    name = operator.image.tag.name
    events.warn(
        f"{name} is an operator, but its last layer holds no manifests; earlier layers hold"
        f" {len(operator.lost)} ({', '.join(operator.lost[:3])}...): readers look at the last"
        " layer only, so they are LOST. Squash the image, or pass --all-layers"
    )


def _from_folder(image: Image, source: Source) -> Operator:
    from cosa.payload.documents import one_object

    files = source.folders[image.tag.name]
    references = None
    for file in files:
        if file.name == "image-references":
            origin = f"{image.tag.name}/image-references"
            references = parse(one_object(file.data, origin), origin)
    return Operator(
        image, tuple(file for file in files if file.name != "image-references"), references
    )


def _mirrored(image: Image, mirror: str) -> Image:
    """The image as the release will name it; where it is read from stays."""
    name = parse_ref(mirror).name
    return replace(image, tag=Tag(image.tag.name, f"{name}@{image.ref.digest}",
                                  image.tag.annotations))  # fmt: skip


def _judge(findings: Sequence[lint.Finding], *, strict: bool) -> None:
    """Findings are warnings, unless they make the release unusable or `strict` was asked."""
    problems = Problems()
    warned = 0
    for finding in findings:
        if finding.fatal or strict:
            problems.add(
                finding.code, finding.what, finding.where, why=finding.why, fix=finding.fix
            )
            continue
        warned += 1
        if warned <= _WARNINGS:
            place = f"{finding.where}: " if finding.where else ""
            events.warn(f"{place}{finding.what}")
    if warned > _WARNINGS:
        events.warn(f"and {warned - _WARNINGS} more; `cosa payload lint` shows them all")
    problems.raise_if_any("the release has faults that would show in clusters only")


def _write(
    release: Release, image: ReleaseImage, source: Source, options: Options, client: Client
) -> None:
    if options.mirror:
        _mirror(release, source, parse_ref(options.mirror), client)
    if options.to_image:
        with events.step("push"):
            push(image, parse_ref(options.to_image), client)
    if options.to_dir:
        write_folder(release, options.to_dir)
    if options.to_file:
        fs.atomic_write(options.to_file, image.layer.data)


def _mirror(release: Release, source: Source, target: ImageRef, client: Client) -> None:
    """Copy the images the release names to the repository it names them in."""
    origins = {tag.name: tag.pullspec for tag in source.tags}
    with events.step("mirror") as step:
        step.summary = f"{len(release.stream.tags)} images"
        parallel.each(
            lambda tag: copy_image(client, parse_ref(origins[tag.name]), target),
            release.stream.tags, limit=component.PARALLEL,
        )  # fmt: skip


def push(image: ReleaseImage, target: ImageRef, client: Client) -> str:
    """Push a release image: what the target lacks, the manifest last; its digest."""
    base = image.base
    parallel.each(
        lambda layer: copy_blob(client, base.manifest.ref, target, layer),
        base.manifest.layers, limit=component.PARALLEL,
    )  # fmt: skip
    client.put_blob(target, image.layer.digest, image.layer.data)
    client.put_blob(target, image.config_digest, image.config)
    return client.put_manifest(target, image.manifest, image.media_type)


def write_folder(release: Release, folder: Path) -> None:
    """The release's files in a folder, made whole or not at all."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise refused(
            "folder-not-empty", f"{folder} is there already and not empty",
            fix="name another folder",
        )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    with fs.private_dir(folder.parent, "payload") as work:
        out = work / "release"
        out.mkdir()
        for file in release.files:
            (out / file.name).write_bytes(file.data)
        if folder.exists():
            folder.rmdir()
        fs.publish(out, folder)


__all__ = ["BASE", "Made", "Options", "created_at", "new", "push", "write_folder"]
