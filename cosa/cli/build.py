"""`init`, `fetch`, `build`: from an OS definition to a build."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.settings import settings

if TYPE_CHECKING:
    from cosa.pipeline.build import Options, Outcome
    from cosa.pipeline.workdir import Workdir


@command(
    short={"force": "f", "branch": "b", "commit": "c", "variant": "V"},
    metavar={
        "branch": "NAME", "commit": "ID", "variant": "NAME", "yumrepos": "GIT",
        "yumrepos_branch": "NAME",
    },
    help={
        "config": "folder (linked) or git address (cloned) of the OS definition",
        "force": "even if the working directory is not empty",
        "transient": "accepted; nothing here waits longer for the disk than it must",
        "branch": "branch or tag of the definition to clone",
        "commit": "commit of the definition to check out",
        "variant": "use manifest-NAME.yaml and image-NAME.yaml",
        "yumrepos": "folder or git address with further *.repo files",
        "yumrepos-branch": "branch of it",
    },
)  # fmt: skip
def init(
    _c: Context,
    config: str,
    *,
    force: bool = False,
    transient: bool = False,  # noqa: ARG001  upstream's scripts pass it
    branch: str = "",
    commit: str = "",
    variant: str = "",
    yumrepos: str = "",
    yumrepos_branch: str = "",
) -> None:
    """Make the working directory ready for an OS definition."""
    from cosa.pipeline.initialise import Source
    from cosa.pipeline.initialise import init as init_workdir
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    init_workdir(
        workdir,
        Source(config, branch, commit),
        variant=variant,
        yumrepos=Source(yumrepos, yumrepos_branch) if yumrepos else None,
        force=force,
    )
    print(f"{workdir.root} is ready; next: cosa build")


@command(
    metavar={"write_lockfile_to": "FILE"},
    help={
        "strict": "take nothing that is not locked",
        "update-lockfile": "write the solution to manifest-lock.ARCH.json of the definition",
        "write-lockfile-to": "write the solution to FILE",
        "dry-run": "solve only",
    },
)
def fetch(
    _c: Context,
    *,
    strict: bool = False,
    update_lockfile: bool = False,
    write_lockfile_to: str = "",
    dry_run: bool = False,
) -> None:
    """Solve and download packages, so that `build` needs no network.

    `build` does this itself; upstream's pipelines call it before.
    """
    from pathlib import Path

    from cosa.pipeline.build import Options, fetch_only
    from cosa.pipeline.workdir import Workdir, basearch

    first_line("fetch")
    workdir = Workdir(settings().workdir)
    lockfile = Path(write_lockfile_to).absolute() if write_lockfile_to else None
    if update_lockfile:
        lockfile = workdir.config / f"manifest-lock.{basearch()}.json"
    count = fetch_only(workdir, Options(strict=strict), lockfile, dry_run=dry_run)
    print(f"{count} packages {'would be fetched' if dry_run else 'are here'}")


@command(
    positional=["targets"],
    iterable=["targets"],
    short={"force": "f"},
    alternatives={"force": ["force-nocache"]},
    metavar={"version": "V", "engine": "NAME"},
    help={
        "targets": "ostree (or container): the commit only; qemu, metal: that image; default qemu",
        "version": "the version, instead of the next one",
        "force": "build though nothing changed",
        "strict": "take nothing that is not locked",
        "engine": "native, rpm-ostree, or auto (native unless the treefile needs the other)",
        "skip-prune": "keep all older builds; else the three newest and tagged ones stay",
    },
)
def build(
    _c: Context,
    *,
    targets: list[str],
    version: str = "",
    force: bool = False,
    strict: bool = False,
    skip_prune: bool = False,
    engine: str = "",
) -> None:
    """Compose the OS and make its disk image.

    Nothing changed since the latest build: says so and ends well, without
    downloading anything.
    """
    from cosa.pipeline.build import Options
    from cosa.pipeline.workdir import Workdir

    first_line("build")
    options = Options(
        targets=tuple(targets),
        version=version,
        force=force,
        strict=strict,
        skip_prune=skip_prune,
        engine=engine,
    )
    run_build(Workdir(settings().workdir), options)


def run_build(workdir: Workdir, options: Options) -> Outcome:
    """Build, with the closing table and where everything is."""
    from cosa.cli.progress import Recorder, table
    from cosa.core import clock, events
    from cosa.pipeline.build import build as build_now

    recorder = Recorder()
    started = clock.monotonic()
    with events.sink(recorder.take), events.step("build"):
        outcome = build_now(workdir, options)
    total = clock.monotonic() - started
    if settings().log_format != "json":
        print(table(recorder.lines, total), file=sys.stderr, flush=True)
    if outcome.changed:
        print(f"build {outcome.build}: {outcome.folder}")
    else:
        print(f"nothing changed: build {outcome.build} is up to date ({outcome.folder})")
    return outcome


def first_line(verb: str) -> None:
    """Say at once what is going on, before anything slow is imported; unless bin/cosa has."""
    if settings().log_format != "json" and not os.environ.get("COSA_ANNOUNCED"):
        print(f"cosa {verb}: {settings().workdir}", file=sys.stderr, flush=True)
