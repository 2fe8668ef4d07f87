"""Which packages a list of names needs: libsolv, with locks, excludes and preferences applied.

What may not be taken is hidden from the solver and remembered with its reason, so that an
explanation (`cosa.tools.solver_explain`) can name it. The same input gives the same result:
repositories keep their order, requests are sorted, libsolv itself is deterministic.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass, Problems, Where
from cosa.model.lockfile import LockedPackage
from cosa.model.package import Package, split_evr
from cosa.tools import repos
from cosa.tools.repofile import LOCAL_REPO, RepoConfig
from cosa.tools.repos import Metadata

_SOLV_FORMAT = "1"  # part of the cache key: raise when what is loaded into a .solv changes
_DAY = 86400


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


@functools.cache
def bindings() -> ModuleType:
    """python3-solv, loaded on first use."""
    try:
        # SWIG's types warn while they are made and once more when the program ends; turned
        # into an error (-W error) that crashes.
        warnings.filterwarnings("ignore", "builtin type swig", DeprecationWarning)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import solv
    except ImportError as err:
        raise CosaError(
            "env/missing-tool",
            "the Python bindings of libsolv are not installed",
            why=str(err),
            fix="run through bin/cosa, which brings every tool, or see `cosa doctor`",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err
    found: ModuleType = solv
    return found


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
        self.hidden: dict[int, str] = {}
        self.configs: dict[str, RepoConfig] = {meta.repo.id: meta.repo for meta in sources}
        self._local_files: dict[str, Path] = {}
        solv = bindings()
        self.pool = solv.Pool()
        self.pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        self.pool.setarch(request.basearch)
        for meta in sources:
            self._add_repo(meta, cache)
        self._add_local(local)
        self._hide()
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

    # Loading

    def _add_repo(self, meta: Metadata, cache: Path) -> None:
        repo = self.pool.add_repo(meta.repo.id)
        repo.priority = -meta.repo.priority  # libsolv: higher wins; .repo files: lower
        repo.subpriority = -meta.repo.cost
        kinds = ["primary", "filelists"] if self.filelists else ["primary"]
        kept = cache / "repos" / "solv" / _solv_name(meta, kinds)
        if kept.exists() and repo.add_solv(str(kept)):
            if time.time() - kept.stat().st_mtime > _DAY:
                os.utime(kept)
            return
        for kind in kinds:
            if kind == "filelists" and kind not in meta.records:
                continue
            flags = 0 if kind == "primary" else solv_flag("REPO_EXTEND_SOLVABLES")
            path = meta.open(kind)
            if not repo.add_rpmmd(bindings().xfopen(str(path)), None, flags):
                raise CosaError(
                    "fetch/repodata-mismatch",
                    f"the {kind} metadata of repository '{meta.repo.id}' is not readable",
                    meta.repo.where,
                    why=self.pool.errstr,
                    exit_class=ExitClass.UNTRUSTED,
                )
        _keep(repo, kept)

    def _add_local(self, files: Sequence[Path]) -> None:
        if not files:
            return
        problems = Problems()
        repo = self.pool.add_repo(LOCAL_REPO)
        repo.priority = 1000
        flags = solv_flag("REPO_REUSE_REPODATA") | solv_flag("REPO_NO_INTERNALIZE")
        for path in files:
            solvable = repo.add_rpm(str(path), flags)
            if not solvable:
                problems.add(
                    "resolve/local-rpm", "this is not a readable RPM", Where(str(path)),
                    why=str(self.pool.errstr), fix="remove it or build it again",
                )  # fmt: skip
                continue
            nevra = str(solvable)
            if nevra in self._local_files:
                problems.add(
                    "resolve/local-rpm", f"{nevra} is there twice", Where(str(path)),
                    why=f"also in {self._local_files[nevra].name}", fix="remove one of them",
                )  # fmt: skip
            self._local_files[nevra] = path
        repo.internalize()
        problems.raise_if_any("local RPMs cannot be used")

    # Hiding

    def _hide(self) -> None:
        """Take out of consideration what excludes, locks and preferences forbid."""
        request = self.request
        filters = any(c.excludepkgs or c.includepkgs for c in self.configs.values())
        if not (
            request.exclude or request.repo_packages or request.locks or request.locked_only
            or request.strict or filters or self._local_files
        ):  # fmt: skip
            return  # asking every package of a distribution takes a while
        considered = []
        local_names = {s.name for s in self.pool.solvables if s.repo.name == LOCAL_REPO}
        for solvable in self.pool.solvables:
            reason = self._reason_to_hide(solvable, local_names)
            if reason:
                self.hidden[solvable.id] = reason
            else:
                considered.append(solvable.id)
        if self.hidden:
            self.pool.set_considered_list(considered)

    def _reason_to_hide(self, solvable: Any, local_names: set[str]) -> str:
        request, name, repo = self.request, solvable.name, solvable.repo.name
        if name in request.exclude:
            return "exclude-packages hides it"
        if repo == LOCAL_REPO:
            return ""
        if name in local_names:
            return "a local RPM of that name replaces it"
        config = self.configs[repo]
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
            return f"the lockfile wants {lock.evra or lock.evr}"
        if lock.digest and lock.digest != _digest(solvable):
            return f"its digest is not the lockfile's {lock.digest}"
        return ""

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
            why = "; ".join(f"{s} in '{s.repo.name}': {self.hidden[s.id]}" for s in hidden[:5])
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

    def _package(self, solvable: Any) -> Package:
        solv = bindings()
        epoch, version, release = split_evr(solvable.evr)
        local = self._local_files.get(str(solvable)) if solvable.repo.name == LOCAL_REPO else None
        if local is not None:
            location, size, digest = local.absolute().as_uri(), local.stat().st_size, ""
            digest = f"sha256:{fs.sha256_file(local)}"
        else:
            location = solvable.lookup_location()[0]
            base = solvable.lookup_str(solv.SOLVABLE_MEDIABASE)
            location = f"{base.rstrip('/')}/{location}" if base else location.removeprefix("./")
            size = solvable.lookup_num(solv.SOLVABLE_DOWNLOADSIZE)
            digest = _digest(solvable)
        return Package(
            name=solvable.name, epoch=epoch, version=version, release=release, arch=solvable.arch,
            repo=solvable.repo.name, location=location, digest=digest, size=size,
            sourcerpm=_source(solvable),
        )  # fmt: skip


def solv_flag(name: str) -> int:
    """A constant of libsolv's Repo class."""
    return int(getattr(bindings().Repo, name))


