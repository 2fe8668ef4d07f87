"""Importing a whole package set: from the cache where possible, the rest side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from cosa.compose import importer, translate
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.workers import Pool
from cosa.core import events
from cosa.core.store import Json
from cosa.model.package import Package
from cosa.tools import ostree


def import_all(
    repo: ostree.Repo,
    pool: Pool,
    packages: Sequence[Package],
    rpms: Mapping[str, Path],
    options: importer.Options,
) -> tuple[dict[str, PackageIndex], dict[str, str]]:
    """Indexes by NEVRA, and the refs of new imports, which `importer.finish` has yet to set.

    Raises what `importer.import_rpm` does; a bad package names itself.
    """
    found: dict[str, PackageIndex] = {}
    todo: list[Package] = []
    with events.step("import packages") as step:
        refs = repo.list_refs("rpmostree/pkg")
        for package in packages:
            commit = refs.get(_ref(package))
            known = importer.cached(repo, commit, package.digest, options) if commit else None
            if known:
                found[package.nevra] = known
            else:
                todo.append(package)
        todo.sort(key=lambda package: -package.size)
        results = pool.each(
            "tasks:import_rpm", [_item(repo, package, rpms, options) for package in todo],
            lambda done: step.progress(done, len(todo), "packages"),
        )  # fmt: skip
        new = {}
        for package, result in zip(todo, results, strict=True):
            found[package.nevra] = PackageIndex.from_json(result["index"])
            new[_ref(package)] = result["commit"]
        step.summary = f"{len(packages)} packages, {len(packages) - len(todo)} reused"
        step.size = sum(package.size for package in todo)
        if not todo:
            step.reuse(step.summary)
    return found, new


def _ref(package: Package) -> str:
    return translate.ref_name(package.name, package.evr, package.arch)


def _item(
    repo: ostree.Repo, package: Package, rpms: Mapping[str, Path], options: importer.Options
) -> Mapping[str, Json]:
    return {
        "repo": str(repo.path), "rpm": str(rpms[package.nevra]), "digest": package.digest,
        "options": asdict(options),
    }  # fmt: skip
