"""Which engine composes: `native`, `rpm-ostree`, or `auto`, which is native unless that cannot do.

Both take a `ComposeJob` and give a `Commit` of the same layout, from the same packages:
what to install is decided before an engine is asked (docs/engines.md).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from dataclasses import dataclass

from cosa.compose.job import Commit, ComposeJob
from cosa.core import events
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.core.store import Json
from cosa.model.treefile import Treefile

ENV = "COSA_ENGINE"
# The one place of a treefile that is free for others' words; rpm-ostree does not look at it.
METADATA_KEY = "cosa-engine"


class Engine(enum.StrEnum):
    """What makes a commit of packages."""

    NATIVE = "native"
    RPM_OSTREE = "rpm-ostree"


@dataclass(frozen=True)
class Choice:
    """The engine, and in a few words who or what asked for it."""

    engine: Engine
    why: str


# Key -> whether a treefile asks for something the native engine does not do.
_LACKING: dict[str, Callable[[Treefile], bool]] = {
    "gpg-key": lambda tree: tree.gpg_key is not None,
    "cliwrap": lambda tree: tree.cliwrap,
    "cliwrap-binaries": lambda tree: bool(tree.cliwrap_binaries),
    "repo-metadata: detached": lambda tree: tree.repo_metadata == "detached",
}


def lacking(tree: Treefile) -> list[str]:
    """Keys of the treefile that only rpm-ostree heeds."""
    return [key for key, asked in _LACKING.items() if asked(tree)]


def choose(tree: Treefile, asked: str = "") -> Choice:
    """The engine for a treefile.

    The first of these that says something decides: `asked` (the command line), `COSA_ENGINE`,
    `cosa-engine` in the treefile's `metadata`, and else `auto`. A note tells whenever that is
    not simply native, and of keys native leaves alone. Raises `engine/unknown`.
    """
    word, source = _asked(tree, asked)
    missing = lacking(tree)
    keys = ", ".join(missing)
    if word == "auto":
        if not missing:
            return Choice(Engine.NATIVE, "auto")
        events.note(f"engine rpm-ostree: the treefile uses {keys}, which native does not know")
        return Choice(Engine.RPM_OSTREE, f"the treefile uses {keys}")
    engine = Engine(word)
    if engine is Engine.NATIVE and missing:
        events.warn(f"the native engine leaves these keys of the treefile alone: {keys}")
    if engine is not Engine.NATIVE:
        events.note(f"engine {engine}: {source} says so")
    return Choice(engine, source)


def _asked(tree: Treefile, flag: str) -> tuple[str, str]:
    """The first word that was said, and by whom."""
    written = tree.metadata.get(METADATA_KEY)
    words: tuple[tuple[object, str, Where | None], ...] = (
        (flag, "--engine", None),
        (os.environ.get(ENV), ENV, None),
        (written, f"{METADATA_KEY} in the treefile's metadata", Where(str(tree.path))),
    )
    for word, source, where in words:
        if not word:
            continue
        if word not in ("auto", *Engine):
            raise CosaError(
                "engine/unknown",
                f"there is no engine {str(word)[:40]!r}",
                where,
                why=f"asked for by {source}",
                fix="use auto, native or rpm-ostree",
                exit_class=ExitClass.INPUT if where else ExitClass.USAGE,
            )
        return str(word), source
    return "auto", "auto"


def inputs(engine: Engine) -> dict[str, Json]:
    """What the engine adds to the inputs of a commit; the native one is counted as code."""
    if engine is Engine.NATIVE:
        return {}
    from cosa.compose import rpmostree

    return {"engine": f"{engine} {rpmostree.version()}"}


def compose(job: ComposeJob) -> Commit:
    """Make the commit with the engine the job names. Raises what that engine raises."""
    if job.engine == Engine.NATIVE:
        from cosa.compose import native

        return native.compose(job)
    from cosa.compose import rpmostree

    return rpmostree.compose(job)
