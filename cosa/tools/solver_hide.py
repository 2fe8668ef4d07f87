"""What the solver may not take, and why: excludes, locks, preferences, local RPMs."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cosa.tools.repofile import LOCAL_REPO, RepoConfig
from cosa.tools.solver_load import digest_of

if TYPE_CHECKING:
    from cosa.tools.solver import Request

LOCKED = "the lockfile"


def hide(pool: Any, request: Request, configs: Mapping[str, RepoConfig]) -> dict[int, str]:
    """Take out of a pool's consideration what may not be taken; the reasons by solvable."""
    filters = any(c.excludepkgs or c.includepkgs for c in configs.values())
    local_names = {s.name for s in pool.solvables if s.repo.name == LOCAL_REPO}
    if not (
        request.exclude or request.repo_packages or request.locks or request.locked_only
        or request.strict or filters or local_names
    ):  # fmt: skip
        return {}  # asking every package of a distribution takes a while
    hidden: dict[int, str] = {}
    considered = []
    for solvable in pool.solvables:
        reason = _reason(request, configs, solvable, local_names)
        if reason:
            hidden[solvable.id] = reason
        else:
            considered.append(solvable.id)
    if hidden:
        pool.set_considered_list(considered)
    return hidden


def _reason(
    request: Request, configs: Mapping[str, RepoConfig], solvable: Any, local_names: set[str]
) -> str:
    name, repo = solvable.name, solvable.repo.name
    if name in request.exclude:
        return "exclude-packages hides it"
    if repo == LOCAL_REPO:
        return ""
    if name in local_names:
        return "a local RPM of that name replaces it"
    config = configs[repo]
    if (config.excludepkgs or config.includepkgs) and _filtered(solvable, config):
        return f"excludepkgs or includepkgs of repository '{repo}' hides it"
    if request.repo_packages.get(name, repo) != repo:
        return f"repo-packages wants it from repository '{request.repo_packages[name]}'"
    lock = request.locks.get(name)
    if lock is None:
        if request.strict:
            return "it is not in the lockfile (strict)"
        return f"'{repo}' supplies locked packages only" if repo in request.locked_only else ""
    if not lock.fits(solvable.evr, solvable.arch):
        return f"{LOCKED} wants {lock.evra or lock.evr}"
    if lock.digest and lock.digest != digest_of(solvable):
        return f"{LOCKED} wants this version with the digest {lock.digest}, it has another"
    return ""


def _filtered(solvable: Any, config: RepoConfig) -> bool:
    names = (solvable.name, f"{solvable.name}.{solvable.arch}", str(solvable))

    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(n, pattern) for n in names for pattern in patterns)

    included = not config.includepkgs or matches(config.includepkgs)
    return not included or matches(config.excludepkgs)
