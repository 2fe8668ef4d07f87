"""Images of further platforms for a build that is published already.

All that is needed is in the build's commit: the tree, image.json and platforms.json. The
unbranded disk is kept (the one used last), so that a second image costs its conversion only.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json, Store, step_id
from cosa.images.disk import make_raw
from cosa.images.inputs import image_inputs
from cosa.images.packs import Facts
from cosa.images.platform import Settings
from cosa.images.produce import Order, produce
from cosa.images.sparse import sparse_copy
from cosa.model.imagespec import ImageSpec, load_image_spec, load_platform_settings
from cosa.model.meta import Meta
from cosa.model.platforms import Platform, platform, possible
from cosa.pipeline import definition, metadata
from cosa.pipeline.record import Made, Record
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools import ostree

ALL = "all"


@dataclass(frozen=True)
class Wish:
    """What is asked for: platforms by name (or `all`), the build (empty: the latest)."""

    platforms: Sequence[str]
    build: str = ""
    force: bool = False


@dataclass
class Outcome:
    """How it went: the images made, by platform, and those that were there already."""

    build: str
    made: dict[str, Path] = field(default_factory=dict)
    there: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Build:
    """A published build and what its commit says of disks."""

    workdir: Workdir
    folder: Path
    arch: str
    meta: Meta
    spec: ImageSpec
    platforms: Path | None
    settings: Settings

    @property
    def epoch(self) -> int:
        return int(datetime.fromisoformat(self.meta.ostree_timestamp).timestamp())


def osbuild(workdir: Workdir, wish: Wish) -> Outcome:
    """Make images for a build; those it has stay, unless `force`.

    Two at once for different platforms do not wait for each other, for one they do.
    Raises `platform/*`, `build/unknown`, `build/no-commit`, `image/*`, `env/disk-full`.
    """
    arch = basearch()
    rows = [platform(name, arch) for name in _names(wish.platforms, arch)]
    workdir.need_init()
    folder = workdir.build(wish.build, arch)
    outcome = Outcome(Meta.read(folder / "meta.json").buildid)
    workdir.tmp.mkdir(exist_ok=True)
    with _alone(workdir, outcome.build, rows), fs.private_dir(workdir.tmp, "osbuild") as work:
        # Only now: another run may just have made one of them.
        meta = Meta.read(folder / "meta.json")
        wanted = []
        for row in rows:
            if _has(folder, meta, row) and not wish.force:
                outcome.there.append(row.name)
                events.note(f"image {row.name} is there already")
            else:
                _check_uncompressed(meta, row)
                wanted.append(row)
        if wanted:
            found = _open(workdir, folder, arch, meta, work)
            outcome.made = _make(found, wanted, work)
    return outcome


def _names(wanted: Sequence[str], arch: str) -> list[str]:
    names: list[str] = []
    for name in wanted:
        names += possible(arch) if name == ALL else [name]
    return list(dict.fromkeys(names))


@contextlib.contextmanager
def _alone(workdir: Workdir, build: str, rows: Sequence[Platform]) -> Iterator[None]:
    """Wait for others who make the same images; in order of names, so that nobody waits for us."""
    with contextlib.ExitStack() as stack:
        for name in sorted(row.name for row in rows):
            # It stays: a lock file that is removed can be held by two at once.
            place = workdir.tmp / "locks" / f"image-{build}-{name}"
            stack.enter_context(store.lock(place, f"making the image {name}", wait=True))
        yield


def _has(folder: Path, meta: Meta, row: Platform) -> bool:
    image = meta.images.get(row.name)
    return image is not None and (folder / image.path).is_file()


def _check_uncompressed(meta: Meta, row: Platform) -> None:
    image = meta.images.get(row.name)
    if image and image.uncompressed_sha256:
        raise CosaError(
            "image/compressed", f"the image {row.name} of build {meta.buildid} is compressed",
            why="what meta.json says of it would no longer fit",
            fix=f"run `cosa decompress --artifact {row.name}` first", exit_class=ExitClass.USAGE,
        )  # fmt: skip


def _open(workdir: Workdir, folder: Path, arch: str, meta: Meta, work: Path) -> _Build:
    if not ostree.has_commit(workdir.repo, meta.ostree_commit):
        raise CosaError(
            "build/no-commit",
            f"the commit of build {meta.buildid} is not in {workdir.repo}",
            why="images are made from it", fix="run `cosa build --force`",
        )  # fmt: skip
    repo = ostree.Repo(workdir.repo)
    texts = {
        name: repo.read_text(meta.ostree_commit, f"/{definition.SHARE}/{name}")
        for name in ("image.json", "platforms.json")
    }
    if texts["image.json"] is None:
        events.note("the commit has no image.json: the definition's image.yaml is used")
        spec = load_image_spec(workdir.image_spec())
    else:
        spec = ImageSpec.model_validate(json.loads(texts["image.json"]))
    settings: Settings = {}
    path: Path | None = None
    if texts["platforms.json"] is not None:
        path = work / "platforms.json"
        path.write_text(texts["platforms.json"])
        settings = load_platform_settings(path).get(arch, {})
    return _Build(workdir, folder, arch, meta, spec, path, settings)


def _make(found: _Build, rows: Sequence[Platform], work: Path) -> dict[str, Path]:
    meta, out = found.meta, work / "out"
    out.mkdir()
    raw = work / "disk.raw"
    inputs = _inputs(found)
    _unbranded(found, raw, work, inputs)
    order = Order(
        rows,
        lambda row: out / f"{meta.name}-{meta.buildid}-{row.name}.{found.arch}.{row.suffix}",
        Facts(meta.name, meta.buildid, found.arch, found.epoch, found.spec, 0),
        found.settings,
    )
    images = produce(raw, order, work)
    made: dict[str, Made] = {}
    for name, image in images.items():
        fs.publish(image.path, found.folder / image.path.name)
        step = step_id(f"osbuild {name}", inputs | {"platforms": _json(found.platforms)})
        made[name] = Made(image.path.name, image.sha256, image.size, step)
    record = Record.read(found.folder)
    if record:
        steps = dict(record.artefacts) | {name: each.step for name, each in made.items()}
        Record(record.inputs, steps, record.before).write(found.folder)
    metadata.add_images(found.folder, made)
    return {name: found.folder / each.path for name, each in made.items()}


def _inputs(found: _Build) -> dict[str, Json]:
    """What decides the unbranded disk."""
    return {
        "commit": found.meta.ostree_commit,
        "name": found.meta.name,
        "image.json": found.spec.to_json(),
        "code of the flow": fs.sha256_file(Path(__file__)),
        **image_inputs("qemu", definition.shared_cache() / "programs.json"),
    }


def _json(path: Path | None) -> Json:
    return fs.sha256_file(path) if path else None


def _unbranded(found: _Build, raw: Path, work: Path, inputs: dict[str, Json]) -> None:
    """The unbranded disk: a copy of the one kept if that is of this commit, else a new one."""
    kept = Store(found.workdir.cache / "steps")
    place = found.workdir.tmp / "locks/disk"
    with store.lock(place, "making the disk", wait=True), events.step("disk") as step:
        there = kept.find("disk", inputs)
        if there is None:
            with kept.produce("disk", inputs) as folder:
                make_raw(
                    found.workdir.repo, found.meta.ostree_commit, found.spec, folder / "disk.raw",
                    osname=found.meta.name, arch=found.arch, epoch=found.epoch, scratch=work,
                )  # fmt: skip
            kept.trim("disk", 1)
            there = kept.find("disk", inputs)
            assert there is not None, "nobody else removes what was just used"
        else:
            step.reuse("kept from the images before")
        source = there / "disk.raw"
        fs.need_space(work, source.stat().st_blocks * 512, "a copy of the disk")
        sparse_copy(source, raw)
