"""A build made again from nothing but its own records, and compared to the bit.

    its lockfile              exactly those packages, nothing is solved
    its config archive        the definition as it was, with what git said of it
    its commit                version, time, parent
    overrides/ of this place  they are in no archive; the comparison of inputs tells if they changed

All of it happens in a private folder with empty caches; only downloads are shared.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cosa.compose.resolve import Resolution
from cosa.core import events, fs, store
from cosa.core import run as runner
from cosa.core.errors import CosaError, ExitClass
from cosa.model.lockfile import Lockfile, load_lockfile
from cosa.model.meta import Meta
from cosa.model.package import Package, split_evra
from cosa.pipeline import build as building
from cosa.pipeline import changes, definition, difference, make
from cosa.pipeline.build import Options, Run
from cosa.pipeline.definition import Definition
from cosa.pipeline.gitstate import GitState
from cosa.pipeline.record import Record
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools import ostree
from cosa.tools.repofile import LOCAL_REPO

_CONFIG_TAR = "coreos-assembler-config.tar.gz"
_EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True)
class Finding:
    """How one result compares. `where` names the first difference, `why` what may explain it."""

    name: str
    equal: bool
    where: str = ""


@dataclass(frozen=True)
class Comparison:
    """A rebuild against its build: findings by result, and inputs that are not what they were."""

    build: str
    findings: tuple[Finding, ...]
    inputs: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether everything came out the same to the bit."""
        return all(finding.equal for finding in self.findings)


def rebuild(workdir: Workdir, name: str = "") -> Comparison:
    """Make a build (default the latest) again in a private folder and compare.

    Raises `rebuild/...` when the build does not hold what it would need, and what
    building raises.
    """
    workdir.need_init()
    arch = basearch()
    folder = workdir.build(name, arch)
    meta = Meta.read(folder / "meta.json")
    with (
        store.using(definition.shared_cache()),
        fs.private_dir(workdir.tmp, "rebuild") as work,
    ):
        inner = _workdir(workdir, folder, work)
        found = _definition(inner, workdir, meta, arch)
        run = _run(inner, found, meta, folder, workdir)
        resolution = _resolution(folder, workdir, arch)
        run.repos = definition.repositories(inner, found)
        with _at(_seconds(meta)):
            inputs = building.inputs_of_run(run, resolution)
            _, made = make.new_build(run, resolution, inputs, None)
        with events.step("compare"):
            again = Meta.read(made / "meta.json")
            commits = (workdir.repo, meta.ostree_commit), (inner.repo, again.ostree_commit)
            findings = (_commit(*commits), *_files((folder, meta), (made, again)))
        record = Record.read(folder)
        changed = changes.texts(record.inputs, inputs) if record else []
        return Comparison(meta.buildid, findings, tuple(changed))


def _workdir(workdir: Workdir, folder: Path, work: Path) -> Workdir:
    """A working directory of its own below `work`, with the definition from the archive."""
    inner = Workdir(work / "w")
    for path in (inner.config, inner.builds, inner.tmp, inner.cache):
        path.mkdir(parents=True)
    archive = folder / _CONFIG_TAR
    if not archive.is_file():
        raise CosaError(
            "rebuild/no-config",
            f"build {folder.parent.name} has no archive of its definition",
            why=f"{archive} is missing: it was built with --skip-config-archive or by another tool",
            exit_class=ExitClass.USAGE,
        )
    said = json.loads((folder / "coreos-assembler-config-git.json").read_text())
    if fs.sha256_file(archive) != said["file"]["checksum"]:
        raise CosaError(
            "rebuild/config-digest", f"{archive} is not the file that was written with the build",
            exit_class=ExitClass.UNTRUSTED,
        )  # fmt: skip
    with tarfile.open(archive) as tar:
        tar.extractall(inner.config, filter="tar")
        # The filter takes write permission from others; modes are inputs.
        for member in tar:
            if member.isreg() or member.isdir():
                (inner.config / member.name).chmod(member.mode)
    for source, target in (
        (workdir.variant_file, inner.variant_file), (workdir.yumrepos, inner.yumrepos),
        (workdir.overrides, inner.overrides),
    ):  # fmt: skip
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.is_file():
            shutil.copy2(source, target)
    return inner


def _definition(inner: Workdir, workdir: Workdir, meta: Meta, arch: str) -> Definition:
    found = definition.load(inner, arch)
    git = meta.to_json().get("coreos-assembler.container-config-git")
    if not git:
        return found
    state = GitState(
        git["commit"], _known(git["origin"], "UNKNOWN"), _known(git["branch"], "HEAD"),
        git.get("dirty") == "true",
    )  # fmt: skip
    events.note(f"definition of {workdir.config}: git {state.commit[:12]}")
    return replace(found, git=state)


