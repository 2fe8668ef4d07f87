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
from dataclasses import dataclass, field, replace
from pathlib import Path

from cosa.compose import engine as engines
from cosa.compose.resolve import Resolution, resolve
from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model import version as versions
from cosa.model.platforms import platform
from cosa.pipeline import definition, locks, previous, prune, publish, versioning
from cosa.pipeline.definition import Definition
from cosa.pipeline.inputs import inputs_of
from cosa.pipeline.locks import Locks
from cosa.pipeline.previous import Previous
from cosa.pipeline.record import Inputs
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools.repofile import RepoConfig

DEFAULT_TARGETS = ("ostree", "qemu")
_COMMIT_ONLY = ("ostree", "container")
_REASONS_SHOWN = 8


@dataclass(frozen=True)
class Options:
    """What the command line may ask of a build.

    `version` is a fixed id, `versionary` asks for a production one. `force` builds though
    nothing changed, `force_image` makes new images of the same commit. `autolock` and
    `parent_build` are ids of builds, `parent` is a commit, or a build whose commit is meant.
    """

    targets: Sequence[str] = ()
    version: str = ""
    versionary: bool = False
    force: bool = False
    force_image: bool = False
    strict: bool = False
    autolock: str = ""
    parent_build: str = ""
    parent: str = ""
    skip_prune: bool = False
    prepare_only: bool = False
    tag: str = ""
    delay_meta_merge: bool = False
    skip_config_archive: bool = False
    engine: str = ""


@dataclass(frozen=True)
class Outcome:
    """How it went: the build's id and folder, and whether it was there already.

    `prepared` counts packages when all was made ready and no build was wanted.
    """

    build: str
    folder: Path
    changed: bool
    why: tuple[str, ...] = ()
    prepared: int = 0


@dataclass
class Run:
    """One build under way: what is known so far."""

    workdir: Workdir
    options: Options
    arch: str
    work: Path
    cache: Path
    found: Definition
    targets: tuple[str, ...]
    overrides: tuple[str, ...]
    locks: Locks
    version: str = ""  # the build's id where it is decided beforehand
    engine: engines.Engine = engines.Engine.NATIVE
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
        if options.parent_build:
            workdir.build(options.parent_build, run.arch)
        for name in run.overrides:
            events.note(f"override in use: {name}")
        for text in run.found.locks.overridden():
            events.note(f"lock override in use: {text}")
        run.version = options.version or (versioning.production(run) if options.versionary else "")
        if run.version and (workdir.builds / run.version / run.arch).exists():
            # As upstream has it: pipelines that run twice must not fail.
            events.warn(f"build {run.version} exists already and stays as it is")
            folder = workdir.build(run.version, run.arch)
            return Outcome(run.version, folder, changed=False)
        outcome = _build(run)
        if options.tag and outcome.build:
            found = workdir.read_builds().with_tag(options.tag, outcome.build)
            found.write(workdir.builds_json)
    if outcome.changed and not options.skip_prune:
        from cosa.pipeline import cachetools

        cachetools.after_build(workdir)
    return outcome


@dataclass(frozen=True)
class Fetching:
    """What the command line may ask of `fetch`.

    `update` writes the definition's own base lock, solved as if it had none; `lockfile` is
    another file the solution goes to. What is written leaves overrides/rpm out unless
    `overrides` is set, because a lock outlives them.
    """

    strict: bool = False
    autolock: str = ""
    update: bool = False
    lockfile: Path | None = None
    overrides: bool = False
    dry_run: bool = False


def fetch_only(workdir: Workdir, wanted: Fetching) -> Resolution:
    """Solve and (but for a dry run) download; what was decided."""
    with _begun(workdir, Options(strict=wanted.strict, autolock=wanted.autolock), ()) as run:
        outputs = [wanted.lockfile] if wanted.lockfile else []
        if wanted.update:
            run.locks = Locks(None, run.found.locks.overrides)
            outputs.append(locks.base_path(run.found.config, run.arch))
        if outputs and not wanted.overrides:
            run.found = replace(run.found, local_rpms=None)
        resolution = _resolve(run)
        from cosa.pipeline import make

        if not wanted.dry_run:
            make.download(run, resolution)
        for path in outputs:
            _write_lock(resolution, path)
        return resolution


