"""`cosa buildfetch`: a build, or just the history, from where builds are published.

    builds.json            the list, replacing ours; a copy stays in tmp/builds-source.json
    ID/ARCH/meta.json ...  what describes the build; images only when asked for

Every file appears whole, images only after their sha256 was found right. What is here
already and right is not fetched again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core import events, fs, parallel, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.builds import Build, Builds
from cosa.model.meta import Artefact, Meta
from cosa.pipeline import compressing, metamerge, prune, publish
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools.bucket import Bucket

_OPTIONAL = ("commitmeta.json", "ostree-commit-object")
# The streams of production ids, by the third part of an id.
STREAMS = {
    "1": "next", "2": "testing", "3": "stable", "10": "next-devel", "20": "testing-devel",
    "91": "rawhide", "92": "branched", "93": "bodhi-updates-testing", "94": "bodhi-updates",
}  # fmt: skip
DEFAULT_STREAM = "testing-devel"


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; `all` in `arches` or `artefacts` means every one."""

    build: str = ""
    arches: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    newest_for: str = ""
    force: bool = False


def stream_of(build: str) -> str:
    """The stream a build's id says it is of."""
    parts = build.split(".")
    return STREAMS.get(parts[2], DEFAULT_STREAM) if len(parts) == 4 else DEFAULT_STREAM


def fetch(workdir: Workdir, bucket: Bucket, wish: Wish) -> tuple[str, list[str]]:
    """Fetch the list and a build; its id and architectures. No list there: empty, no failure.

    Raises `buildfetch/...`, `bucket/...`, `untrusted/digest`.
    """
    workdir.need_init()
    for folder in (workdir.builds, workdir.tmp):
        folder.mkdir(exist_ok=True)
    with store.lock(workdir.lock_file, "a build"):
        publish.recover(workdir)
        prune.recover(workdir)
        raw = bucket.read("builds.json")
        if raw is None:
            events.note(f"there is no builds.json at {bucket.address}: nothing to fetch")
            return "", []
        remote = Builds.parse(raw.decode("utf-8", "replace"), f"{bucket.address}/builds.json")
        fresh = _joined(workdir, remote, bucket, force=wish.force)
        entry = _entry(remote, wish, bucket) if remote.builds else None
        arches = _arches(entry, wish) if entry else []
        for arch in arches:
            _fetch_arch(workdir, bucket, f"{entry.id if entry else ''}", arch, wish)
        fresh.write(workdir.builds_json)
        fs.atomic_write(workdir.source_json, raw)
        fs.atomic_write(workdir.source_json.with_suffix(".txt"), bucket.address + "\n")
        if entry:
            publish.point_latest(workdir, entry.id)
        return (entry.id, arches) if entry else ("", [])


