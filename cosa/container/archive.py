"""An OSTree commit as an OCI archive that OSTree clients and container engines both read.

Two layers: the commit with its directories, and all files. (A plan that cuts the files
by package is what `content` is for.) Labels and annotations are those of ostree-ext's
encapsulated form; the archive is a tar of an OCI image layout, as `skopeo copy oci-archive:` reads.
Same commit and labels, same bytes: times are the commit's or 0, lists sorted, the compressor
independent of the number of processors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from cosa.container import layers
from cosa.container.gzipstream import GzipWriter
from cosa.core import clock, events, fs
from cosa.core.errors import CosaError
from cosa.core.store import Json
from cosa.tools import ostree, tarwrite
from cosa.tools.ostree_read import Objects

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"

# Go's names of architectures, which OCI uses, by ours.
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


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


@dataclass(frozen=True)
class _Layer:
    digest: str
    size: int
    diffid: str
    created_by: str
    components: tuple[str, ...] = ()


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
    _add(file, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    subject = info.subject or f"ostree export of commit {info.checksum}"

    def commit_layer(sink: GzipWriter) -> None:
        layers.write_commit_layer(sink, objects, found, info.checksum, info.detached)

    def content_layer(chosen: Content, sink: GzipWriter) -> None:
        mine = {checksum: found.paths[checksum] for checksum in chosen.checksums}
        layers.write_content_layer(sink, objects, mine)

    made = [_add_layer(file, subject, (), commit_layer)]
    made += [
        _add_layer(file, each.name, each.components, partial(content_layer, each)) for each in plan
    ]
    all_labels = _labels(info, made[-1].diffid) | dict(labels)
    config = _config(info, made, all_labels, arch)
    config_digest = hashlib.sha256(config).hexdigest()
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor(_CONFIG, config_digest, len(config)),
        "layers": [_layer_descriptor(layer) for layer in made],
        "annotations": all_labels,
    })  # fmt: skip
    manifest_digest = hashlib.sha256(manifest).hexdigest()
    _add(file, f"blobs/sha256/{config_digest}", config)
    _add(file, f"blobs/sha256/{manifest_digest}", manifest)
    reference = _descriptor(_MANIFEST, manifest_digest, len(manifest))
    reference["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    reference["platform"] = {"architecture": _GO_ARCH.get(arch, arch), "os": "linux"}
    index: dict[str, Json] = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [reference]}
    _add(file, "index.json", _json(index))
    file.write(tarwrite.end())
    diffids = tuple(layer.diffid for layer in made)
    return Archive(manifest_digest, config_digest, manifest.decode(), diffids)


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


def _config(info: _Commit, made: Sequence[_Layer], labels: Mapping[str, str], arch: str) -> bytes:
    created = clock.iso(info.timestamp)
    inner: dict[str, Json] = {"Labels": dict(labels)}
    if command := info.metadata.get("ostree.container-cmd"):
        inner["Cmd"] = list(command)
    # diff_ids, history and the manifest's layers correspond one to one.
    return _json({
        "architecture": _GO_ARCH.get(arch, arch),
        "os": "linux",
        "created": created,
        "config": inner,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diffid}" for layer in made]},
        "history": [{"created": created, "created_by": layer.created_by} for layer in made],
    })  # fmt: skip


def _add_layer(
    file: IO[bytes], name: str, components: tuple[str, ...], fill: Callable[[GzipWriter], None]
) -> _Layer:
    """Write a layer's blob straight into the archive; its name is known only afterwards."""
    start = file.tell()
    file.write(b"\0" * tarwrite.BLOCK)
    with events.step(f"layer: {name}") as step, GzipWriter(file) as gz:
        fill(gz)
    step.size = gz.size
    file.write(b"\0" * tarwrite.padding(gz.size))
    end = file.tell()
    file.seek(start)
    file.write(_header(f"blobs/sha256/{gz.digest}", gz.size))
    file.seek(end)
    return _Layer(gz.digest, gz.size, gz.plain_digest, name, components)


def _add(file: IO[bytes], name: str, data: bytes) -> None:
    file.write(_header(name, len(data)))
    file.write(tarwrite.padded(data))


def _header(name: str, size: int) -> bytes:
    return tarwrite.header(tarwrite.REGULAR, name.encode(), size=size)


def _descriptor(media: str, digest: str, size: int) -> dict[str, Json]:
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}


def _layer_descriptor(layer: _Layer) -> dict[str, Json]:
    found = _descriptor(_LAYER, layer.digest, layer.size)
    if layer.components:
        found["annotations"] = {"ostree.components": ",".join(layer.components)}
    return found


def _json(value: Mapping[str, Json]) -> bytes:
    """Canonical JSON: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
