"""How an included treefile joins the one that includes it."""

from __future__ import annotations

from typing import Any

from cosa.model.treefile_keys import RULES, RepoPackages, Rule
from cosa.model.treefile_read import Layer


def merge(into: Layer, included: Layer) -> None:
    """Merge `included` into `into`, by each key's rule."""
    for name, value in included.values.items():
        rule = RULES[name]
        if rule is Rule.OWN:
            continue
        if name not in into.values:
            into.values[name] = value
        elif rule is Rule.PREPEND:
            into.values[name] = value + into.values[name]
        elif rule is Rule.UNION:
            into.values[name] = tuple(sorted({*value, *into.values[name]}))
        elif rule is Rule.MAP:
            into.values[name] = value | into.values[name]
    _settle_repo_packages(into.values)
    into.origins = included.origins | into.origins
    into.postprocess_script = into.postprocess_script or included.postprocess_script
    # Here the included file's wins, unlike everywhere else: so does upstream.
    into.add_files |= included.add_files
    into.finalize_d |= included.finalize_d
    into.checks = included.checks | into.checks


def _settle_repo_packages(values: dict[str, Any]) -> None:
    """A later entry takes a package away from the earlier ones; empty entries go."""
    if "repo_packages" not in values:
        return
    taken: set[str] = set()
    kept: list[RepoPackages] = []
    for entry in reversed(values["repo_packages"]):
        names = tuple(name for name in entry.packages if name not in taken)
        taken.update(names)
        if names:
            kept.append(RepoPackages(repo=entry.repo, packages=names))
    values["repo_packages"] = tuple(reversed(kept))
