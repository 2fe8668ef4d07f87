"""`quickstart`: from nothing to a booted, tested image, in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.settings import CHECKOUT, settings

if TYPE_CHECKING:
    from cosa.pipeline.workdir import Workdir


@command(
    metavar={"config": "DIR"},
    help={
        "config": "the OS definition; default the stand-in, which needs no Fedora mirror",
        "no-test": "stop after the build",
    },
)
def quickstart(_c: Context, *, config: str = "", no_test: bool = False) -> int:
    """Set up, compose, make the disk image, boot it with Ignition, test it.

    Run again it does only what has changed.
    """
    from cosa.cli.build import first_line, run_build
    from cosa.pipeline.build import Options
    from cosa.pipeline.initialise import Source, init
    from cosa.pipeline.workdir import Workdir

    first_line("quickstart")
    workdir = Workdir(settings().workdir)
    if not workdir.config.is_dir():
        init(workdir, Source(config or str(CHECKOUT / "manifests/standin")), force=True)
    outcome = run_build(workdir, Options())
    status = 0 if no_test else _smoke_test(workdir)
    meta = workdir.meta(outcome.build)
    rows = [
        ("build", outcome.build),
        ("commit", meta.ostree_commit),
        ("image", str(workdir.image_path("qemu", outcome.build))),
        ("metadata", str(outcome.folder / "meta.json")),
        ("test reports", str(workdir.tmp / "kola") if not no_test else "not run"),
        ("next", "cosa run (boot it and log in), cosa kola run (all tests), edit src/config"),
    ]
    print("\n".join(f"{name:>13}  {value}" for name, value in rows))
    return status


def _smoke_test(workdir: Workdir) -> int:
    """Boot the image and run the tests every image must pass; their status."""
    from cosa.kola.harness import run_tests

    return run_tests(workdir, ["--tag", "smoke"])