def _joined(workdir: Workdir, remote: Builds, bucket: Bucket, *, force: bool) -> Builds:
    """The list that will be ours. Raises `buildfetch/local-changes` rather than lose builds."""
    local = workdir.read_builds()
    known = Builds.read(workdir.source_json)
    if _same(local, known) or _same(local, remote) or not (local.builds or local.tags):
        return remote
    only = [b for b in local.builds if not all(remote.has(b.id, arch) for arch in b.arches)]
    if not force and only:
        raise CosaError(
            "buildfetch/local-changes",
            f"{workdir.builds_json} lists builds that are not at {bucket.address}",
            why=f"they are: {', '.join(b.id for b in only[:5])}",
            fix="upload or prune them, or use --force, which keeps them in the list",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    fresh = remote
    for build in reversed(only):
        for arch in build.arches:
            fresh = fresh.with_build(build.id, arch)
    return fresh


def _same(one: Builds, other: Builds) -> bool:
    return [b.to_json() for b in one.builds] == [b.to_json() for b in other.builds] and [
        t.to_json() for t in one.tags
    ] == [t.to_json() for t in other.tags]


def _entry(remote: Builds, wish: Wish, bucket: Bucket) -> Build:
    """The build that is wanted."""
    for entry in remote.builds:
        if wish.build:
            if entry.id == wish.build:
                return entry
        elif not wish.newest_for or wish.newest_for in entry.arches:
            return entry
    what = f"build {wish.build}" if wish.build else f"build for {wish.newest_for}"
    newest = ", ".join(f"{b.id} ({' '.join(b.arches)})" for b in remote.builds[:3])
    raise CosaError(
        "buildfetch/unknown", f"there is no {what} at {bucket.address}",
        fix=f"the newest there are: {newest}", exit_class=ExitClass.USAGE,
    )  # fmt: skip


def _arches(entry: Build, wish: Wish) -> list[str]:
    if "all" in wish.arches:
        return list(entry.arches)
    wanted = list(wish.arches) or [wish.newest_for or basearch()]
    for arch in wanted:
        if arch not in entry.arches:
            raise CosaError(
                "buildfetch/no-arch", f"build {entry.id} was not made for {arch}",
                fix=f"it has {', '.join(entry.arches)}: see --arch and --find-build-for-arch",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
    return wanted


def _fetch_arch(workdir: Workdir, bucket: Bucket, build: str, arch: str, wish: Wish) -> None:
    folder = fs.safe_join(fs.safe_join(workdir.builds, build), arch)
    folder.mkdir(parents=True, exist_ok=True)
    with events.step(f"fetch {build} for {arch}"):
        meta = _fetch_meta(bucket, folder, build, arch, force=wish.force)
        for name in (*_OPTIONAL, *wish.files):
            data = bucket.read(f"{build}/{arch}/{name}")
            if data is not None:
                path = fs.safe_join(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                fs.atomic_write(path, data)
            elif name in wish.files:
                raise _missing(bucket, f"{build}/{arch}/{name}")
        names = _artefacts(meta, wish.artefacts)
        parallel.each(lambda name: _fetch_image(bucket, folder, build, meta.images[name]), names, 4)


def _fetch_meta(bucket: Bucket, folder: Path, build: str, arch: str, *, force: bool) -> Meta:
    """meta.json; what was changed here since the published one was written stays."""
    name = f"{build}/{arch}/{metamerge.FILE}"
    raw = bucket.read(name)
    if raw is None:
        raise _missing(bucket, name)
    meta = Meta.parse(raw.decode("utf-8", "replace"), f"{bucket.address}/{name}")
    if meta.buildid != build:
        raise CosaError(
            "buildfetch/other-build", f"{bucket.address}/{name} is that of build {meta.buildid}",
            exit_class=ExitClass.UNTRUSTED,
        )  # fmt: skip
    path = folder / metamerge.FILE
    with metamerge.locked(folder):
        if path.is_file() and not force:
            mine = Meta.read(path)
            if mine.stamp > meta.stamp and mine.ostree_commit == meta.ostree_commit:
                events.note("meta.json was changed here since it was published: it stays")
                return mine
        fs.atomic_write(path, raw)
    return meta


def _artefacts(meta: Meta, wanted: Sequence[str]) -> list[str]:
    if "all" in wanted:
        return list(meta.images)
    for name in wanted:
        if name not in meta.images:
            raise CosaError(
                "buildfetch/no-artifact", f"build {meta.buildid} has no '{name}'",
                fix=f"it has: {', '.join(sorted(meta.images))}", exit_class=ExitClass.USAGE,
            )  # fmt: skip
    return list(wanted)


def _fetch_image(bucket: Bucket, folder: Path, build: str, entry: Artefact) -> None:
    path = fs.safe_join(folder, entry.path)
    with events.step(f"fetch {entry.path}") as step:
        if path.is_file() and fs.sha256_file(path) == entry.sha256:
            step.reuse("is here already")
            return
        partial = path.with_name(f".{path.name}.partial")
        if entry.size:
            fs.need_space(folder, entry.size, f"fetching {entry.path}")
        name = f"{build}/{folder.name}/{entry.path}"
        if not bucket.fetch(name, partial):
            raise _missing(bucket, name)
        digest = fs.sha256_file(partial)
        if digest != entry.sha256 and _unpack_transport(partial, entry):
            digest = fs.sha256_file(partial)
        if digest != entry.sha256:
            partial.unlink()
            raise CosaError(
                "untrusted/digest", f"{bucket.address}/{name} is not what meta.json says",
                why=f"its sha256 is {digest} instead of {entry.sha256}",
                fix="it is being replaced, damaged or tampered with: run again in a while",
                exit_class=ExitClass.UNTRUSTED,
            )  # fmt: skip
        partial.chmod(0o444)
        os.replace(partial, path)
        step.size = path.stat().st_size


def _unpack_transport(partial: Path, entry: Artefact) -> bool:
    """Undo the gzip a server stores a file in (`buildupload --enable-gz-peel`)."""
    how = compressing.COMPRESSORS["gzip"]
    with partial.open("rb") as file:
        if entry.path.endswith(how.suffix) or file.read(2) != b"\x1f\x8b":
            return False
    plain = partial.with_name(f"{partial.name}.plain")
    try:
        limit = entry.size or partial.stat().st_size * 2000
        compressing.decompress(partial, plain, how, limit)
        os.replace(plain, partial)
    finally:
        plain.unlink(missing_ok=True)
    return True


def _missing(bucket: Bucket, name: str) -> CosaError:
    return CosaError(
        "buildfetch/missing", f"{name} is not at {bucket.address}",
        why="the list there, or meta.json, says that it should be",
        exit_class=ExitClass.NETWORK,
    )  # fmt: skip