def _write_lock(resolution: Resolution, path: Path) -> None:
    """Write a lockfile and say what is new in it."""
    from cosa.pipeline import pkgdiff

    before = pkgdiff.locked(path) if path.exists() else None
    resolution.lockfile().write(path)
    if before is None:
        events.note(f"{path}: {len(resolution.packages)} packages locked")
        return
    changes = pkgdiff.words(pkgdiff.packages(before, resolution.packages))
    events.note(f"{path}: {changes or 'the packages are the same'}")


@contextmanager
def _begun(workdir: Workdir, options: Options, targets: tuple[str, ...]) -> Iterator[Run]:
    """The lock, a private folder, what a killed run left undone, and the definition."""
    workdir.need_init()
    _need_writable(workdir)
    arch = basearch()
    with (
        store.lock(workdir.lock_file, "a build"),
        store.using(definition.shared_cache()),
        fs.private_dir(workdir.tmp, "build") as work,
    ):
        publish.recover(workdir)
        prune.recover(workdir)
        with events.step("definition"):
            found = definition.load(workdir, arch)
            chosen = locks.autolock(
                workdir.builds, found.locks, options.autolock, options.version,
                strict=options.strict,
            )  # fmt: skip
        yield Run(
            workdir, options, arch, work, definition.shared_cache(), found, targets,
            tuple(definition.overrides_in_use(found)), chosen,
            engine=engines.choose(found.tree, options.engine).engine,
        )  # fmt: skip


def inputs_now(workdir: Workdir, options: Options) -> tuple[Inputs, Previous | None]:
    """What a build begun now would be made from, and the build it would be compared with."""
    with _begun(workdir, options, _targets(options.targets, basearch())) as run:
        return inputs_of_run(run, _resolve(run)), previous.find(workdir, run.arch)


def inputs_of_run(run: Run, resolution: Resolution) -> Inputs:
    """What a build is made from; also lays out the layers it will need."""
    run.layers = {"usr-share-cosa": definition.share_layer(run.found, run.work)}
    inputs = inputs_of(run.found, resolution, run.layers)
    inputs["compose"] |= engines.inputs(run.engine)
    return inputs


def _build(run: Run) -> Outcome:
    resolution = _resolve(run)
    with events.step("compare inputs") as step:
        inputs = inputs_of_run(run, resolution)
        before = previous.find(run.workdir, run.arch)
        reasons = before.reasons(inputs) if before else ["first build here"]
        if before and not reasons:
            step.reuse("nothing changed")
        for reason in reasons[:_REASONS_SHOWN]:
            step.note(reason)
        if len(reasons) > _REASONS_SHOWN:
            step.note(f"and {len(reasons) - _REASONS_SHOWN} more changes")
    if run.options.prepare_only:
        from cosa.pipeline import make

        make.download(run, resolution)
        return Outcome("", run.workdir.root, changed=False, prepared=len(resolution.packages))
    if before and not reasons and not (run.options.force or run.options.force_image):
        missing = before.lacks(run.targets)
        if missing:
            from cosa.pipeline import make

            make.extend(run, before, inputs, missing)
        return Outcome(before.build, before.folder, changed=bool(missing))
    from cosa.pipeline import make

    build, folder = make.new_build(run, resolution, inputs, before)
    if not run.options.skip_prune:
        prune.prune(run.workdir)
    return Outcome(build, folder, changed=True, why=tuple(reasons))


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


def _resolve(run: Run) -> Resolution:
    run.repos = definition.repositories(run.workdir, run.found)
    return resolve(
        run.found.tree, run.repos, cache=run.cache, lockfiles=run.locks.files,
        strict=run.options.strict, local_rpms=run.found.local_rpms,
    )  # fmt: skip
