"""`rebuild`: proof that a build can be made again."""

from __future__ import annotations

import json as jsontext
from dataclasses import asdict

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Builds",
    positional=["build"],
    help={"build": "which build; default the latest", "json": "print one JSON object"},
)
def rebuild(_c: Context, build: str = "", *, json: bool = False) -> int:
    """Make a build again from its own records and compare to the bit.

    Everything but downloads is made anew in a private folder, which is gone
    afterwards. Ends with 7 when something came out different, having named the
    first difference and which inputs are not what they were.
    """
    from cosa.core.errors import ExitClass
    from cosa.pipeline import rebuild as rebuilding
    from cosa.pipeline.workdir import Workdir

    found = rebuilding.rebuild(Workdir(settings().workdir), build)
    if json:
        print(jsontext.dumps(asdict(found) | {"equal": found.equal}, indent=1))
    else:
        print("\n".join(rebuilding.text(found)))
    return 0 if found.equal else int(ExitClass.STEP)
