"""The files of a build, made side by side from one commit: ociarchive and disk images.

What an earlier build made from the same inputs is hardlinked: artefacts are
read-only and never changed in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosa.compose.native import Commit
from cosa.container.archive import write_ociarchive
from cosa.core import events, fs, parallel
from cosa.core.store import step_id
from cosa.images.disk import make_raw
from cosa.images.packs import Facts
from cosa.images.produce import Order, produce
from cosa.model.imagespec import load_platform_settings
from cosa.model.platforms import PLATFORMS, platform
from cosa.pipeline.definition import Definition
from cosa.pipeline.record import Earlier, Inputs, Made

_MANIFEST = "oci-manifest"


@dataclass(frozen=True)
class Job:
    """What to make, from what, and where."""

    definition: Definition
    repo: Path
    commit: Commit
    build: str
    out: Path
    scratch: Path
    targets: tuple[str, ...]
    earlier: Earlier | None


def step_ids(targets: tuple[str, ...], commit: str, version: str, inputs: Inputs) -> dict[str, str]:
    """For each target the digest of all that decides its bytes."""
    found = {}
    for target in targets:
        area = "container" if target == "ostree" else "image"
        found[target] = step_id(
            target, {"commit": commit, "version": version, "inputs": inputs[area]}
        )
    return found


def make(job: Job, inputs: Inputs) -> dict[str, Made]:
    """Make every target of the job in its folder. The first failure stops the rest."""
    steps = step_ids(job.targets, job.commit.checksum, job.commit.version, inputs)
    if "ostree" in steps:
        steps[_MANIFEST] = steps["ostree"]
    wanted = tuple(steps)
    taken = {name: made for name in wanted if (made := _take_over(job, name, steps[name]))}
    images = [name for name in job.targets if name not in taken and name != "ostree"]
    works: list[Callable[[], dict[str, Made]]] = []
    if "ostree" in job.targets and "ostree" not in taken:
        works.append(lambda: _archive(job, steps["ostree"]))
    if images:
        works.append(lambda: _images(job, images, steps))
    for fresh in parallel.side_by_side(*works) if works else []:
        taken |= fresh
    return {name: taken[name] for name in wanted}


def file_name(job: Job, target: str, suffix: str) -> str:
    """`NAME-ID-PLATFORM.ARCH.SUFFIX`, as upstream names artefacts."""
    stem = f"{job.definition.name}-{job.build}"
    if target == _MANIFEST:
        return f"{stem}-ostree.{job.definition.arch}-{suffix}"
    return f"{stem}-{target}.{job.definition.arch}.{suffix}"


def _suffix(target: str) -> str:
    if target == _MANIFEST:
        return "manifest.json"
    return "ociarchive" if target == "ostree" else PLATFORMS[target].suffix


def _take_over(job: Job, target: str, step: str) -> Made | None:
    earlier = job.earlier
    if earlier is None or earlier.steps.get(target) != step or target not in earlier.files:
        return None
    there = earlier.files[target]
    source = earlier.folder / there.path
    if not source.is_file() or source.stat().st_size != there.size:
        return None
    with events.step(_title(target)) as this:
        name = file_name(job, target, _suffix(target))
        os.link(source, job.out / name)
        this.size = there.size
        this.reuse("same as in the build before")
    return Made(name, there.sha256, there.size, step)


def _title(target: str) -> str:
    names = {"ostree": "container archive", _MANIFEST: "container manifest"}
    return names.get(target, f"image {target}")


def _archive(job: Job, step: str) -> dict[str, Made]:
    """The archive of the commit, and its manifest as a file of its own."""
    with events.step(_title("ostree")) as this:
        out = job.out / file_name(job, "ostree", "ociarchive")
        labels = {
            "com.coreos.osname": job.definition.name,
            "com.coreos.stream": str(job.definition.tree.variables.get("stream", "")),
        }
        archive = write_ociarchive(
            job.repo,
            job.commit.checksum,
            out,
            labels={key: value for key, value in labels.items() if value},
            arch=job.definition.arch,
        )
        manifest = job.out / file_name(job, _MANIFEST, "manifest.json")
        manifest.write_text(archive.manifest)
        made = {_MANIFEST: _finished(manifest, step, this)}
        return made | {"ostree": _finished(out, step, this)}


def _images(job: Job, targets: list[str], steps: Mapping[str, str]) -> dict[str, Made]:
    found = job.definition
    raw = job.scratch / "disk.raw"
    with events.step("disk"):
        make_raw(
            job.repo, job.commit.checksum, found.image, raw,
            osname=found.name, arch=found.arch, epoch=job.commit.timestamp,
            scratch=job.scratch,
        )  # fmt: skip
    settings = load_platform_settings(found.platforms) if found.platforms else {}
    facts = Facts(found.name, job.build, found.arch, job.commit.timestamp, found.image, 0)
    order = Order(
        [platform(target, found.arch) for target in targets],
        lambda row: job.out / file_name(job, row.name, row.suffix),
        facts, settings.get(found.arch, {}),
    )  # fmt: skip
    return {
        name: Made(image.path.name, image.sha256, image.size, steps[name])
        for name, image in produce(raw, order, job.scratch).items()
    }


def _finished(path: Path, step: str, this: events.Step) -> Made:
    path.chmod(0o444)
    size = path.stat().st_size
    this.size = size
    return Made(path.name, fs.sha256_file(path), size, step)
