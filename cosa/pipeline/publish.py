"""Bringing a finished build into the build directory, so that a kill at any instant does no harm.

The order is: a journal naming the build; the build's folder, renamed into
place; builds.json; `latest`; the journal away. Whoever comes next and finds a
journal finishes what it names if the folder has arrived, and forgets it if not.
All of this happens under the build directory's lock.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline.workdir import Workdir

_JOURNAL = ".publishing.json"


def publish(workdir: Workdir, folder: Path, build: str, arch: str) -> Path:
    """Move `folder` to `builds/BUILD/ARCH`, list it, make it the latest; its new place.

    Raises `build/exists` when there is such a build already.
    """
    final = workdir.builds / build / arch
    if final.exists():
        raise CosaError(
            "build/exists",
            f"there is a build {build} for {arch} already",
            fix="choose another --version",
            exit_class=ExitClass.USAGE,
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    sync_tree(folder)
    fs.atomic_write(workdir.builds / _JOURNAL, json.dumps({"build": build, "arch": arch}))
    fs.publish(folder, final)
    _list(workdir, build, arch)
    return final


def insert(workdir: Workdir, build: str, arch: str) -> None:
    """List a build, as pipelines do that gather architectures from several machines.

    Its files need not be here. Raises `builds/listed` when it is listed for `arch` already,
    `builds/id` for what cannot be one.
    """
    if not build or "/" in build or build.startswith(".") or not arch or "/" in arch:
        raise CosaError(
            "builds/id", f"'{build}' for '{arch}' is no build", exit_class=ExitClass.USAGE
        )
    if not workdir.builds.is_dir():
        raise CosaError(
            "workdir/not-initialised", f"{workdir.root} has no builds/",
            fix="name the working directory", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    with store.lock(workdir.lock_file, "a build", wait=True):
        recover(workdir)
        found = workdir.read_builds()
        if found.has(build, arch):
            raise CosaError(
                "builds/listed", f"build {build} is listed for {arch} already",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
        found.with_build(build, arch).write(workdir.builds_json)


def recover(workdir: Workdir) -> None:
    """Finish, or forget, what a killed run was publishing; sweep its temporary files."""
    fs.sweep_files(workdir.builds)
    journal = workdir.builds / _JOURNAL
    try:
        noted = json.loads(journal.read_text())
        build, arch = str(noted["build"]), str(noted["arch"])
    except FileNotFoundError:
        return
    if (workdir.builds / build / arch / "meta.json").is_file():
        events.note(f"finishing build {build}, which an earlier run had all but published")
        _list(workdir, build, arch)
        return
    folder = workdir.builds / build
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    journal.unlink()


def _list(workdir: Workdir, build: str, arch: str) -> None:
    found = workdir.read_builds()
    if not found.has(build, arch):
        found.with_build(build, arch).write(workdir.builds_json)
    point_latest(workdir, build)
    (workdir.builds / _JOURNAL).unlink()


def point_latest(workdir: Workdir, build: str) -> None:
    """Make `latest` a relative symlink to a build, as one instant."""
    fresh = workdir.builds / ".latest.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(build)
    fresh.replace(workdir.builds / "latest")


def sync_tree(folder: Path) -> None:
    """Bring files and names below a folder to the disk, so that a rename never outruns them."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
