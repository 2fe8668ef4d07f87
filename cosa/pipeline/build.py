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

from cosa.compose import engine as engines
from cosa.compose.resolve import Resolution, resolve
from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model import version as versions
from cosa.model.platforms import platform
from cosa.pipeline import definition, previous, prune, publish
from cosa.pipeline.definition import Definition
from cosa.pipeline.inputs import inputs_of
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools.repofile import RepoConfig

DEFAULT_TARGETS = ("ostree", "qemu")
_COMMIT_ONLY = ("ostree", "container")
_REASONS_SHOWN = 8


@dataclass(frozen=True)
class Options:
    """What the command line may ask of a build."""

    targets: Sequence[str] = ()
    version: str = ""
    force: bool = False
    strict: bool = False
    skip_prune: bool = False
    engine: str = ""


@dataclass(frozen=True)
class Outcome:
    """How it went: the build's id and folder, and whether it was there already."""

    build: str
    folder: Path
    changed: bool
    why: tuple[str, ...] = ()


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
        for name in run.overrides:
            events.note(f"override in use: {name}")
        if options.version and (workdir.builds / options.version / run.arch).exists():
            # As upstream has it: pipelines that run twice must not fail.
            events.warn(f"build {options.version} exists already and stays as it is")
            folder = workdir.build(options.version, run.arch)
            return Outcome(options.version, folder, changed=False)
        return _build(run)


def fetch_only(
    workdir: Workdir, options: Options, lockfile: Path | None = None, *, dry_run: bool = False
) -> int:
    """Solve and (but for `dry_run`) download; the number of packages.

    The solution is written to `lockfile` if given.
    """
    with _begun(workdir, options, ()) as run:
        resolution = _resolve(run)
        from cosa.pipeline import make

        if not dry_run:
            make.download(run, resolution)
        if lockfile:
            resolution.lockfile().write(lockfile)
        return len(resolution.packages)


@contextmanager
def _begun(workdir: Workdir, options: Options, targets: tuple[str, ...]) -> Iterator[Run]:
    """The lock, a private folder, what a killed run left undone, and the definition."""
    workdir.need_init()
    _need_writable(workdir)
    arch = basearch()
    with (
        store.lock(workdir.lock_file, "a build"),
        fs.private_dir(workdir.tmp, "build") as work,
    ):
        publish.recover(workdir)
        prune.recover(workdir)
        with events.step("definition"):
            found = definition.load(workdir, arch)
        yield Run(
            workdir, options, arch, work, definition.shared_cache(), found, targets,
            tuple(definition.overrides_in_use(found)),
            engines.choose(found.tree, options.engine).engine,
        )  # fmt: skip


def _build(run: Run) -> Outcome:
    run.layers = {"usr-share-cosa": definition.share_layer(run.found, run.work)}
    resolution = _resolve(run)
    with events.step("compare inputs") as step:
        inputs = inputs_of(run.found, resolution, run.layers)
        inputs["compose"] |= engines.inputs(run.engine)
        before = previous.find(run.workdir, run.arch)
        reasons = before.reasons(inputs) if before else ["first build here"]
        if before and not reasons:
            step.reuse("nothing changed")
        for reason in reasons[:_REASONS_SHOWN]:
            step.note(reason)
        if len(reasons) > _REASONS_SHOWN:
            step.note(f"and {len(reasons) - _REASONS_SHOWN} more changes")
    if before and not reasons and not run.options.force:
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
        run.found.tree, run.repos, cache=run.cache, lockfiles=run.found.lockfiles,
        strict=run.options.strict, local_rpms=run.found.local_rpms,
    )  # fmt: skip
