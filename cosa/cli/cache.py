"""`cache`: what is kept to be quick, and getting rid of it."""

from __future__ import annotations

import json as jsontext
import re

from cosa.cli.command import Context, command
from cosa.cli.settings import settings

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@command(
    group="Working directory",
    positional=["action"],
    metavar={"max_size": "SIZE", "unused_for": "TIME"},
    help={
        "action": "list (the default) or prune",
        "max-size": "prune: remove the longest unused until this is left; 500M, 20G",
        "unused-for": "prune: remove what was not used for so long; 12h, 30d, 8w",
        "dry-run": "prune: only say what would be removed",
        "json": "print one JSON object",
    },
)
def cache(
    _c: Context,
    action: str = "list",
    *,
    max_size: str = "",
    unused_for: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Show what the caches hold, or remove what was not used for long.

    Both the shared cache ($COSA_CACHE) and the working directory's. Nothing is
    taken from a cache that a running build uses, nor what builds here are made
    of. After a build this happens by itself, once a day, with 30d and 20G.
    """
    from cosa.cli.parse import usage_error
    from cosa.pipeline import cachetools, definition
    from cosa.pipeline.workdir import Workdir

    if action not in ("list", "prune"):
        raise usage_error("cache", f"`cosa cache` knows no '{action}'", "say list or prune")
    if action == "list" and (max_size or unused_for or dry_run):
        raise usage_error("cache", "--max-size, --unused-for and --dry-run go with `cache prune`")
    workdir = Workdir(settings().workdir)
    here = workdir if workdir.config.is_dir() else None
    shared = definition.shared_cache()
    if action == "list":
        rows = cachetools.rows(cachetools.entries(here, shared))
        print(jsontext.dumps(cachetools.to_json(rows)) if json else cachetools.table(rows, shared))
        return
    if not (max_size or unused_for):
        raise usage_error("cache", "say what may stay: --max-size, --unused-for, or both")
    doomed = cachetools.prune(
        here, shared, dry_run=dry_run,
        max_size=_number("max-size", max_size, r"(\d+)([KMGT]?)(?:i?B)?", _UNITS),
        unused_for=_number("unused-for", unused_for, r"(\d+)([mhdw])", _SPANS),
    )  # fmt: skip
    if json:
        print(jsontext.dumps(cachetools.to_json(cachetools.rows(doomed))))
    else:
        print(cachetools.removed(doomed, dry_run=dry_run))


def _number(option: str, text: str, form: str, units: dict[str, int]) -> int | None:
    from cosa.cli.parse import usage_error

    if not text:
        return None
    found = re.fullmatch(form, text, re.IGNORECASE)
    if not found:
        words = ", ".join(unit for unit in units if unit)
        raise usage_error(
            "option-value", f"--{option} does not understand '{text}'",
            f"a whole number and one of {words}",
        )  # fmt: skip
    unit = found[2]
    return int(found[1]) * units[unit if unit in units else unit.swapcase()]
