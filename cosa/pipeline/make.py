"""Making what has to be made: the commit, its artefacts, the metadata; then publishing.

Imported only when something changed: what stands behind it is slow to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cosa.compose.engine import compose
from cosa.compose.fetch import fetch
from cosa.compose.job import Commit, ComposeJob
from cosa.compose.resolve import Resolution
from cosa.core import clock, events, fs
from cosa.core import run as runner
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.model import version as versions
from cosa.pipeline import artefacts, cachetools, commits, metadata, space, versioning
from cosa.pipeline.build import Run
from cosa.pipeline.previous import Previous
from cosa.pipeline.publish import publish
from cosa.pipeline.record import Inputs, Record
from cosa.tools import ostree

_PROGRAMS = (
    "setpriv", "bwrap", "mke2fs", "debugfs", "mkfs.fat", "mmd", "mcopy", "grub-mkimage", "qemu-img",
)  # fmt: skip


def download(run: Run, resolution: Resolution) -> None:
    """Bring the packages into the shared cache."""
    fetch(resolution.packages, run.repos, run.cache)


def new_build(
    run: Run, resolution: Resolution, inputs: Inputs, before: Previous | None
) -> tuple[str, Path]:
    """Make a build and publish it; its id and folder."""
    _need_tools()
    _need_space(run, resolution, before)
    commit = _commit(run, resolution, inputs, before)
    existing = [entry.id for entry in run.workdir.read_builds().builds]
    build, generation = versions.image_rebuild_id(commit.version, existing)
    source = None if run.options.force_image else before
    made = artefacts.make(_job(run, commit, build, run.targets, source), inputs)
    with events.step("publish") as step:
        out = run.work / "out"
        facts = metadata.Facts(
            definition=run.found, commit=commit, build=build, generation=generation,
            artefacts=made, resolution=resolution, inputs=inputs, overrides=run.overrides,
            previous=_latest(run), parent=_parent_build(run),
            delayed=run.options.delay_meta_merge, archive=not run.options.skip_config_archive,
        )  # fmt: skip
        metadata.write(facts, out, run.workdir.repo)
        folder = publish(run.workdir, out, build, run.arch)
        step.summary = build
    return build, folder


def extend(run: Run, before: Previous, inputs: Inputs, missing: Sequence[str]) -> None:
    """Add artefacts to a build that lacks them; its meta.json comes last."""
    commit = commits.Known(run.workdir, inputs["compose"]).from_build(before)
    if commit is None:
        raise CosaError(
            "build/no-commit",
            f"the commit of build {before.build} is no longer in {run.workdir.repo}",
            why=f"it is needed to make {', '.join(missing)}",
            fix="run `cosa build --force`",
        )
    made = artefacts.make(_job(run, commit, before.build, missing, None), inputs)
    for artefact in made.values():
        fs.publish(run.work / "out" / artefact.path, before.folder / artefact.path)
    steps = dict(before.record.artefacts) | {name: each.step for name, each in made.items()}
    Record(inputs, steps, before.record.before).write(before.folder)
    metadata.add_images(before.folder, made)


def _job(
    run: Run, commit: Commit, build: str, targets: Sequence[str], before: Previous | None
) -> artefacts.Job:
    out = run.work / "out"
    out.mkdir(exist_ok=True)
    return artefacts.Job(
        definition=run.found, repo=run.workdir.repo, commit=commit, build=build, out=out,
        scratch=run.work, targets=tuple(targets), earlier=before.source if before else None,
    )  # fmt: skip


def _commit(run: Run, resolution: Resolution, inputs: Inputs, before: Previous | None) -> Commit:
    """The commit: of the build before, of a run that was killed later on, or a new one."""
    known = commits.Known(run.workdir, inputs["compose"])
    parent = _parent_commit(run)
    same_version = before and run.version in ("", before.meta.ostree_version)
    if before and same_version and not run.options.force and not parent:
        taken = known.from_build(before)
        if taken:
            return taken
    existing = [entry.id for entry in run.workdir.read_builds().builds]
    version = run.version or versioning.development(run.found, existing)
    added = metadata.commit_metadata(run.found, resolution)
    key = added | ({"parent": parent} if parent else {})
    taken = None if run.options.force else known.from_killed_run(version, key)
    if taken:
        return taken
    rpms = fetch(resolution.packages, run.repos, run.cache)
    with events.step("compose") as step:
        commit = compose(
            ComposeJob(
                tree=run.found.tree, packages=resolution.packages, rpms=rpms,
                config=run.found.config, overrides_rootfs=run.found.overrides_rootfs,
                extra_layers=run.layers, cache=run.workdir.cache, scratch=run.work / "compose",
                target_repo=run.workdir.repo, version=version,
                epoch=_epoch(), metadata=added,
                # As upstream: a commit says nothing of the one before unless told to, so that
                # builds of the same in two places are the same.
                parent=parent,
                engine=run.engine,
            )
        )  # fmt: skip
        step.summary = f"{commit.version}, {commit.checksum[:12]}"
    known.remember(commit, key)
    return commit


def _latest(run: Run) -> Path | None:
    """The folder of the build that was the latest so far, whoever made it."""
    try:
        return run.workdir.build("", run.arch)
    except CosaError as err:
        if err.code not in ("build/none", "build/unknown"):
            raise
        return None


def _parent_build(run: Run) -> Path | None:
    name = run.options.parent_build
    return run.workdir.build(name, run.arch) if name else None


def _parent_commit(run: Run) -> str | None:
    """The commit the new one is to name as its parent: given as such, or by a build's id."""
    wanted = run.options.parent
    if not wanted:
        return None
    is_commit = len(wanted) == 64 and not wanted.strip("0123456789abcdef")
    commit = wanted if is_commit else run.workdir.meta(wanted, run.arch).ostree_commit
    if not ostree.has_commit(run.workdir.repo, commit):
        raise CosaError(
            "build/no-commit", f"the commit {commit[:12]} is not in {run.workdir.repo}",
            why="--parent needs it there", fix="leave --parent away, or import the build anew",
        )  # fmt: skip
    return commit


def _epoch() -> int:
    pinned = clock.source_date_epoch()
    return clock.now() if pinned is None else pinned


def _need_tools() -> None:
    """Say at once which programs are missing, before minutes of work. Raises `env/missing-tool`."""
    problems = Problems()
    for program in _PROGRAMS:
        with problems.collecting():
            runner.which(program)
    problems.raise_if_any("programs are missing", ExitClass.ENVIRONMENT)


def _need_space(run: Run, resolution: Resolution, before: Previous | None) -> None:
    """Check for room before the work. Raises `env/disk-full`, saying what would make room."""
    found = space.needs(
        resolution.packages, run.targets, tmp=run.workdir.tmp, cache=run.cache,
        pkgcache=run.workdir.cache / "pkgcache", before=before.meta if before else None,
    )  # fmt: skip
    space.check(found, lambda: cachetools.freeable(run.workdir, run.cache))
