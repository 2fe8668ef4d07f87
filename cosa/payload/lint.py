"""What is wrong with a release though `oc adm release new` would take it.

Each check answers something that broke clusters or mirrors: see the payload
page of the documentation for the stories behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosa.core.errors import CosaError, Where
from cosa.payload import documents
from cosa.payload.assemble import Release
from cosa.payload.documents import Object
from cosa.payload.imagestream import Tag, by_digest
from cosa.payload.layer import File
from cosa.payload.read import Payload, trusted_keys
from cosa.tools.registry import SCHEMA1, Client

PROFILE = "include.release.openshift.io/"
_RESERVED = ("image-references", "release-metadata")
# Strings that operators write where the release puts images and versions in.
_PLACEHOLDER = re.compile(
    rb"placeholder\.url\.oc\.will\.replace\.this\.org[^\s\"']*|0\.0\.1-snapshot(?=\W|\Z)"
)
_MARKS = (b"placeholder.url.oc.will", b"0.0.1-snapshot")


@dataclass(frozen=True)
class Finding:
    """One fault; `fatal` where a cluster cannot work with it."""

    code: str
    what: str
    where: Where | None = None
    why: str = ""
    fix: str = ""
    fatal: bool = False


def of_release(release: Release) -> list[Finding]:
    """Every finding on a release that is being made."""
    manifests = {file.name: file for file in release.files if file.name not in _RESERVED}
    return [*_references(release), *of_files(manifests)]


def of_payload(client: Client, payload: Payload) -> list[Finding]:
    """Every finding on a release that exists, its images' presence included."""
    found: list[Finding] = []
    stream, name = payload.stream.name, payload.metadata.get("version")
    if not payload.metadata:
        found.append(Finding(
            "payload/no-metadata", "the release has no release-metadata",
            why="the cluster version operator refuses it", fatal=True,
        ))  # fmt: skip
    elif stream != name:
        found.append(Finding(
            "payload/names-differ",
            f"image-references is named {stream!r}, release-metadata says {name!r}",
            why="the cluster version operator refuses a release of two names", fatal=True,
        ))  # fmt: skip
    for tag in payload.stream.tags:
        found += _image(client, tag)
    try:
        if not trusted_keys(payload):
            found.append(Finding(
                "payload/no-keys", "the release names no keys to verify later ones with",
                why="no ConfigMap has the annotation release.openshift.io/verification-config-map;"
                " every update from it needs force",
                fix="include an image of cluster-update-keys",
            ))  # fmt: skip
    except CosaError:
        pass  # a manifest that cannot be read is told below
    return [*found, *of_files(payload.manifests)]


def _image(client: Client, tag: Tag) -> Iterator[Finding]:
    """A component that is not named by digest, not there, or of the old format."""
    try:
        manifest = client.manifest(by_digest(tag))
    except CosaError as err:
        yield Finding(err.code, f"{tag.name}: {err.what}", None, err.why, err.fix, fatal=True)
        return
    if manifest.media_type in SCHEMA1:
        yield Finding(
            "payload/schema1", f"the image of {tag.name} has the old format (schema 1)",
            why="its digest changes when it is mirrored", fix="push it again with a current tool",
            fatal=True,
        )  # fmt: skip


def of_signatures(payload: Payload, old: Payload, store: Path) -> Iterator[Finding]:
    """Whether clusters on an older release will take this one."""
    from cosa.payload import signing

    try:
        rings = signing.keyrings(trusted_keys(old), f"release {old.version}")
        signing.verify(payload.digest, signing.stored(store, payload.digest), rings)
    except CosaError as err:
        yield Finding(
            "payload/unsigned", f"clusters on {old.version} will refuse it: {err.what}",
            why=err.why, fix=err.fix, fatal=True,
        )  # fmt: skip


