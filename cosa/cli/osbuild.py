"""`osbuild`: images of a build for further platforms."""

from __future__ import annotations

import sys

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Artefacts",
    iterable=["platforms"],
    metavar={"build": "ID"},
    help={
        "platforms": "qemu, metal, aws ...; all: every one that can be made here",
        "build": "which build; default the latest",
        "force": "make images again that are there",
        "supported-platforms": "list the platforms, and why some cannot be made here",
        "genprotimgvm": "accepted; for Secure Execution on s390x only",
    },
)
def osbuild(
    _c: Context,
    *,
    platforms: list[str],
    build: str = "",
    force: bool = False,
    supported_platforms: bool = False,
    genprotimgvm: str = "",  # noqa: ARG001  upstream's scripts pass it
) -> None:
    """Make disk images of a build for further platforms.

    Images that are there already stay as they are. `buildextend-PLATFORM` is the
    same for one platform.
    """
    from cosa.cli.parse import usage_error

    if supported_platforms:
        print("\n".join(_listing()))
        return
    if not platforms:
        raise usage_error(
            "missing-argument", "osbuild needs the name of a platform, or 'all'",
            fix="`cosa osbuild --supported-platforms` lists them",
        )  # fmt: skip
    _make(platforms, build, force=force)


def _make(platforms: list[str], build: str, *, force: bool) -> None:
    from cosa.cli.build import first_line
    from cosa.cli.progress import Recorder, table
    from cosa.core import clock, events
    from cosa.pipeline.osbuild import Wish
    from cosa.pipeline.osbuild import osbuild as make
    from cosa.pipeline.workdir import Workdir

    first_line("osbuild")
    recorder = Recorder()
    started = clock.monotonic()
    with events.sink(recorder.take), events.step("osbuild"):
        outcome = make(Workdir(settings().workdir), Wish(platforms, build, force))
    if settings().log_format != "json":
        print(table(recorder.lines, clock.monotonic() - started), file=sys.stderr, flush=True)
    for name, path in outcome.made.items():
        print(f"{name}: {path}")
    for name in outcome.there:
        print(f"{name}: there already")


def _listing() -> list[str]:
    """One platform a line; what cannot be made here stands behind the name."""
    from cosa.model.platforms import PLATFORMS, possible
    from cosa.pipeline.workdir import basearch

    arch = basearch()
    able = possible(arch)
    waiting = [row for row in PLATFORMS.values() if arch in row.arches and row.name not in able]
    return [
        *able,
        *(f"{row.name}  (not yet: {row.missing or f'disks for {arch}'})" for row in waiting),
    ]
