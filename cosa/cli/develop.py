"""Helpers of pipelines and developers: variants, made-up updates, what ran in a VM once."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Working directory",
    help={
        "variant": "the variant, or `default` for manifest.yaml",
        "version": "manifest-VERSION.yaml is what it shall mean",
    },
)
def update_variant(_c: Context, variant: str, version: str) -> None:
    """Point a variant of the OS definition at a version, through symlinks."""
    from cosa.pipeline.variant import update
    from cosa.pipeline.workdir import Workdir

    for line in update(Workdir(settings().workdir), variant, version):
        print(line)


@command(
    group="Builds",
    metavar={"repo": "DIR", "src_ref": "REF", "ref": "REF", "percentage": "N"},
    help={
        "repo": "the OSTree repository; default tmp/repo",
        "src-ref": "commit or ref to start from; default the latest build's commit",
        "ref": "the ref that gets the update; default the latest build's",
        "percentage": "how many of the programs change; default 20",
        "initramfs": "accepted; the initramfs is not changed",
    },
)
def dev_synthesize_osupdate(
    _c: Context,
    *,
    repo: str = "",
    src_ref: str = "",
    ref: str = "",
    percentage: int = 20,
    initramfs: str = "",  # noqa: ARG001  upstream's option, which does nothing there either
) -> None:
    """Commit a made-up update: a fifth of the programs get a note that does nothing."""
    from pathlib import Path

    from cosa.pipeline.synthesize import Wish, synthesize
    from cosa.pipeline.workdir import Workdir

    wish = Wish(Path(repo).absolute() if repo else None, src_ref, ref, percentage)
    for line in synthesize(Workdir(settings().workdir), wish):
        print(line)


@command(
    group="Working directory",
    passthrough="words",
    help={
        "cache": "accepted; cache/ is always at hand",
        "snapshot": "accepted, the same",
        "words": "the command",
    },
)
def supermin_run(
    _c: Context,
    words: list[str],
    *,
    cache: bool = False,  # noqa: ARG001  upstream's option; there is no VM to give a disk to
    snapshot: bool = False,  # noqa: ARG001  the same
) -> int:
    """Run a command in the working directory; upstream used a VM for it, nothing here needs one."""
    from cosa.cli.parse import usage_error

    if not words:
        raise usage_error("missing-argument", "'cosa supermin-run' needs a command")
    return _directly(words)


@command(group="Working directory", passthrough="words")
def supermin_shell(_c: Context, words: list[str]) -> int:
    """Start a shell in the working directory; upstream's was in a VM."""
    return _directly(["bash", *words])


def _directly(words: list[str]) -> int:
    from cosa.core import events, run
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    workdir.need_init()
    events.note("running directly: cosa needs no virtual machine")
    workdir.tmp.mkdir(exist_ok=True)
    return run.interactive(words, cwd=workdir.root)
