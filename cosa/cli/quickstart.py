"""`quickstart`: from nothing to a booted, tested image, in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.settings import CHECKOUT, settings

if TYPE_CHECKING:
    from pathlib import Path

    from cosa.pipeline.workdir import Workdir


@command(
    metavar={"config": "DIR"},
    help={
        "config": "the OS definition; default the stand-in, which needs no Fedora mirror",
        "no-test": "stop after the build",
    },
)
def quickstart(_c: Context, *, config: str = "", no_test: bool = False) -> None:
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
    reports = workdir.tmp / "kola"
    if not no_test:
        _smoke_test(workdir, reports)
    meta = workdir.meta(outcome.build)
    rows = [
        ("build", outcome.build),
        ("commit", meta.ostree_commit),
        ("image", str(workdir.image_path("qemu", outcome.build))),
        ("metadata", str(outcome.folder / "meta.json")),
        ("test reports", "not run" if no_test else str(reports)),
        ("next", "cosa run (boot it and log in), cosa kola run (all tests), edit src/config"),
    ]
    print("\n".join(f"{name:>13}  {value}" for name, value in rows))


def _smoke_test(workdir: Workdir, output: Path) -> None:
    """Boot the image once and run the tests that share that machine."""
    from cosa.cli import kolawords
    from cosa.cli.machines import accelerator, saved_machines
    from cosa.kola import session

    image = workdir.image_path("qemu")
    session.run(
        session.Run(
            tests=kolawords.own_tests(),
            image=image,
            output=output,
            build=image.parent,
            accelerator=accelerator(),
            tags=("smoke",),
            saved=saved_machines(),
        )
    )
