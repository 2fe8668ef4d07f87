"""`cosa buildupload`: a build to where builds are published.

Per architecture images, other files, and meta.json last; then the files beside the
architectures; the list at the very end. So whoever finds a build listed finds all of it.
The list there is read again and gets this build added: what others put into it stays.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.builds import Builds
from cosa.model.meta import Meta
from cosa.pipeline.metamerge import FILE as META
from cosa.pipeline.workdir import Workdir
from cosa.tools.bucket import Bucket, Put

_ARTEFACT = 60 * 60 * 24 * 365  # seconds others may keep what never changes
_CHANGING = 300
_LIST = "builds.json"
_JSON = "application/json"


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; no artefacts: all of them, no arches: all that are here."""

    build: str = ""
    arches: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    skip_list: bool = False
    force: bool = False
    dry_run: bool = False
    gz_peel: bool = False


@dataclass(frozen=True)
class _Upload:
    """One file on its way; `once` that it is left alone when it is there."""

    source: Path
    name: str
    how: Put
    once: bool = False


def upload(workdir: Workdir, bucket: Bucket, wish: Wish) -> list[str]:
    """Upload a build; the names of what was sent (with `dry_run`: would be).

    Raises `buildupload/...`, `build/unknown`, `bucket/...`.
    """
    build = workdir.latest() if wish.build in ("", "latest") else wish.build
    found = workdir.read_builds()
    listed = [arch for entry in found.builds if entry.id == build for arch in entry.arches]
    here = [arch for arch in listed if workdir.has(build, arch)]
    arches = list(wish.arches) or here or [workdir.build(build).name]
    sent: list[str] = []
    with (
        store.lock(workdir.lock_file, "a build"),
        tempfile.TemporaryDirectory(dir=workdir.tmp, prefix="upload.") as scratch,
    ):
        for arch in arches:
            folder = workdir.build(build, arch)
            with events.step(f"upload {build} for {arch}"):
                for each in _of_arch(folder, f"{build}/{arch}", bucket, wish, Path(scratch)):
                    sent += _send(bucket, each, wish)
        for path in sorted((workdir.builds / build).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                how = Put(_CHANGING, _JSON if path.suffix == ".json" else "")
                sent += _send(bucket, _Upload(path, f"{build}/{path.name}", how), wish)
        if not wish.skip_list:
            path = Path(scratch, _LIST)
            path.write_text(_list(bucket, found, build, arches))
            sent += _send(bucket, _Upload(path, _LIST, Put(_CHANGING, _JSON)), wish)
            if not wish.dry_run:
                fs.atomic_write(workdir.source_json, path.read_text())
    return sent


def _of_arch(
    folder: Path, prefix: str, bucket: Bucket, wish: Wish, scratch: Path
) -> Iterator[_Upload]:
    meta = Meta.read(folder / META)
    unknown = [name for name in wish.artefacts if name not in meta.images]
    if unknown:
        raise CosaError(
            "buildupload/no-artifact", f"build {meta.buildid} has no '{unknown[0]}'",
            fix=f"it has: {', '.join(sorted(meta.images))}", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    chosen = set(wish.artefacts) or set(meta.images)
    dropped = set()
    for name, entry in meta.images.items():
        peel = wish.gz_peel and entry.uncompressed_sha256 is not None
        remote = _peeled(entry.path) if peel else entry.path
        if name not in chosen:
            # Named there only if it is there, too.
            if not bucket.has(f"{prefix}/{remote}"):
                dropped.add(name)
            continue
        path = folder / entry.path
        if not path.is_file():
            if bucket.has(f"{prefix}/{remote}"):
                continue
            raise CosaError(
                "buildupload/missing", f"{entry.path} is neither here nor at {bucket.address}",
                why=f"meta.json lists it as '{name}'",
                fix="name the images to upload with --artifact", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        how = Put(_ARTEFACT, _media(remote), "gzip" if remote != entry.path else "")
        yield _Upload(path, f"{prefix}/{remote}", how, once=True)
    images = {entry.path for entry in meta.images.values()}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and name != META and name not in images:
            yield _Upload(path, f"{prefix}/{name}", Put(_ARTEFACT, _media(name)))
    last = _meta(meta.to_json(), dropped, wish, scratch / f"{folder.name}.json")
    yield _Upload(last, f"{prefix}/{META}", Put(_CHANGING, _JSON))


def _meta(data: dict[str, Any], dropped: set[str], wish: Wish, out: Path) -> Path:
    """meta.json as it will be there."""
    images: dict[str, Mapping[str, Any]] = {}
    for name, entry in data["images"].items():
        if name in dropped:
            continue
        images[name] = entry
        plain = _peeled(entry["path"])
        if wish.gz_peel and plain != entry["path"] and "uncompressed-sha256" in entry:
            # Who asks for it gets it unpacked: so it is described.
            rest = {key: value for key, value in entry.items() if "compress" not in key}
            images[name] = rest | {
                "path": plain, "sha256": entry["uncompressed-sha256"],
                "size": entry["uncompressed-size"],
            }  # fmt: skip
    out.write_text(json.dumps(data | {"images": images}, indent=4) + "\n")
    return out


def _peeled(name: str) -> str:
    """The name a gzipped file has where servers say in a header that it is gzipped."""
    peel = name.endswith(".gz") and not name.endswith((".raw.gz", ".tar.gz", ".ova.gz"))
    return name.removesuffix(".gz") if peel else name


def _media(name: str) -> str:
    return _JSON if name.endswith(".json") else ""


def _send(bucket: Bucket, each: _Upload, wish: Wish) -> list[str]:
    if each.once and not wish.force and bucket.has(each.name):
        events.note(f"{each.name} is there already")
        return []
    if not wish.dry_run:
        with events.step(f"upload {each.name}") as step:
            bucket.store(each.source, each.name, each.how)
            step.size = each.source.stat().st_size
    return [each.name]


def _list(bucket: Bucket, found: Builds, build: str, arches: list[str]) -> str:
    """The list there, read just before it is replaced, with this build and its tags added."""
    raw = bucket.read(_LIST)
    name = f"{bucket.address}/{_LIST}"
    remote = Builds.parse(raw.decode("utf-8", "replace"), name) if raw else Builds()
    for arch in arches:
        remote = remote.with_build(build, arch)
    for tag in found.tags:
        if tag.target == build:
            others = [one for one in remote.tags if one.name != tag.name]
            remote = remote.model_copy(update={"tags": [*others, tag]})
    return json.dumps(remote.to_json(), indent=4) + "\n"
