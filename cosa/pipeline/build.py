"""`cosa build`: from an OS definition to a published build with a bootable disk image.

    definition -> packages (solved) -> nothing changed? -> RPMs -> commit
               -> ociarchive | raw disk -> qcow2 -> metadata -> builds/ID/ARCH

All work happens in a private folder below tmp/; what a killed run leaves there
is swept away by the next one, which goes on from the caches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cosa.compose.fetch import fetch
from cosa.compose.native import Commit, ComposeJob, compose
from cosa.compose.resolve import Resolution, resolve
from cosa.core import clock, events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model import version as versions
from cosa.model.platforms import platform
from cosa.pipeline import artefacts, commits, definition, metadata, previous
from cosa.pipeline.definition import Definition
from cosa.pipeline.inputs import inputs_of
from cosa.pipeline.previous import Previous
from cosa.pipeline.publish import publish, recover
from cosa.pipeline.record import Inputs, Record
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools.repofile import RepoConfig

DEFAULT_TARGETS = ("ostree", "qemu")
_COMMIT_ONLY = ("ostree", "container")
# Room needed, as multiples of the packed packages' size (measured: 230 MB of RPMs).
_IMPORTED = 5  # package cache and repository, once
_TRANSIENT = 8  # commit, archive, raw disk, qcow2


@dataclass(frozen=True)
class Options:
    """What the command line may ask of a build."""

    targets: Sequence[str] = ()
    version: str = ""
    force: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Outcome:
    """How it went: the build's id and folder, and whether it was there already."""

    build: str
    folder: Path
    changed: bool
    why: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


@dataclass
class _Run:
    """One build under way: what is known so far."""

    workdir: Workdir
    options: Options
    arch: str
    work: Path
    cache: Path
    found: Definition
    targets: tuple[str, ...]
    repos: list[RepoConfig] = field(default_factory=list)
    layers: dict[str, Path] = field(default_factory=dict)


def build(workdir: Workdir, options: Options) -> Outcome:
    """Make a build, or find that the latest one is made of the same.

    Raises `busy/locked` when another build runs here, and what the steps raise.
    """
    targets = _targets(options.targets, basearch())
    if options.version:
        versions.check_id(options.version)
    with _begun(workdir, options, targets) as run:
        active = definition.overrides_in_use(run.found)
        for name in active:
            events.note(f"override in use: {name}")
        if options.version and (workdir.builds / options.version / run.arch).exists():
            # As upstream has it: pipelines that run twice must not fail.
            events.warn(f"build {options.version} exists already and stays as it is")
            folder = workdir.build(options.version, run.arch)
            return Outcome(options.version, folder, changed=False)
        return _build(run, tuple(active))


def fetch_only(workdir: Workdir, options: Options, lockfile: Path | None = None) -> int:
    """Solve and download, for a later `build` without network; the number of packages.

    The solution is written to `lockfile` if given.
    """
    with _begun(workdir, options, ()) as run:
        resolution = _resolve(run)
        fetch(resolution.packages, run.repos, run.cache)
        if lockfile:
            resolution.lockfile().write(lockfile)
        return len(resolution.packages)


@contextmanager
def _begun(workdir: Workdir, options: Options, targets: tuple[str, ...]) -> Iterator[_Run]:
    """The lock, a private folder, what a killed run left undone, and the definition."""
    workdir.need_init()
    _need_writable(workdir)
    arch = basearch()
    with (
        store.lock(workdir.lock_file, "a build"),
        fs.private_dir(workdir.tmp, "build") as work,
    ):
        recover(workdir)
        with events.step("definition"):
            found = definition.load(workdir, arch)
        yield _Run(workdir, options, arch, work, definition.shared_cache(), found, targets)


