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
    metavar={"write_lockfile_to": "FILE", "autolock": "ID"},
    help={
        "strict": "take nothing that is not locked",
        "update-lockfile": "solve as if there were no base lock, and write it:"
        " manifest-lock.ARCH.json of the definition",
        "write-lockfile-to": "write the solution to FILE",
        "with-cosa-overrides": "let overrides/rpm into the lockfile that is written",
        "autolock": "without a base lock, follow the build ID of any architecture",
        "dry-run": "solve only",
        "force": "accepted; metadata of repositories is always looked at anew",
    },
)
def fetch(
    _c: Context,
    *,
    strict: bool = False,
    update_lockfile: bool = False,
    write_lockfile_to: str = "",
    with_cosa_overrides: bool = False,
    autolock: str = "",
    dry_run: bool = False,
    force: bool = False,  # noqa: ARG001  upstream's scripts pass it
) -> None:
    """Solve and download packages, so that `build` needs no network.

    `build` does this itself; upstream's pipelines call it before.
    """
    from pathlib import Path

    from cosa.pipeline.build import Fetching, fetch_only
    from cosa.pipeline.workdir import Workdir

    first_line("fetch")
    wanted = Fetching(
        strict=strict, autolock=autolock, update=update_lockfile, overrides=with_cosa_overrides,
        lockfile=Path(write_lockfile_to).absolute() if write_lockfile_to else None,
        dry_run=dry_run,
    )  # fmt: skip
    found = fetch_only(Workdir(settings().workdir), wanted)
    count = len(found.packages)
    print(f"{count} packages {'would be fetched' if dry_run else 'are here'}")


@command(
    positional=["targets"],
    iterable=["targets"],
    short={"force": "f", "direct": "d", "fetch": "F", "tag": "t"},
    alternatives={"force": ["force-nocache"]},
    metavar={
        "version": "ID", "autolock": "ID", "parent_build": "ID", "parent": "COMMIT",
        "authfile": "FILE", "tag": "NAME", "engine": "NAME",
    },
    help={
        "targets": "ostree (or container): the commit only; qemu, metal: that image; default qemu",
        "version": "the build's id, instead of the next one; one that exists stays as it is",
        "versionary": "an id for production: release.day.stream.commits",
        "force": "build though nothing changed",
        "force-image": "make new images of the same commit",
        "strict": "take nothing that is not locked",
        "autolock": "without a base lock, follow the build ID of any architecture; with --version"
        " an existing one is followed unasked",
        "parent-build": "compare packages with this build too, and name it in the metadata",
        "parent": "the commit (or the build of it) the new one names as its parent",
        "skip-prune": "keep all older builds; else the three newest and tagged ones stay",
        "tag": "point this tag at the build",
        "prepare-only": "stop before composing, with all packages here",
        "delay-meta-merge": "note artefacts added later in files of their own, until"
        " `cosa meta --finalize`",
        "skip-config-archive": "do not keep the definition with the build",
        "engine": "native, rpm-ostree, or auto (native unless the treefile needs the other)",
        "authfile": "passwords of container registries",
        "fetch": "accepted; a build fetches what it lacks",
        "direct": "accepted; nothing here is built in a VM",
    },
)  # fmt: skip
def build(
    _c: Context,
    *,
    targets: list[str],
    version: str = "",
    versionary: bool = False,
    force: bool = False,
    force_image: bool = False,
    strict: bool = False,
    autolock: str = "",
    parent_build: str = "",
    parent: str = "",
    skip_prune: bool = False,
    tag: str = "",
    prepare_only: bool = False,
    delay_meta_merge: bool = False,
    skip_config_archive: bool = False,
    engine: str = "",
    authfile: str = "",
    fetch: bool = False,  # noqa: ARG001  upstream's scripts pass it
    direct: bool = False,  # noqa: ARG001  upstream's scripts pass it
) -> None:
    """Compose the OS and make its disk image.

    Nothing changed since the latest build: says so and ends well, without
    downloading anything.
    """
    from cosa.cli.parse import usage_error
    from cosa.pipeline.build import Options
    from cosa.pipeline.workdir import Workdir

    first_line("build")
    if version and versionary:
        raise usage_error("version", "--version and --versionary cannot be given together")
    use_authfile(authfile)
    options = Options(
        targets=tuple(targets), version=version, versionary=versionary, force=force,
        force_image=force_image, strict=strict, autolock=autolock, parent_build=parent_build,
        parent=parent, skip_prune=skip_prune, prepare_only=prepare_only, tag=tag,
        delay_meta_merge=delay_meta_merge, skip_config_archive=skip_config_archive,
        engine=engine,
    )  # fmt: skip
    run_build(Workdir(settings().workdir), options)


def use_authfile(name: str) -> None:
    """Let skopeo and podman find the passwords in a file. Raises `usage/authfile`."""
    from pathlib import Path

    from cosa.cli.parse import usage_error

    if not name:
        return
    if not Path(name).is_file():
        raise usage_error("authfile", f"there is no file {name}", "name the file with --authfile")
    os.environ["REGISTRY_AUTH_FILE"] = str(Path(name).absolute())


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
    if outcome.prepared:
        print(f"{outcome.prepared} packages are here; stopped before composing")
    elif outcome.changed:
        print(f"build {outcome.build}: {outcome.folder}")
    else:
        print(f"nothing changed: build {outcome.build} is up to date ({outcome.folder})")
    return outcome


def first_line(verb: str) -> None:
    """Say at once what is going on, before anything slow is imported; unless bin/cosa has."""
    if settings().log_format != "json" and not os.environ.get("COSA_ANNOUNCED"):
        print(f"cosa {verb}: {settings().workdir}", file=sys.stderr, flush=True)
