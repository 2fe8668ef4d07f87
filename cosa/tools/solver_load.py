"""Candidates for the solver: repositories and RPM files in libsolv's pool, packages out of it."""

from __future__ import annotations

import functools
import hashlib
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass, Problems, Where
from cosa.model.package import Package, split_evr
from cosa.tools import repos
from cosa.tools.repofile import LOCAL_REPO
from cosa.tools.repos import Metadata

_SOLV_FORMAT = "1"  # part of the cache key: raise when what is loaded into a .solv changes
_DAY = 86400


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


def solv_flag(name: str) -> int:
    """A constant of libsolv's Repo class."""
    return int(getattr(bindings().Repo, name))


def add_repo(pool: Any, meta: Metadata, cache: Path, *, filelists: bool) -> None:
    """Load a repository into a pool, from the cache if it was loaded before.

    Raises `fetch/repodata-mismatch` for metadata libsolv cannot read.
    """
    repo = pool.add_repo(meta.repo.id)
    repo.priority = -meta.repo.priority  # libsolv: higher wins; .repo files: lower
    repo.subpriority = -meta.repo.cost
    kinds = ["primary", "filelists"] if filelists else ["primary"]
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
                why=pool.errstr,
                exit_class=ExitClass.UNTRUSTED,
            )
    _keep(repo, kept)


def add_local(pool: Any, files: Sequence[Path]) -> dict[str, Path]:
    """Load RPM files into a pool, before all repositories; the files by NEVRA.

    Raises `resolve/local-rpm` naming every file that cannot be used.
    """
    known: dict[str, Path] = {}
    if not files:
        return known
    problems = Problems()
    repo = pool.add_repo(LOCAL_REPO)
    repo.priority = 1000
    flags = solv_flag("REPO_REUSE_REPODATA") | solv_flag("REPO_NO_INTERNALIZE")
    for path in files:
        solvable = repo.add_rpm(str(path), flags)
        if not solvable:
            problems.add(
                "resolve/local-rpm", "this is not a readable RPM", Where(str(path)),
                why=str(pool.errstr), fix="remove it or build it again",
            )  # fmt: skip
            continue
        nevra = str(solvable)
        if nevra in known:
            problems.add(
                "resolve/local-rpm", f"{nevra} is there twice", Where(str(path)),
                why=f"also in {known[nevra].name}", fix="remove one of them",
            )  # fmt: skip
        known[nevra] = path
    repo.internalize()
    problems.raise_if_any("local RPMs cannot be used")
    return known


def package(solvable: Any, local: Path | None, where: Where | None) -> Package:
    """A solvable as a package; `local` is its file if it came from one.

    `where` is where its repository is defined. Raises `resolve/no-location`.
    """
    solv = bindings()
    epoch, version, release = split_evr(solvable.evr)
    if local is not None:
        location, size, digest = local.absolute().as_uri(), local.stat().st_size, ""
        digest = f"sha256:{fs.sha256_file(local)}"
    else:
        location = solvable.lookup_location()[0]
        if not location:
            raise CosaError(
                "resolve/no-location",
                f"repository '{solvable.repo.name}' does not say where {solvable} is",
                where,
                fix="make its metadata anew with createrepo_c",
                exit_class=ExitClass.UNTRUSTED,
            )
        base = solvable.lookup_str(solv.SOLVABLE_MEDIABASE)
        location = f"{base.rstrip('/')}/{location}" if base else location.removeprefix("./")
        size = solvable.lookup_num(solv.SOLVABLE_DOWNLOADSIZE)
        digest = digest_of(solvable)
    return Package(
        name=solvable.name, epoch=epoch, version=version, release=release, arch=solvable.arch,
        repo=solvable.repo.name, location=location, digest=digest, size=size,
        sourcerpm=_source(solvable),
    )  # fmt: skip


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


def digest_of(solvable: Any) -> str:
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