def _build(run: _Run, active: tuple[str, ...]) -> Outcome:
    with_layer = definition.share_layer(run.found, run.work)
    run.layers = {"usr-share-cosa": with_layer}
    resolution = _resolve(run)
    with events.step("compare inputs") as step:
        inputs = inputs_of(run.found, resolution, run.layers)
        before = previous.find(run.workdir, run.arch)
        reasons = before.reasons(inputs) if before else ["first build here"]
        if before and not reasons:
            step.reuse("nothing changed")
        for reason in reasons[:8]:
            step.note(reason)
        if len(reasons) > 8:
            step.note(f"and {len(reasons) - 8} more changes")
    if before and not reasons and not run.options.force:
        missing = before.lacks(run.targets)
        if missing:
            _extend(run, before, inputs, missing)
        return Outcome(before.build, before.folder, bool(missing), (), active)
    _need_space(run, resolution)
    commit = _commit(run, resolution, inputs, before)
    existing = [entry.id for entry in run.workdir.read_builds().builds]
    build_id, generation = versions.image_rebuild_id(commit.version, existing)
    made = artefacts.make(_job(run, commit, build_id, run.targets, before), inputs)
    with events.step("publish") as step:
        out = run.work / "out"
        facts = metadata.Facts(
            definition=run.found, commit=commit, build=build_id, generation=generation,
            artefacts=made, resolution=resolution, inputs=inputs, overrides=active,
        )  # fmt: skip
        metadata.write(facts, out, run.workdir.repo)
        folder = publish(run.workdir, out, build_id, run.arch)
        step.summary = f"{build_id}"
    return Outcome(build_id, folder, changed=True, why=tuple(reasons), overrides=active)


def _job(
    run: _Run, commit: Commit, build: str, targets: Sequence[str], before: Previous | None
) -> artefacts.Job:
    out = run.work / "out"
    out.mkdir(exist_ok=True)
    return artefacts.Job(
        definition=run.found, repo=run.workdir.repo, commit=commit, build=build, out=out,
        scratch=run.work, targets=tuple(targets), earlier=before.source if before else None,
    )  # fmt: skip


def _extend(run: _Run, before: Previous, inputs: Inputs, missing: Sequence[str]) -> None:
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
    Record(inputs, steps).write(before.folder)
    metadata.add_images(before.folder, made)


def _targets(wanted: Sequence[str], arch: str) -> tuple[str, ...]:
    """The artefacts to make; the commit's archive always. Raises `platform/...`."""
    images = [name for name in wanted if name not in _COMMIT_ONLY]
    for name in images:
        platform(name, arch)
    return ("ostree", *dict.fromkeys(images)) if wanted else DEFAULT_TARGETS


def _need_writable(workdir: Workdir) -> None:
    for folder in (workdir.root, workdir.builds, workdir.tmp, workdir.cache):
        if folder.exists() and not os.access(folder, os.W_OK):
            raise CosaError(
                "env/not-writable",
                f"{folder} is not writable",
                fix="make it writable for this user, or choose another place with --workdir",
                exit_class=ExitClass.ENVIRONMENT,
            )
        folder.mkdir(parents=True, exist_ok=True)


def _resolve(run: _Run) -> Resolution:
    run.repos = definition.repositories(run.workdir, run.found)
    return resolve(
        run.found.tree, run.repos, cache=run.cache, lockfiles=run.found.lockfiles,
        strict=run.options.strict, local_rpms=run.found.local_rpms,
    )  # fmt: skip


def _version(run: _Run, existing: list[str]) -> str:
    if run.options.version:
        return run.options.version
    tree = run.found.tree
    base = versions.scheme(
        releasever=str(tree.releasever or ""), variables=dict(tree.variables),
        prefix=tree.automatic_version_prefix, suffix=tree.automatic_version_suffix,
        lock_day=run.found.lockfiles[0].generated_day if run.found.lockfiles else None,
    ).base()  # fmt: skip
    return versions.next_version(base, existing)


def _commit(run: _Run, resolution: Resolution, inputs: Inputs, before: Previous | None) -> Commit:
    """The commit: of the build before, of a run that was killed later on, or a new one."""
    known = commits.Known(run.workdir, inputs["compose"])
    if before and not run.options.force and run.options.version in ("", before.meta.ostree_version):
        taken = known.from_build(before)
        if taken:
            return taken
    existing = [entry.id for entry in run.workdir.read_builds().builds]
    version = _version(run, existing)
    added = metadata.commit_metadata(run.found)
    taken = None if run.options.force else known.from_killed_run(version, added)
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
                # As upstream: a commit says nothing of the one before, so that builds of the same
                # in two places are the same.
                parent=None,
            )
        )  # fmt: skip
        step.summary = f"{commit.version}, {commit.checksum[:12]}"
    known.remember(commit, added)
    return commit


def _epoch() -> int:
    pinned = clock.source_date_epoch()
    return clock.now() if pinned is None else pinned


def _need_space(run: _Run, resolution: Resolution) -> None:
    """Check for room before the work. The factors come from measured builds of the stand-in."""
    packed = sum(package.size for package in resolution.packages)
    fresh = 0 if run.workdir.repo.exists() else _IMPORTED
    fs.need_space(run.workdir.tmp, (_TRANSIENT + fresh) * packed, "the build")
