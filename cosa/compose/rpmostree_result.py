"""What rpm-ostree tells of a compose, checked and turned into a `Commit`.

The composejson's keys are those rpm-ostree writes (src/libpriv/rpmostree-composeutil.cxx,
`rpmostree_composeutil_write_composejson`); upstream copies them into meta.json as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from cosa.compose.commit import Stats
from cosa.compose.job import Commit, ComposeJob
from cosa.core.errors import CosaError, ExitClass, Problems, Where
from cosa.model import document
from cosa.model.lockfile import load_lockfile
from cosa.model.package import Package
from cosa.tools import ostree

type Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
type Count = Annotated[int, Field(ge=0)]


class _PackagePair(BaseModel):
    """The two sides of a change, each (name, evr, arch); one is absent where there is none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    previous: tuple[str, str, str] | None = Field(default=None, alias="PreviousPackage")
    new: tuple[str, str, str] | None = Field(default=None, alias="NewPackage")


class ComposeJson(BaseModel):
    """The file of `--write-composejson-to`. Keys not named here are left alone.

    `pkgdiff` rows are (name, kind, pair), kind 0 added, 1 removed, 2 up, 3 down; it is there
    only when the commit has a parent.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    commit: Checksum = Field(alias="ostree-commit")
    content_checksum: Checksum = Field(alias="ostree-content-checksum")
    version: str = Field(default="", alias="ostree-version")
    timestamp: AwareDatetime = Field(alias="ostree-timestamp")
    ref: str = ""
    parent: Checksum | None = Field(default=None, alias="ostree-parent-commit")
    inputhash: Checksum | None = Field(default=None, alias="rpm-ostree-inputhash")
    metadata_total: Count = Field(default=0, alias="ostree-n-metadata-total")
    metadata_written: Count = Field(default=0, alias="ostree-n-metadata-written")
    content_total: Count = Field(default=0, alias="ostree-n-content-total")
    content_written: Count = Field(default=0, alias="ostree-n-content-written")
    cache_hits: Count = Field(default=0, alias="ostree-n-cache-hits")
    bytes_written: Count = Field(default=0, alias="ostree-content-bytes-written")
    pkgdiff: tuple[tuple[str, int, _PackagePair], ...] = ()

    def stats(self) -> dict[str, int]:
        """The counts, by the same names as the native engine's."""
        return Stats(
            content_total=self.content_total,
            content_written=self.content_written,
            bytes_written=self.bytes_written,
            cache_hits=self.cache_hits,
            metadata_total=self.metadata_total,
            metadata_written=self.metadata_written,
        ).to_json()


def read(path: Path) -> ComposeJson:
    """Read a composejson. Raises `engine/composejson-...` or `document/...`, naming the file."""
    return document.validate(ComposeJson, document.load(path, "json"), "engine")


def commit_of(found: ComposeJson, job: ComposeJob, repo: ostree.Repo) -> Commit:
    """The commit a composejson tells of, which must be in `repo` and be what was asked for.

    Raises `engine/unexpected` with everything that differs from the job.
    """
    if not ostree.has_commit(repo.path, found.commit):
        raise CosaError(
            "engine/unexpected",
            f"rpm-ostree tells of the commit {found.commit[:12]}, which it did not write",
            Where(str(repo.path)),
            exit_class=ExitClass.STEP,
        )
    commit = known_commit(repo, found.commit, job.tree.ref or "", found.stats())
    wanted = (
        ("version", job.version, commit.version),
        ("ref", job.tree.ref or "", found.ref),
        ("time", job.epoch, commit.timestamp),
        ("content checksum", found.content_checksum, commit.content_checksum),
    )
    problems = Problems()
    for name, asked, got in wanted:
        if asked != got:
            problems.add(
                "engine/unexpected",
                f"the {name} of rpm-ostree's commit is {got!r}, not {asked!r}",
                fix="report this with the version of rpm-ostree; --engine native is not affected",
            )
    problems.raise_if_any("rpm-ostree made another commit than asked for", ExitClass.STEP)
    return commit


def known_commit(
    repo: ostree.Repo, checksum: str, ref: str, stats: dict[str, int] | None = None
) -> Commit:
    """A commit that is in a repository, from what it says itself."""
    metadata = ostree.commit_metadata(repo.path, checksum)
    return Commit(
        checksum=checksum,
        ref=ref,
        version=str(metadata.get("version", "")),
        timestamp=repo.timestamp(checksum),
        content_checksum=repo.content_checksum(checksum),
        stats=stats or {},
        kernel=str(metadata.get("ostree.linux", "")),
    )


def check_lock(packages: Sequence[Package], written: Path) -> None:
    """Compare the lockfile rpm-ostree wrote with what was resolved.

    Raises `engine/packages` with every package that is too many, missing or another file.
    """
    locked = load_lockfile(written).locked
    wanted = {package.name: package for package in packages}
    several = {p.name for p in packages if wanted[p.name] is not p}  # multilib: one entry a name
    problems = Problems()
    for name in sorted({*locked, *wanted}):
        package, lock = wanted.get(name), locked.get(name)
        if package is None or lock is None:
            what = "took" if package is None else "left out"
            problems.add("engine/packages", f"rpm-ostree {what} {name}", Where(str(written)))
        elif name not in several and (
            not lock.fits(package.evr, package.arch)
            or (lock.digest and package.digest and lock.digest != package.digest)
        ):
            problems.add(
                "engine/packages",
                f"rpm-ostree took {name} {lock.evra or lock.evr}, not {package.evra}",
                Where(str(written)),
                why=f"digest {lock.digest}, resolved was {package.digest}",
            )
    problems.raise_if_any("rpm-ostree took other packages than were resolved", ExitClass.STEP)
