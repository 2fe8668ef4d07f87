"""`clean`, `prune` and `shell`: around the builds."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Working directory",
    short={"all": "a"},
    help={"all": "also remove cache/, which the next build has to make again"},
)
def clean(_c: Context, all: bool = False) -> None:  # noqa: A002  the option's name
    """Remove builds/ and tmp/.

    The definition in src/ and overrides/ are never touched.
    """
    from cosa.pipeline.tidy import clean as clean_workdir
    from cosa.pipeline.workdir import Workdir

    for path in clean_workdir(Workdir(settings().workdir), everything=all):
        print(f"removed {path}")


@command(
    group="Builds",
    iterable=["build"],
    metavar={"keep_last_n": "N", "build": "ID"},
    help={
        "keep-last-n": "how many untagged builds stay, newest first; 0 for all; default 3",
        "build": "remove this build; may be repeated",
        "dry-run": "only say what would be removed",
    },
)
def prune(
    _c: Context,
    *,
    keep_last_n: str = "",
    build: list[str] | None = None,
    dry_run: bool = False,
) -> None:
    """Remove old builds; tagged ones and the latest stay.

    The list keeps what another machine has: history that was fetched and other
    architectures.
    """
    from cosa.cli.parse import usage_error
    from cosa.pipeline import prune as pruning
    from cosa.pipeline.workdir import Workdir

    if build and keep_last_n:
        raise usage_error("exclusive", "--keep-last-n and --build exclude each other")
    if keep_last_n and not keep_last_n.isdecimal():
        raise usage_error(
            "option-value", f"--keep-last-n takes a number of builds, not '{keep_last_n}'",
            fix="0 keeps all",
        )  # fmt: skip
    workdir = Workdir(settings().workdir)
    workdir.need_init()
    keep = int(keep_last_n or pruning.KEPT)
    choice = pruning.choose_named(workdir, build) if build else pruning.choose(workdir, keep)
    for name, why in choice.spared.items():
        print(f"build {name} stays: {why}")
    if not dry_run:
        pruning.remove(workdir, choice)
    for name in choice.doomed:
        print(f"{'would remove' if dry_run else 'removed'} build {name}")
    if not choice.doomed:
        print("nothing to remove")


@command(group="Working directory", passthrough="words")
def shell(_c: Context, words: list[str]) -> int:
    """Run a command, or a shell, in the working directory with every tool at hand."""
    from cosa.core import run

    workdir = settings().workdir
    return run.interactive(words or ["bash"], cwd=workdir if workdir.is_dir() else None)
