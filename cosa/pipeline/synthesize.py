"""`cosa dev-synthesize-osupdate`: a made-up update, for tests of updating.

Some of the programs get an ELF note, which changes their bytes and nothing they do. The
result is a commit on a ref of the repository; no build is made of it.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosa.core import clock, events, fs, run, store
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline.workdir import Workdir
from cosa.tools import elf, ostree
from cosa.tools.ostree_read import Content, Objects

_FOLDERS = ("usr/bin", "usr/sbin", "usr/lib", "usr/lib/systemd", "usr/lib64")
_SMALLEST = 4096  # bytes; smaller ones are seldom programs
_SECTION = ".note.coreos-synthetic"


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; what is empty comes from the latest build."""

    repo: Path | None = None
    source: str = ""
    ref: str = ""
    percentage: int = 20


def synthesize(workdir: Workdir, wish: Wish) -> list[str]:
    """Commit the update; what was changed, folder by folder, and the new commit.

    The same source gives the same choice of programs. Raises `synthesize/...`.
    """
    if not 0 < wish.percentage <= 100:
        raise CosaError(
            "synthesize/percentage", f"--percentage is 1 to 100, not {wish.percentage}",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    repo = wish.repo or workdir.repo
    source, ref = _ends(workdir, wish)
    commit = ostree.Repo(repo).resolve(source)
    if commit is None or not ostree.has_commit(repo, commit):
        raise CosaError(
            "synthesize/no-commit", f"the repository {repo} has no '{source}'",
            fix="name what to start from with --src-ref, or build first",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    lines = []
    with (
        store.lock(workdir.lock_file, "a build"),
        events.step(f"change {wish.percentage} % of the programs"),
        fs.private_dir(workdir.tmp, "synthesize") as work,
    ):
        objects = Objects(repo)
        for folder in _FOLDERS:
            line = _change(objects, commit, folder, work / "tree", wish.percentage)
            lines += [line] if line else []
        if not lines:
            raise CosaError("synthesize/nothing", "there is no program to change")
        run.run([
            "ostree", f"--repo={repo}", "commit", f"--branch={ref}", f"--base={commit}",
            f"--add-metadata-string=version=synthetic-osupdate-{clock.now()}",
            f"--tree=dir={work / 'tree'}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs",
            "--selinux-policy-from-base", "--no-bindings", "--consume",
        ])  # fmt: skip
    return [*lines, f"{ref}: {ostree.Repo(repo).resolve(ref)}"]


def _ends(workdir: Workdir, wish: Wish) -> tuple[str, str]:
    """The commit or ref to start from, and the ref to set."""
    if wish.ref:
        return wish.source or wish.ref, wish.ref
    meta = workdir.meta()
    if not meta.ref:
        raise CosaError(
            "synthesize/no-ref", f"build {meta.buildid} names no ref", fix="give one with --ref",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return wish.source or meta.ostree_commit, meta.ref


def _change(objects: Objects, commit: str, folder: str, tree: Path, percentage: int) -> str:
    """Put changed copies of some programs of a folder below `tree`; what was done."""
    found = dict(_programs(objects, commit, folder))
    if not found:
        return ""
    order = sorted(found, key=lambda name: hashlib.sha256(f"{commit}/{name}".encode()).digest())
    wanted = max(1, len(found) * percentage // 100)
    size = done = 0
    target = tree / folder
    target.mkdir(parents=True, exist_ok=True)
    for name in order:
        if done == wanted:
            break
        data = objects.read(found[name])
        changed = elf.with_note(data, _SECTION, "cosa", "made by cosa dev-synthesize-osupdate")
        if changed is None:
            continue
        (target / name).write_bytes(changed)
        (target / name).chmod(stat.S_IMODE(found[name].meta.mode))
        size, done = size + len(changed), done + 1
    return f"/{folder}: {done} of {len(found)} programs, {fs.mib(size)}"


def _programs(objects: Objects, commit: str, folder: str) -> Iterator[tuple[str, Content]]:
    """The programs right in a folder that may be changed: root's, not set-uid, executable ELF."""
    tree = objects.commit_root(commit)[0]
    for part in folder.split("/"):
        below = {row[0]: row[1] for row in objects.folder(tree).folders}
        if part not in below:
            return
        tree = below[part]
    for name, checksum in objects.folder(tree).files:
        content = objects.content(checksum)
        mode, meta = content.meta.mode, content.meta
        if not stat.S_ISREG(mode) or content.size < _SMALLEST or meta.uid or meta.gid:
            continue
        if mode & (stat.S_ISUID | stat.S_ISGID) or mode & 0o401 != 0o401:
            continue
        # A capability would be lost: the copy is committed without xattrs.
        if any(key == b"security.capability" for key, _value in meta.xattrs):
            continue
        with objects.open(content) as file:
            if file.read(4) == elf.MAGIC:
                yield name, content
