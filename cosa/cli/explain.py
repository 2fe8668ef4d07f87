"""`explain`: why a build's steps ran or were taken over from the build before."""

from __future__ import annotations

import json as jsontext

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Builds",
    positional=["step"],
    metavar={"build": "ID"},
    help={
        "step": "only this one: compose, container, qemu ...; with every change",
        "build": "which build; default the latest",
        "next": "what a build begun now would do",
        "json": "print one JSON object",
    },
)
def explain(
    _c: Context,
    step: str = "",
    *,
    build: str = "",
    next: bool = False,  # noqa: A002  the option's name
    json: bool = False,
) -> None:
    """Say why each step of a build ran or was reused, with the inputs that changed.

    Without --next the latest build is explained as it was made. With it,
    nothing is made; packages are solved, so the repositories must be within reach.
    """
    from cosa.cli.parse import usage_error
    from cosa.pipeline import explain as explaining
    from cosa.pipeline.workdir import Workdir

    if next and build:
        raise usage_error("explain", "--next and --build exclude each other")
    workdir = Workdir(settings().workdir)
    found = explaining.of_next(workdir) if next else explaining.of_build(workdir, build)
    if step:
        found = explaining.only(found, step)
    if json:
        print(jsontext.dumps(explaining.to_json(found), indent=1))
    else:
        print("\n".join(explaining.text(found)))