def of_files(files: Mapping[str, File]) -> list[Finding]:
    """Every finding on manifests alone, in the order of their names."""
    found: list[Finding] = []
    objects: list[Object] = []
    for name in sorted(files):
        if not name.endswith(documents.SUFFIXES):
            continue
        found += _placeholders(files[name])
        try:
            objects += documents.objects(files[name].data, name)
        except CosaError as err:
            found.append(Finding(err.code, err.what, err.where, err.why, err.fix, fatal=True))
    return [*found, *_each(objects), *_duplicates(objects)]


def _references(release: Release) -> Iterator[Finding]:
    for tag in release.stream.tags:
        try:
            by_digest(tag)
        except CosaError as err:
            yield Finding(err.code, err.what, err.where, err.why, err.fix, fatal=True)


def _placeholders(file: File) -> Iterator[Finding]:
    if not any(mark in file.data for mark in _MARKS):
        return
    for match in _PLACEHOLDER.finditer(file.data):
        line = file.data.count(b"\n", 0, match.start()) + 1
        column = match.start() - file.data.rfind(b"\n", 0, match.start())
        yield Finding(
            "payload/placeholder-left",
            f"the placeholder {match[0].decode('utf-8', 'replace')!r} was not replaced",
            Where(file.name, line, column),
            why="a reference is replaced only between white space or quotes, and not when"
            " another one ended one character before",
            fix="quote it in the operator's manifest, or name it in its image-references",
        )


def _each(objects: Iterable[Object]) -> Iterator[Finding]:
    for one in objects:
        if not any(key.startswith(PROFILE) for key in one.annotations):
            yield Finding(
                "payload/no-profile", f"{one} has no annotation of a cluster profile",
                one.where,
                why="the cluster version operator leaves it out of every cluster",
                fix=f'annotate it: {PROFILE}self-managed-high-availability: "true"',
            )  # fmt: skip
        if one.kind == "ClusterOperator" and one.group == "config.openshift.io":
            yield from _cluster_operator(one)


def _cluster_operator(one: Object) -> Iterator[Finding]:
    status = one.data.get("status")
    versions = status.get("versions") if isinstance(status, dict) else None
    if not versions:
        yield Finding(
            "payload/no-operator-versions", f"{one} has no status.versions", one.where,
            why="the cluster version operator then refuses it (ClusterOperatorNoVersions)",
            fix="list what the operator reports, at least the version of operator",
            fatal=True,
        )  # fmt: skip


def _duplicates(objects: Iterable[Object]) -> Iterator[Finding]:
    """One object in several files: whichever is applied last wins, again and again.

    Objects meant for different feature sets, profiles or capabilities are not the same.
    """
    seen: dict[tuple[object, ...], list[Object]] = {}
    for one in objects:
        seen.setdefault(one.identity, []).append(one)
    for same in seen.values():
        for position, one in enumerate(same):
            for other in same[:position]:
                if _meet(one, other):
                    yield Finding(
                        "payload/duplicate-object",
                        f"{one} is defined twice: also at {other.where}", one.where,
                        why="both may be applied to one cluster",
                        fix="remove one of them, or annotate them for different clusters",
                        fatal=one.file == other.file,
                    )  # fmt: skip
                    break


def _meet(one: Object, other: Object) -> bool:
    """Whether one cluster may get both."""
    for key in ("release.openshift.io/feature-set", "release.openshift.io/feature-gate"):
        mine, theirs = _words(one, key), _words(other, key)
        if key.endswith("gate"):
            if any(f"-{word}" in theirs or word == f"-{t}" for word in mine for t in theirs) or any(
                f"-{word}" in mine for word in theirs
            ):
                return False
        elif mine and theirs and not mine & theirs:
            return False
    if _words(one, "release.openshift.io/delete") != _words(other, "release.openshift.io/delete"):
        return True
    mine, theirs = _profiles(one), _profiles(other)
    return bool(mine & theirs)


def _words(one: Object, key: str) -> set[str]:
    return {word.strip() for word in one.annotations.get(key, "").split(",") if word.strip()}


def _profiles(one: Object) -> set[str]:
    return {key for key, value in one.annotations.items()
            if key.startswith(PROFILE) and value == "true"}  # fmt: skip
