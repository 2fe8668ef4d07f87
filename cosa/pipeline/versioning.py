"""Which version a build gets: the rules are in `model/version`, the facts are gathered here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cosa.core import events
from cosa.model import version as versions
from cosa.pipeline import gitstate

if TYPE_CHECKING:
    from cosa.pipeline.build import Run
    from cosa.pipeline.definition import Definition


def development(found: Definition, existing: Sequence[str]) -> str:
    """The next version outside a release pipeline; `existing` are build ids, newest first."""
    return _scheme(found).development(existing)


def production(run: Run) -> str:
    """The version of a build for production (`--versionary`). Raises `usage/version`."""
    scheme = _scheme(run.found)
    commits = gitstate.commits_since(run.found.config, scheme.moment) if run.found.git else None
    existing = [entry.id for entry in run.workdir.read_builds().builds]
    version = scheme.production(existing, commits)
    how = "counted on from the newest build" if commits is None else "commits of the definition"
    events.note(f"version {version} ({how})")
    return version


def _scheme(found: Definition) -> versions.Scheme:
    tree = found.tree
    return versions.scheme(
        releasever=found.releasever, variables={"stream": found.stream},
        prefix=tree.automatic_version_prefix, suffix=tree.automatic_version_suffix,
        locked=found.locks.base.generated_at if found.locks.base else None,
    )  # fmt: skip
