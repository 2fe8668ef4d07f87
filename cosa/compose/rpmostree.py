"""The rpm-ostree engine: `rpm-ostree compose tree`, fed with exactly what was resolved.

The command reads repositories, a treefile around the definition's own, a lockfile
and layers, all prepared here (`rpmostree_feed`) from the job, and no network: so
which packages there are, their signatures and digests were settled by the same code as
for the native engine. It writes into a repository of its own, from which the finished
commit is taken over; a run that is killed leaves nothing but caches.

Source of the command line: rpm-ostree's rust/src/compose.rs and
src/app/rpmostree-compose-builtin-tree.cxx; how coreos-assembler called it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosa.compose import rpmostree_feed as feed
from cosa.compose import rpmostree_result as results
from cosa.compose.job import Commit, ComposeJob
from cosa.core import events, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.core.run import failed, run, which
from cosa.tools import ostree

PROGRAM = "rpm-ostree"


@dataclass(frozen=True)
class Files:
    """What one call reads and writes, all in the private folder but the cache."""

    repo: Path
    cache: Path
    treefile: Path
    lockfile: Path
    metadata: Path
    touched: Path
    composejson: Path
    written_lock: Path

    @classmethod
    def below(cls, scratch: Path, cache: Path) -> Files:
        """The usual names."""
        return cls(
            repo=scratch / "repo",
            cache=cache / "rpm-ostree",
            treefile=scratch / feed.TREEFILE,
            lockfile=scratch / "lock.json",
            metadata=scratch / "commit-metadata.json",
            touched=scratch / "changed",
            composejson=scratch / "compose.json",
            written_lock=scratch / "lock.out.json",
        )


def command(job: ComposeJob, files: Files) -> list[str]:
    """The command line.

    Strictly locked, so that nothing but the resolved packages can be taken. With a
    parent, rpm-ostree compares with it and makes no commit when nothing changed; without,
    there is nothing to compare with.
    """
    argv = [
        PROGRAM, "compose", "tree", "--unified-core",
        f"--repo={files.repo}",
        f"--cachedir={files.cache}",
        f"--touch-if-changed={files.touched}",
        f"--write-composejson-to={files.composejson}",
        f"--ex-write-lockfile-to={files.written_lock}",
        f"--ex-lockfile={files.lockfile}",
        "--ex-lockfile-strict",
        f"--add-metadata-from-json={files.metadata}",
        f"--add-metadata-string=version={job.version}",
    ]  # fmt: skip
    if job.parent:
        argv += [f"--previous-commit={job.parent}", f"--parent={job.parent}"]
    else:
        argv += ["--no-parent"]
    return [*argv, str(files.treefile)]


def environment(job: ComposeJob) -> Mapping[str, str]:
    """What rpm-ostree is told besides: SOURCE_DATE_EPOCH is the commit's time."""
    return {"SOURCE_DATE_EPOCH": str(job.epoch)}


def compose(job: ComposeJob) -> Commit:
    """Make the commit and point the treefile's ref at it.

    When rpm-ostree finds nothing changed since `job.parent`, that is what comes back.
    Raises `engine/...`, `compose/...` of the layers, `run/failed` with rpm-ostree's words.
    """
    _need()
    job.cache.mkdir(parents=True, exist_ok=True)
    umask = os.umask(0o022)
    try:
        with fs.private_dir(job.scratch, "rpm-ostree") as scratch:
            return _compose(job, Files.below(scratch, job.cache))
    finally:
        os.umask(umask)


def _compose(job: ComposeJob, files: Files) -> Commit:
    own = ostree.Repo.ensure(files.repo, "bare-user")
    target = ostree.Repo.ensure(job.target_repo, "bare-user")
    if job.parent:
        _take(target, own, job.parent)
    with events.step("feed rpm-ostree") as step:
        step.summary = feed.write(job, own, files.treefile.parent, files.lockfile, files.metadata)
    files.cache.mkdir(exist_ok=True)
    with events.step("rpm-ostree compose tree") as step:
        result = run(
            command(job, files), cwd=files.treefile.parent, env=environment(job), check=False
        )
        if result.status:
            raise failed(result, f"rpm-ostree could not compose {job.tree.path}")
        results.check_lock(job.packages, files.written_lock)
        if not files.touched.exists():
            return _unchanged(job, target)
        found = results.read(files.composejson)
        commit = results.commit_of(found, job, own)
        step.summary = commit.checksum[:12]
    with events.step("take the commit over"):
        _take(own, target, commit.checksum)
        if commit.ref:
            with target.transaction():
                target.set_refs({commit.ref: commit.checksum})
    return commit


def _unchanged(job: ComposeJob, target: ostree.Repo) -> Commit:
    """The parent as the result: rpm-ostree's hash of its inputs is the parent's."""
    if not job.parent:
        raise CosaError(
            "engine/no-commit",
            "rpm-ostree ended well, but made no commit",
            why="nothing was said to be there already, so it should have made one",
            fix="is it rpm-ostree that is installed under this name? see docs/engines.md",
            exit_class=ExitClass.STEP,
        )
    events.note(f"rpm-ostree: nothing changed since {job.parent[:12]}")
    return results.known_commit(target, job.parent, job.tree.ref or "")


def _take(source: ostree.Repo, target: ostree.Repo, commit: str) -> None:
    """Bring a commit from one repository into another; hard links where both are alike."""
    run(["ostree", "pull-local", f"--repo={target.path}", str(source.path), commit])


def _need() -> None:
    """Raise `engine/...` where rpm-ostree cannot work."""
    try:
        which(PROGRAM)
    except CosaError as err:
        raise CosaError(
            "engine/missing",
            "rpm-ostree is not installed",
            why="the engine rpm-ostree was chosen; Debian has no package of it",
            fix="use a Fedora base for the assembler (docs/assembler.md), or --engine native",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err
    if os.geteuid():
        raise CosaError(
            "engine/needs-root",
            "rpm-ostree composes as root only",
            fix="run as root, or use --engine native",
            exit_class=ExitClass.ENVIRONMENT,
        )


@functools.cache
def version() -> str:
    """The version of rpm-ostree, as it says itself. Raises `engine/missing`."""
    _need()
    text = run([PROGRAM, "--version"]).out
    found = re.search(r"Version:\s*'?([\w.~+-]+)'?", text)
    return found.group(1) if found else text.strip().splitlines()[0] if text.strip() else "unknown"