def _known(text: str, unknown: str) -> str:
    return "" if text == unknown else text


def _run(inner: Workdir, found: Definition, meta: Meta, folder: Path, workdir: Workdir) -> Run:
    from cosa.compose import engine as engines

    targets = ("ostree", *(n for n in meta.images if n not in ("ostree", "oci-manifest")))
    parent = ostree.commit_parent((folder / "ostree-commit-object").read_bytes())
    options = Options(targets=targets, version=meta.ostree_version, skip_prune=True, parent=parent)
    if parent:
        ostree.Repo.ensure(inner.repo, "bare-user")
        runner.run(["ostree", "pull-local", f"--repo={inner.repo}", workdir.repo, parent])
    work = inner.root / "work"
    work.mkdir()
    return Run(
        inner, options, found.arch, work, definition.shared_cache(), found, targets,
        tuple(definition.overrides_in_use(found)), found.locks, version=meta.ostree_version,
        engine=engines.choose(found.tree).engine,
    )  # fmt: skip


def _resolution(folder: Path, workdir: Workdir, arch: str) -> Resolution:
    """The packages of a build's lockfile, without asking what there is today."""
    path = folder / f"manifest-lock.generated.{arch}.json"
    lock = load_lockfile(path)
    packages = tuple(sorted(_package(path, lock, name, workdir) for name in lock.locked))
    stamps = (lock.metadata.rpmmd_repos or {}) if lock.metadata else {}
    times = tuple(sorted((name, int(s.generated.timestamp())) for name, s in stamps.items()))
    return Resolution(packages, times)


def _package(path: Path, lock: Lockfile, name: str, workdir: Workdir) -> Package:
    entry = lock.locked[name]
    more = entry.metadata or {}
    if not (entry.evra and entry.digest and more.get("location")):
        raise CosaError(
            "rebuild/lockfile",
            f"{path.name} does not say which file {name} was",
            why="a rebuild needs evra, digest and location of every package",
            exit_class=ExitClass.USAGE,
        )
    epoch, version, release, arch = split_evra(entry.evra)
    location, repo = str(more["location"]), str(more.get("repo", ""))
    if repo == LOCAL_REPO:
        here = next((workdir.overrides / "rpm").rglob(location), None)
        location = here.as_uri() if here else location
    source = str(more.get("sourcerpm", ""))
    size = more.get("size", 0)
    return Package(
        name, epoch, version, release, arch, repo, location, entry.digest,
        size if isinstance(size, int) else 0, f"{source}-0-0.src.rpm" if source else "",
    )  # fmt: skip


def _seconds(meta: Meta) -> int:
    return int(datetime.fromisoformat(meta.ostree_timestamp).timestamp())


@contextmanager
def _at(seconds: int) -> Iterator[None]:
    """SOURCE_DATE_EPOCH for the length of a block."""
    before = os.environ.get(_EPOCH)
    os.environ[_EPOCH] = str(seconds)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_EPOCH]
        else:
            os.environ[_EPOCH] = before


def _commit(old: difference.Commit, new: difference.Commit) -> Finding:
    if old[1] == new[1]:
        return Finding("commit", equal=True)
    return Finding("commit", equal=False, where=difference.of_commits(old, new))


def _files(old: tuple[Path, Meta], new: tuple[Path, Meta]) -> Iterator[Finding]:
    (folder, meta), (made, again) = old, new
    for name, image in meta.images.items():
        other = again.images[name]
        # As it was before `cosa compress`, if that has been here.
        digest = image.uncompressed_sha256 or image.sha256
        equal = digest == other.sha256
        where = ""
        if not equal and image.uncompressed_sha256 is None:
            where = difference.of_files(folder / image.path, made / other.path)
        yield Finding(name, equal, where)


def text(found: Comparison) -> list[str]:
    """A comparison for people."""
    width = max(len(finding.name) for finding in found.findings)
    lines = []
    for finding in found.findings:
        verdict = "the same to the bit" if finding.equal else "DIFFERENT"
        lines.append(f"  {finding.name:<{width}}  {verdict}")
        if finding.where:
            lines.append(f"      first difference: {finding.where}")
    head = f"build {found.build}, made again: "
    if found.equal:
        return [head + "the same to the bit", *lines]
    if found.inputs:
        lines.append("what it was made from is not what it was:")
        lines += [f"    {line}" for line in found.inputs[:20]]
        if len(found.inputs) > 20:
            lines.append(f"    and {len(found.inputs) - 20} more")
    else:
        lines.append("it was made from the same: something in the build is not reproducible")
    return [head + "it came out different", *lines]
