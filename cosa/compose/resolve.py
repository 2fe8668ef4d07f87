"""From a treefile's names to an exact, ordered set of packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core import clock, events, parallel
from cosa.core.errors import CosaError, ExitClass, Problems, Where
from cosa.model import lockfile as lockfiles_model
from cosa.model.lockfile import Lockfile
from cosa.model.package import Package
from cosa.model.treefile import Treefile
from cosa.tools import repos as repos_tool
from cosa.tools.repofile import LOCAL_REPO, RepoConfig


@dataclass(frozen=True)
class Resolution:
    """The resolved packages, sorted.

    `rpmmd_repos` are the repositories used, as (id, seconds since 1970 of their metadata),
    sorted by id. `local` are the packages that came from overrides/rpm. `absent_locks` are
    locked names that no repository offers in the locked version.
    """

    packages: tuple[Package, ...]
    rpmmd_repos: tuple[tuple[str, int], ...]
    absent_locks: tuple[str, ...] = ()

    @property
    def local(self) -> tuple[Package, ...]:
        """The packages that came from overrides/rpm; a build's metadata names them."""
        return tuple(package for package in self.packages if package.repo == LOCAL_REPO)

    def lockfile(self, generated: int | None = None) -> Lockfile:
        """The lockfile of this set, dated `generated` (seconds since 1970) or now."""
        stamp = clock.now() if generated is None else generated
        return lockfiles_model.from_packages(self.packages, stamp, dict(self.rpmmd_repos))


def resolve(
    tree: Treefile,
    repos: Sequence[RepoConfig],
    *,
    cache: Path,
    lockfiles: Sequence[Lockfile] = (),
    strict: bool = False,
    local_rpms: Path | None = None,
    offline: bool = False,
) -> Resolution:
    """Decide which packages a treefile means, without downloading any.

    `repos` are all that the treefile's .repo files define; which are used is the treefile's
    choice. Later `lockfiles` win over earlier. `strict` refuses packages without a lock.
    RPMs in the folder `local_rpms` beat locks and repositories. With `offline` remote
    repositories are taken as last seen. Metadata is cached below `cache/repos`.

    Raises `resolve/...` with everything missing or contradictory at once, `repos/...`,
    `fetch/...`, `gpg/...`.
    """
    from cosa.tools import solver

    with events.step("resolve packages") as step:
        locks = lockfiles_model.merge(lockfiles).locked if lockfiles else {}
        if strict and not locks:
            raise CosaError(
                "resolve/strict",
                "strict mode needs a lockfile, and there is none",
                Where(str(tree.path)),
                fix="write manifest-lock.ARCH.json (cosa fetch --update-lockfile), "
                "or build without --strict",
            )
        where = Where(str(tree.path))
        chosen = repos_tool.select(repos, tree.repos, where)
        locked_only: frozenset[str] = frozenset()
        if locks and tree.lockfile_repos:
            more = repos_tool.select(repos, tree.lockfile_repos, where)
            locked_only = frozenset(r.id for r in more) - {r.id for r in chosen}
            chosen += [repo for repo in more if repo.id in locked_only]
        sources = parallel.each(
            lambda repo: repos_tool.refresh(repo, cache, offline=offline), chosen, limit=8
        )
        request = solver.Request(
            packages=tuple(sorted({*tree.packages, *tree.bootstrap_packages})),
            basearch=tree.basearch,
            exclude=frozenset(tree.exclude_packages),
            repo_packages={
                name: group.repo for group in tree.repo_packages for name in group.packages
            },
            locked_only=locked_only,
            locks=locks,
            strict=strict,
            recommends=tree.recommends,
            where=where,
        )
        solved = solver.solve(request, sources, _local_files(local_rpms), cache)
        _check_digests(solved.packages)
        _tell(solved.absent_locks, locks)
        stamps = tuple(sorted((meta.repo.id, meta.timestamp) for meta in sources))
        step.size = sum(package.size for package in solved.packages)
        step.summary = f"{len(solved.packages)} packages"
        return Resolution(solved.packages, stamps, solved.absent_locks)


def _local_files(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return [p for p in sorted(folder.rglob("*.rpm")) if not p.name.endswith(".src.rpm")]


def _check_digests(packages: Sequence[Package]) -> None:
    """A package whose repository gives no sha256 could be exchanged for another."""
    problems = Problems()
    for package in packages:
        if not package.digest:
            problems.add(
                "resolve/no-digest",
                f"repository '{package.repo}' gives no sha256 digest of {package.nevra}",
                fix="make its metadata anew with createrepo_c --checksum sha256",
            )
    problems.raise_if_any("packages without a digest are not used", ExitClass.UNTRUSTED)


def _tell(absent: Sequence[str], locks: Mapping[str, lockfiles_model.LockedPackage]) -> None:
    for name in absent[:10]:
        lock = locks[name]
        place = f"{lock.where}: " if lock.where else ""
        text = f"{name} is locked to {lock.evra or lock.evr}, which no repository offers"
        events.warn(f"{place}{text}")
    if len(absent) > 10:
        events.warn(f"... and {len(absent) - 10} more locked packages that no repository offers")
