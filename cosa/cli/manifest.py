"""`manifest`: what a treefile amounts to."""

from __future__ import annotations

import sys
from pathlib import Path

from cosa.cli.command import Context, command


@command(
    group="Builds",
    positional=[],
    metavar={"flatten": "FILE", "basearch": "ARCH"},
    help={
        "flatten": "read FILE and what it includes; print it as one JSON treefile, as"
        " `rpm-ostree compose tree --print-only` does",
        "basearch": "flatten for this architecture; default this machine's",
    },
)
def manifest(_c: Context, *, flatten: str = "", basearch: str = "") -> None:
    """Flatten a treefile, or say everything that is wrong with it."""
    from cosa.cli.parse import usage_error
    from cosa.model.treefile import load_treefile
    from cosa.pipeline.workdir import basearch as here

    if not flatten:
        raise usage_error("manifest", "nothing was asked for", "use --flatten FILE")
    # No newline follows: scripts compare this with upstream's output.
    sys.stdout.write(load_treefile(Path(flatten), basearch or here()).to_flat_json())
