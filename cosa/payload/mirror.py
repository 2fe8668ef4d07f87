"""A whole release copied: to another registry, or to a folder for machines without network.

The folder's layout is the one `oc adm release mirror --to-dir` writes and `oc image
mirror` reads: `v2/openshift/release/{blobs,manifests}/sha256:...`, tags as links, and
signatures as ConfigMaps in `config/`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.core import events, fs, parallel
from cosa.core.errors import Problems
from cosa.model.imageref import ImageRef, is_digest, parse_ref
from cosa.payload.component import PARALLEL
from cosa.payload.errors import refused
from cosa.payload.imagestream import by_digest
from cosa.payload.read import Payload
from cosa.payload.signing import config_map
from cosa.tools.registry import LISTS, SCHEMA1, Client, Manifest
from cosa.tools.registry_copy import copy_image

FOLDER = "v2/openshift/release"
_ARCH = {"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64le", "s390x": "s390x"}
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")


@dataclass(frozen=True)
class Item:
    """One image to copy, and the tag it gets."""

    name: str
    source: ImageRef
    tag: str


def items(payload: Payload, *, release: bool = True) -> list[Item]:
    """Everything a mirror of a release holds, the release itself last.

    Raises every reference that is not by digest, and a version no tag can hold.
    """
    arch = "multi" if payload.image.listed else str(payload.image.config.get("architecture", ""))
    base = f"{payload.version.replace('+', '_')}-{_ARCH.get(arch, arch)}"
    if not _TAG.match(base):
        raise refused("bad-tag", f"{base!r} cannot be a tag: invalid tag format")
    problems = Problems()
    found = []
    for tag in payload.stream.tags:
        with problems.collecting():
            found.append(Item(tag.name, by_digest(tag), f"{base}-{tag.name}"))
    problems.raise_if_any("the release cannot be mirrored")
    return [*found, Item("release", payload.ref.at(payload.digest), base)] if release else found


def to_repository(client: Client, wanted: Sequence[Item], target: ImageRef) -> int:
    """Copy to a repository: components first, the release last. A run that was cut goes on.

    A `${component}` in the repository's name is replaced by each component's name.
    """

    def copy(item: Item) -> None:
        repository = target.repository.replace("${component}", item.name)
        copy_image(client, item.source, ImageRef(target.host, repository, item.tag))

    return _copy_all(wanted, copy)


def _copy_all(wanted: Sequence[Item], copy: Any) -> int:
    problems = Problems()
    with events.step("mirror") as step:
        done = 0

        def one(item: Item) -> None:
            nonlocal done
            with problems.collecting():
                copy(item)
            done += 1
            step.progress(done, len(wanted), "images")

        parallel.each(one, wanted[:-1], limit=PARALLEL)
        # A release whose components are not all there must not be found.
        problems.raise_if_any("not every image could be copied; run it again to go on")
        for item in wanted[-1:]:
            one(item)
        problems.raise_if_any("the release image could not be copied; run it again to go on")
        step.summary = f"{len(wanted)} images"
    return len(wanted)


def to_folder(client: Client, wanted: Sequence[Item], folder: Path) -> int:
    """Copy to a folder; blobs that are there are not fetched again."""
    root = folder / FOLDER
    for name in ("blobs", "manifests"):
        (root / name).mkdir(parents=True, exist_ok=True)
    fs.sweep_files(root / "blobs")

    def copy(item: Item) -> None:
        manifest = client.manifest(item.source)
        if manifest.media_type in SCHEMA1:
            raise refused("schema1", f"{item.source} has the old format (schema 1)")
        _save(client, manifest, root)
        link = root / "manifests" / item.tag
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(manifest.digest)
        fresh.replace(link)

    return _copy_all(wanted, copy)


def _save(client: Client, manifest: Manifest, root: Path) -> None:
    if manifest.is_list:
        for one in manifest.data["manifests"]:
            _save(client, client.manifest(manifest.ref.at(one["digest"])), root)
    else:
        for descriptor in [*manifest.layers, manifest.config]:
            path = root / "blobs" / str(descriptor["digest"])
            if not path.exists():
                client.save_blob(manifest.ref, str(descriptor["digest"]), path)
    fs.atomic_write(root / "manifests" / manifest.digest, manifest.raw)


def from_folder(client: Client, folder: Path, target: ImageRef) -> int:
    """Push what `to_folder` wrote to a repository; digests are checked on the way."""
    root = folder / FOLDER
    links = sorted(path for path in _listed(root / "manifests") if path.is_symlink())
    if not links:
        raise refused("no-mirror", f"{folder} holds no mirrored release", why=f"no tags in {root}")

    def push(link: Path) -> None:
        digest = os.readlink(link)
        _push(client, root, digest, ImageRef(target.host, target.repository, link.name))

    problems = Problems()
    for link in links:
        with problems.collecting():
            push(link)
    problems.raise_if_any("not every image could be pushed; run it again to go on")
    return len(links)


def _push(client: Client, root: Path, digest: str, target: ImageRef) -> None:
    raw = _checked(root / "manifests", digest)
    data = json.loads(raw)
    kind = str(data.get("mediaType", ""))
    if kind in LISTS:
        for one in data["manifests"]:
            _push(client, root, one["digest"], target.at(one["digest"]))
    else:
        for descriptor in [*data["layers"], data["config"]]:
            blob = str(descriptor["digest"])
            if not is_digest(blob):
                raise refused("bad-mirror", f"{root}: {blob!r} is not a digest", untrusted=True)
            path = root / "blobs" / blob
            if f"sha256:{fs.sha256_file(path)}" != blob:
                raise refused("wrong-digest", f"{path} does not match its digest", untrusted=True)
            client.put_blob(target, blob, path)
    client.put_manifest(target, raw, kind)


def _checked(folder: Path, digest: str) -> bytes:
    import hashlib

    if not is_digest(digest):
        raise refused("bad-mirror", f"{folder}: {digest!r} is not a digest", untrusted=True)
    raw = (folder / digest).read_bytes()
    if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest:
        raise refused("wrong-digest", f"{folder / digest} does not match its name", untrusted=True)
    return raw


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def write_signatures(payload: Payload, signatures: Sequence[bytes], folder: Path) -> Path:
    """The signatures of the release as a ConfigMap in `folder`; its file."""
    digest = payload.digest
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"signature-{digest.replace(':', '-')[:23]}.json"
    fs.atomic_write(path, json.dumps(config_map(digest, signatures), indent=2) + "\n")
    return path


def instructions(payload: Payload, target: str, form: str) -> str:
    """The object that tells nodes where the copies are: `idms` or `icsp`; `none` is empty."""
    if form == "none":
        return ""
    sources = sorted({parse_ref(tag.pullspec).name for tag in payload.stream.tags})
    sources = list(dict.fromkeys([payload.ref.name, *sources]))
    kinds = {
        "idms": ("config.openshift.io/v1", "ImageDigestMirrorSet", "imageDigestMirrors"),
        "icsp": ("operator.openshift.io/v1alpha1", "ImageContentSourcePolicy",
                 "repositoryDigestMirrors"),
    }  # fmt: skip
    if form not in kinds:
        raise refused("unknown-form", f"{form!r} is not one of idms, icsp, none")
    version, kind, key = kinds[form]
    lines = [f"apiVersion: {version}", f"kind: {kind}", "metadata:", "  name: release-mirror",
             "spec:", f"  {key}:"]  # fmt: skip
    for source in sources:
        lines += ["  - mirrors:", f"    - {target}", f"    source: {source}"]
    return "\n".join(lines) + "\n"