def _solv_name(meta: Metadata, kinds: Sequence[str]) -> str:
    parts = [_SOLV_FORMAT, *(meta.records[k].digest for k in kinds if k in meta.records)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest() + ".solv"


def _keep(repo: Any, kept: Path) -> None:
    """Save a loaded repository in libsolv's own format, which loads ten times faster."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    repos.prune(kept.parent)
    with fs.private_dir(kept.parent, "solv") as scratch:
        made = scratch / "solv"
        out = bindings().xfopen(str(made), "w")
        if not out or not repo.write(out):
            return
        out.close()
        fs.publish(made, kept)


def _digest(solvable: Any) -> str:
    """`sha256:HEX`, or empty when the repository gives no sha256."""
    checksum = solvable.lookup_checksum(bindings().SOLVABLE_CHECKSUM)
    if checksum is None or checksum.typestr() != "sha256":
        return ""
    return f"sha256:{checksum.hex()}"


def _source(solvable: Any) -> str:
    solv = bindings()
    name = solvable.lookup_str(solv.SOLVABLE_SOURCENAME) or solvable.name
    evr = solvable.lookup_str(solv.SOLVABLE_SOURCEEVR) or solvable.evr
    arch = solvable.lookup_str(solv.SOLVABLE_SOURCEARCH)
    return f"{name}-{evr.rpartition(':')[2]}.{arch}.rpm" if arch else ""


def _filtered(solvable: Any, config: RepoConfig) -> bool:
    names = (solvable.name, f"{solvable.name}.{solvable.arch}", str(solvable))

    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(n, pattern) for n in names for pattern in patterns)

    included = not config.includepkgs or matches(config.includepkgs)
    return not included or matches(config.excludepkgs)


def _meant(spec: str, solvable: Any) -> bool:
    name = spec.split(maxsplit=1)[0]
    return name in (
        solvable.name, f"{solvable.name}.{solvable.arch}", f"{solvable.name}-{solvable.evr}",
        str(solvable),
    )  # fmt: skip


def _unhide(reason: str) -> str:
    if "exclude-packages" in reason:
        return "take the name out of packages: or out of exclude-packages:"
    if "lockfile" in reason:
        return "update the lockfile, or enable the repository that has the locked version"
    return "change the treefile or the .repo file so that one candidate remains"


def candidates(universe: Universe, keep: Callable[[Any], bool]) -> Iterator[Any]:
    """The pool's packages for which `keep` holds, hidden ones included."""
    return (solvable for solvable in universe.pool.solvables if keep(solvable))
