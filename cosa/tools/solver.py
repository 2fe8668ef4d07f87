"""Which packages a list of names needs: libsolv, with locks, excludes and preferences applied.

What may not be taken is hidden from the solver and remembered with its reason, so that an
explanation (`cosa.tools.solver_explain`) can name it. The same input gives the same result:
repositories keep their order, requests are sorted, libsolv itself is deterministic.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosa.core.errors import Problems, Where
from cosa.model.lockfile import LockedPackage
from cosa.model.package import Package
from cosa.tools.repofile import LOCAL_REPO, RepoConfig
from cosa.tools.repos import Metadata
from cosa.tools.solver_hide import LOCKED, hide
from cosa.tools.solver_load import add_local, add_repo, bindings, package


@dataclass(frozen=True)
class Request:
    """What to solve. `repo_packages` maps a name to the only repository it may come from.

    `locked_only` are repositories that supply locked packages and nothing else. `strict` hides
    every package without a lock. `where` is the treefile, for error messages.
    """

    packages: tuple[str, ...]
    basearch: str
    exclude: frozenset[str] = frozenset()
    repo_packages: Mapping[str, str] = field(default_factory=dict)
    locked_only: frozenset[str] = frozenset()
    locks: Mapping[str, LockedPackage] = field(default_factory=dict)
    strict: bool = False
    recommends: bool = True
    where: Where | None = None


@dataclass(frozen=True)
class Solved:
    """The packages, sorted, and the locked names no repository can satisfy."""

    packages: tuple[Package, ...]
    absent_locks: tuple[str, ...]


def solve(
    request: Request, sources: Sequence[Metadata], local: Sequence[Path], cache: Path
) -> Solved:
    """Resolve a request over repositories and local RPM files, which beat all locks.

    Raises `resolve/...` with everything that is missing or does not fit together.
    """
    universe = Universe(request, sources, local, cache)
    try:
        return universe.solve()
    except NeedFilelists:
        # Few packages depend on paths outside /etc and */bin, and the lists are large.
        return Universe(request, sources, local, cache, filelists=True).solve()


class NeedFilelists(Exception):  # noqa: N818  a signal, not an error
    """A path is asked for that only the full file lists can answer."""


class Universe:
    """A libsolv pool with every candidate, and which of them are hidden and why."""

    def __init__(
        self,
        request: Request,
        sources: Sequence[Metadata],
        local: Sequence[Path],
        cache: Path,
        *,
        filelists: bool = False,
    ) -> None:
        self.request = request
        self.filelists = filelists
        self.configs: dict[str, RepoConfig] = {meta.repo.id: meta.repo for meta in sources}
        solv = bindings()
        self.pool = solv.Pool()
        self.pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        self.pool.setarch(request.basearch)
        for meta in sources:
            add_repo(self.pool, meta, cache, filelists=filelists)
        self._local_files = add_local(self.pool, local)
        self.hidden = hide(self.pool, request, self.configs)
        self.pool.addfileprovides()
        self.pool.createwhatprovides()

    def solve(self) -> Solved:
        """Run the solver. Raises `NeedFilelists` or the explanation of what went wrong."""
        solv = bindings()
        jobs = self._jobs()
        solver = self.pool.Solver()
        solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, not self.request.recommends)
        solver.set_flag(solv.Solver.SOLVER_FLAG_YUM_OBSOLETES, 1)
        problems = solver.solve(jobs)
        if problems:
            from cosa.tools import solver_explain

            raise solver_explain.explain(self, problems)
        chosen = solver.transaction().newsolvables()
        return Solved(tuple(sorted(map(self._package, chosen))), self._absent_locks())

    def why_hidden(self, solvable: Any) -> str:
        """Why a package may not be taken, a lock with its place in its file; empty if it may."""
        reason = self.hidden.get(solvable.id, "")
        lock = self.request.locks.get(solvable.name) if reason.startswith(LOCKED) else None
        return f"{reason} ({lock.where})" if lock and lock.where else reason

    def _package(self, solvable: Any) -> Package:
        repo = solvable.repo.name
        if repo == LOCAL_REPO:
            return package(solvable, self._local_files.get(str(solvable)), None)
        return package(solvable, None, self.configs[repo].where)

    def _absent_locks(self) -> tuple[str, ...]:
        if not self.request.locks:
            return ()
        there = {s.name for s in self.pool.solvables if s.id not in self.hidden}
        return tuple(sorted(set(self.request.locks) - there))

    # Requests

    def _jobs(self) -> list[Any]:
        solv = bindings()
        problems = Problems()
        self._check_repo_packages(problems)
        problems.raise_if_any("repo-packages cannot be followed")
        jobs: list[Any] = []
        for spec in sorted(set(self.request.packages)):
            found = self.find(spec)
            if found is None or found.isempty():
                self._missing(spec, problems)
            else:
                jobs += found.jobs(solv.Job.SOLVER_INSTALL)
        problems.raise_if_any("packages are missing")
        return jobs

    def find(self, spec: str, *, hidden_too: bool = False) -> Any:
        """The candidates for a name, NEVRA, `NAME >= VERSION`, provide or path; None if none."""
        sel = bindings().Selection
        flags = sel.SELECTION_DOTARCH | sel.SELECTION_REL
        if hidden_too:
            flags |= sel.SELECTION_WITH_DISABLED
        for kind in (sel.SELECTION_NAME | sel.SELECTION_CANON, sel.SELECTION_PROVIDES):
            found = self.pool.select(spec, flags | kind)
            if not found.isempty():
                return found
        if spec.startswith("/"):
            found = self.pool.select(spec, sel.SELECTION_FILELIST)
            if found.isempty() and not self.filelists:
                raise NeedFilelists
            return found
        return None

    def _missing(self, spec: str, problems: Problems) -> None:
        """Say why a request has no candidate: hidden, other versions, or a misspelt name."""
        where = self.request.where
        hidden = [s for s in self.pool.solvables if s.id in self.hidden and _meant(spec, s)]
        name = spec.split(maxsplit=1)[0]
        if hidden:
            why = "; ".join(f"{s} in '{s.repo.name}': {self.why_hidden(s)}" for s in hidden[:5])
            problems.add("resolve/hidden", f"no version of '{spec}' may be used", where, why=why,
                         fix=_unhide(self.hidden[hidden[0].id]))  # fmt: skip
            return
        others = sorted({s.evr for s in self.pool.solvables if s.name == name})
        if others:
            why, fix = f"there is {', '.join(others)}", "ask for a version that exists"
        else:
            names = {s.name for s in self.pool.solvables}
            near = difflib.get_close_matches(name, sorted(names), 3)
            asked = ", ".join(self.configs) or "no repository"
            why = f"asked: {asked} ({len(names)} names)"
            fix = f"did you mean {' or '.join(near)}?" if near else "add the repository that has it"
        problems.add(
            "resolve/missing-package", f"no package '{spec}' in any repository", where,
            why=why, fix=fix,
        )  # fmt: skip

    def _check_repo_packages(self, problems: Problems) -> None:
        if not self.request.repo_packages:
            return
        have = {(s.name, s.repo.name) for s in self.pool.solvables}
        for name, repo in sorted(self.request.repo_packages.items()):
            if repo not in self.configs:
                problems.add(
                    "resolve/repo-packages", f"repo-packages names the repository '{repo}'",
                    self.request.where, why=f"enabled are: {', '.join(self.configs)}",
                    fix="enable it under repos:",
                )  # fmt: skip
            elif (name, repo) not in have and (name, LOCAL_REPO) not in have:
                problems.add(
                    "resolve/repo-packages", f"repository '{repo}' has no package '{name}'",
                    self.request.where, fix="correct the name under repo-packages:",
                )  # fmt: skip


def _meant(spec: str, solvable: Any) -> bool:
    name = spec.split(maxsplit=1)[0]
    return name in (
        solvable.name, f"{solvable.name}.{solvable.arch}", f"{solvable.name}-{solvable.evr}",
        str(solvable),
    )  # fmt: skip


def _unhide(reason: str) -> str:
    if "exclude-packages" in reason:
        return "take the name out of packages: or out of exclude-packages:"
    if "(strict)" in reason:
        return "lock it with `cosa fetch --update-lockfile`, or build without --strict"
    if "lockfile" in reason:
        return "update the lockfile, or enable the repository that has the locked version"
    return "change the treefile or the .repo file so that one candidate remains"


def candidates(universe: Universe, keep: Callable[[Any], bool]) -> Iterator[Any]:
    """The pool's packages for which `keep` holds, hidden ones included."""
    return (solvable for solvable in universe.pool.solvables if keep(solvable))
