"""An OSTree commit as an OCI archive that OSTree clients and container engines both read.

Two layers: the commit with its directories, and all files. (A plan that cuts the files
by package is what `content` is for.) Labels and annotations are those of ostree-ext's
encapsulated form; the archive is a tar of an OCI image layout, as `skopeo copy oci-archive:` reads.
Same commit and labels, same bytes: times are the commit's or 0, lists sorted, the compressor
independent of the number of processors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from cosa.container import layers
from cosa.core import clock, fs
from cosa.core.errors import CosaError
from cosa.tools import ostree
from cosa.tools.gzipstream import GzipWriter
from cosa.tools.ociarchive import OciArchive
from cosa.tools.ostree_read import Objects


@dataclass(frozen=True)
class Content:
    """A layer of files: `name` says what it is, `components` the packages in it."""

    name: str
    checksums: frozenset[str]
    components: tuple[str, ...] = ()


@dataclass(frozen=True)
class Archive:
    """What was written: hex digests of manifest and config, the manifest's text."""

    manifest_digest: str
    config_digest: str
    manifest: str
    layers: tuple[str, ...]


def write_ociarchive(
    repo: Path,
    commit: str,
    out: Path,
    *,
    labels: Mapping[str, str],
    arch: str = "x86_64",
    content: Sequence[Content] = (),
) -> Archive:
    """Write the archive of a commit to `out`, replacing nothing until it is whole.

    `labels` are added to those the format asks for and win over them. `arch` is ours
    (x86_64). `content` divides the commit's file objects into layers; without it there is one.
    Raises `ostree/missing-object`, `container/plan`, `env/disk-full`, `env/missing-tool`.
    """
    objects = Objects(repo)
    info = _read_commit(repo, commit, objects)
    found = layers.walk(objects, info.tree, info.meta)
    plan = _complete(content, found, info)
    unfinished = out.with_name(f".{out.name}.partial")
    try:
        with unfinished.open("wb") as file:
            archive = _write(file, objects, info, found, plan=plan, labels=labels, arch=arch)
            file.flush()
            os.fsync(file.fileno())
        fs.publish(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


@dataclass(frozen=True)
class _Commit:
    checksum: str
    tree: str
    meta: str
    timestamp: int
    subject: str
    detached: bytes | None
    metadata: Mapping[str, Any]


def _read_commit(repo: Path, commit: str, objects: Objects) -> _Commit:
    raw = ostree.Repo(repo).raw
    module = ostree.module()
    variant = raw.load_variant(module.ObjectType.COMMIT, commit)[1]
    metadata = variant.get_child_value(0)

    def value(key: str) -> Any:
        item = metadata.lookup_value(key, None)
        return item.unpack() if item is not None else None

    keys = (
        "version", "ostree.bootable", "ostree.linux", "rpmostree.inputhash",
        "ostree.container-cmd", "rpmostree.rpmdb.pkglist",
    )  # fmt: skip
    detached = raw.read_commit_detached_metadata(commit, None)[1]
    return _Commit(
        checksum=commit,
        tree=bytes(variant.get_child_value(6).get_data_as_bytes().get_data()).hex(),
        meta=bytes(variant.get_child_value(7).get_data_as_bytes().get_data()).hex(),
        timestamp=module.commit_get_timestamp(variant),
        subject=variant.get_child_value(3).get_string(),
        detached=objects.metadata(commit, "commitmeta") if detached is not None else None,
        metadata={key: found for key in keys if (found := value(key)) is not None},
    )


def _complete(content: Sequence[Content], found: layers.Walk, info: _Commit) -> list[Content]:
    """The plan with every object in exactly one layer."""
    if not content:
        names = {row[0] for row in info.metadata.get("rpmostree.rpmdb.pkglist", ())}
        name = f"{len(names)} components" if names else "files"
        return [Content(name, frozenset(found.paths), tuple(sorted(names)))]
    seen: set[str] = set()
    for each in content:
        if seen & each.checksums:
            raise CosaError("container/plan", f"layer '{each.name}' repeats objects of another")
        seen |= each.checksums
    if seen != set(found.paths):
        raise CosaError(
            "container/plan",
            "the layers do not hold the commit's files",
            why=f"{len(set(found.paths) - seen)} missing, {len(seen - set(found.paths))} foreign",
        )
    return list(content)


def _write(
    file: IO[bytes],
    objects: Objects,
    info: _Commit,
    found: layers.Walk,
    *,
    plan: Sequence[Content],
    labels: Mapping[str, str],
    arch: str,
) -> Archive:
    image = OciArchive(file)
    subject = info.subject or f"ostree export of commit {info.checksum}"

    def commit_layer(sink: GzipWriter) -> None:
        layers.write_commit_layer(sink, objects, found, info.checksum, info.detached)

    def content_layer(chosen: Content, sink: GzipWriter) -> None:
        mine = {checksum: found.paths[checksum] for checksum in chosen.checksums}
        layers.write_content_layer(sink, objects, mine)

    made = [image.layer(subject, commit_layer)]
    for each in plan:
        names = {"ostree.components": ",".join(each.components)} if each.components else {}
        made.append(image.layer(each.name, partial(content_layer, each), names))
    all_labels = _labels(info, made[-1].diffid) | dict(labels)
    written = image.finish(
        all_labels, arch=arch, created=clock.iso(info.timestamp),
        command=info.metadata.get("ostree.container-cmd"), annotations=all_labels,
    )  # fmt: skip
    diffids = tuple(layer.diffid for layer in made)
    return Archive(written.manifest_digest, written.config_digest, written.manifest, diffids)


def _labels(info: _Commit, final: str) -> dict[str, str]:
    """The labels the encapsulated form defines; the manifest repeats them as annotations."""
    found = {"ostree.commit": info.checksum, "ostree.final-diffid": f"sha256:{final}"}
    if info.metadata.get("ostree.bootable"):
        found |= {"ostree.bootable": "true", "containers.bootc": "1"}
    for key, label in (
        ("ostree.linux", "ostree.linux"),
        ("rpmostree.inputhash", "rpmostree.inputhash"),
        ("version", "org.opencontainers.image.version"),
        ("version", "version"),
    ):
        if value := info.metadata.get(key):
            found[label] = str(value)
    return found
