"""A build's containers in registries: pushed, joined to lists, copied; noted in meta.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.container.ociread import GO_ARCH
from cosa.container.push import Member, make_list, push_archive
from cosa.core import events
from cosa.core.errors import CosaError, ExitClass
from cosa.model.imageref import ImageRef, parse_ref
from cosa.pipeline import metamerge
from cosa.pipeline.workdir import Workdir
from cosa.tools.registry import Client
from cosa.tools.registry_copy import copy_image

# artefact -> key of meta.json, as upstream names them
META_KEYS = {
    "ostree": "base-oscontainer",
    "extensions-container": "extensions-container",
    "legacy-oscontainer": "oscontainer",
    "kubevirt": "kubevirt",
}
_RPM_ARCH = {go: rpm for rpm, go in GO_ARCH.items()}


@dataclass(frozen=True)
class Listed:
    """A manifest list to push: its repository and tags, and what of each build goes into it."""

    repository: str
    tags: Sequence[str]
    artefact: str
    key: str = ""
    v2s2: bool = False
    force: bool = False


def archive_of(workdir: Workdir, build: str, arch: str, artefact: str) -> Path:
    """The ociarchive of an artefact. Raises `container/no-archive`."""
    meta = workdir.meta(build, arch)
    if artefact not in meta.images:
        raise CosaError(
            "container/no-archive", f"build {build} has no {artefact} for {arch}",
            why=f"it has {', '.join(sorted(meta.images))}",
            fix=f"make it with `cosa build {artefact}`" if artefact == "kubevirt" else "",
        )  # fmt: skip
    path = workdir.build(build, arch) / meta.images[artefact].path
    if not path.is_file():
        raise CosaError(
            "container/no-archive", f"{path} is not there", fix="fetch it with `cosa buildfetch`"
        )
    return path


def push(
    workdir: Workdir,
    client: Client,
    name: str,
    *,
    build: str,
    arch: str,
    artefact: str,
    suffix: str = "",
    v2s2: bool = False,
) -> ImageRef:
    """Push one container of a build; without a tag it gets ID-ARCH. Noted in meta.json."""
    ref = parse_ref(name)
    tag = (ref.tag or f"{build}-{arch}") + suffix
    target = ImageRef(ref.host, ref.repository, tag.replace("+", "-"))
    digest = push_archive(client, archive_of(workdir, build, arch, artefact), arch, target,
                          v2s2=v2s2)  # fmt: skip
    key = META_KEYS.get(artefact, artefact)

    def note(data: dict[str, Any]) -> None:
        data[key] = {"image": target.name, "digest": digest}

    metamerge.change(workdir.build(build, arch), note, key)
    return ImageRef(target.host, target.repository, target.tag, digest)


def push_list(
    workdir: Workdir, client: Client, build: str, arches: Sequence[str], wanted: Listed
) -> str:
    """Push a build's container for all its architectures as one list; the list's digest.

    Architectures' images first, the tags last. Left alone when the registry has the very
    list already, unless forced. Every architecture's meta.json gets the digests.
    """
    target = parse_ref(wanted.repository)
    members, digests = [], {}
    for arch in arches:
        archive = archive_of(workdir, build, arch, wanted.artefact)
        digest = push_archive(client, archive, arch, ImageRef(target.host, target.repository),
                              v2s2=wanted.v2s2)  # fmt: skip
        found = client.manifest(target.at(digest))
        members.append(Member(arch, digest, len(found.raw), found.media_type))
        digests[arch] = digest
    raw, kind = make_list(members, v2s2=wanted.v2s2)
    listed = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    client.put_manifest(target.at(listed), raw, kind)
    for tag in wanted.tags:
        place = ImageRef(target.host, target.repository, tag)
        if not wanted.force and client.exists(place) and client.manifest(place).digest == listed:
            events.note(f"{place} is that list already")
            continue
        client.put_manifest(place, raw, kind)
    for arch in arches:
        entry = {"image": target.name, "digest": digests[arch], "manifest-list-digest": listed,
                 "tags": list(wanted.tags)}  # fmt: skip
        key = wanted.key or META_KEYS.get(wanted.artefact, wanted.artefact)
        _note_list(workdir.build(build, arch), key, entry)
    return listed


def _note_list(folder: Path, key: str, entry: dict[str, Any]) -> None:
    name = entry["image"]

    def note(data: dict[str, Any]) -> None:
        """A second repository goes beside the first."""
        there = data.get(key)
        if not isinstance(there, dict) or there.get("image") == name:
            more = there.get("additional-images") if isinstance(there, dict) else None
            data[key] = entry | ({"additional-images": more} if more else {})
            return
        others = [one for one in there.get("additional-images", []) if one.get("image") != name]
        there["additional-images"] = [*others, entry]

    metamerge.change(folder, note, key)


def join(
    client: Client, repository: str, tags: Sequence[str], images: Sequence[str], *, v2s2: bool
) -> str:
    """A list of images that are in registries already, copied to the repository; its digest."""
    target = parse_ref(repository)
    members = []
    for name in images:
        source = parse_ref(name)
        found = client.manifest(source)
        if found.is_list:
            raise CosaError(
                "container/is-a-list", f"{name} is a list itself",
                fix="name the image of one architecture", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        copy_image(client, source, ImageRef(target.host, target.repository))
        config = json.loads(client.blob(source, str(found.config["digest"])))
        arch = str(config.get("architecture", ""))
        members.append(Member(arch, found.digest, len(found.raw), found.media_type))
    raw, kind = make_list(members, v2s2=v2s2)
    digest = client.put_manifest(target.at(f"sha256:{hashlib.sha256(raw).hexdigest()}"), raw, kind)
    for tag in tags:
        client.put_manifest(ImageRef(target.host, target.repository, tag), raw, kind)
    return digest


def copy(
    client: Client,
    source: str,
    target: str,
    tags: Sequence[str],
    *,
    v2s2: bool = False,
    by_arch: bool = False,
) -> list[str]:
    """Copy tags from one repository to another, lists with all they name; `NAME DIGEST` lines.

    `by_arch` copies each image of a list as TAG-ARCH instead, for what reads no lists.
    """
    if v2s2:
        raise CosaError(
            "container/not-v2s2", "copies keep their digests, so their format, too",
            fix="push the build in Docker's format: `cosa push-container --format v2s2`",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    here, there = parse_ref(source), parse_ref(target)
    pairs = []
    for tag in tags:
        named = ImageRef(here.host, here.repository, tag)
        found = client.manifest(named) if by_arch else None
        if found is None or not found.is_list:
            pairs.append((named, tag))
            continue
        for one in found.data["manifests"]:
            arch = str((one.get("platform") or {}).get("architecture", ""))
            pairs.append((named.at(one["digest"]), f"{tag}-{_RPM_ARCH.get(arch, arch)}"))
    return [
        f"{there.name}:{tag} "
        + copy_image(client, ref, ImageRef(there.host, there.repository, tag))
        for ref, tag in pairs
    ]
