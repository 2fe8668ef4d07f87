"""`clean` and `shell`: around the builds."""

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


@command(group="Working directory", passthrough="words")
def shell(_c: Context, words: list[str]) -> int:
    """Run a command, or a shell, in the working directory with every tool at hand."""
    from cosa.core import run

    workdir = settings().workdir
    return run.interactive(words or ["bash"], cwd=workdir if workdir.is_dir() else None)
