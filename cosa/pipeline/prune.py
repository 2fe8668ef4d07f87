"""Removing old builds, so that the disk does not fill.

As with publishing, a journal makes several changes one: a run that finds it finishes
what it says. The list of builds is never made anew from folders: what another machine
holds (history that was fetched, other architectures) stays in it, and of a build that
was fetched only the files go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.model.builds import Build, Builds
from cosa.pipeline import publish
from cosa.pipeline.workdir import Workdir

KEPT = 3
_JOURNAL = ".pruning.json"


@dataclass(frozen=True)
class Choice:
    """What would go, and what stays though it is old: build -> why."""

    doomed: tuple[str, ...]
    spared: dict[str, str] = field(default_factory=dict)


def choose(workdir: Workdir, keep: int = KEPT) -> Choice:
    """All but the `keep` newest untagged builds; tagged ones and the latest stay. 0 keeps all."""
    found = workdir.read_builds()
    here = [b.id for b in found.builds if (workdir.builds / b.id).is_dir()]
    tags = _tags(found)
    latest = workdir.linked()
    old = [name for name in here if name not in tags][keep:] if keep else []
    spared = {name: f"tagged {', '.join(tags[name])}" for name in here if name in tags}
    spared |= {name: "the latest" for name in old if name == latest}
    return Choice(tuple(name for name in old if name != latest), spared)


def choose_named(workdir: Workdir, names: Sequence[str]) -> Choice:
    """Just these builds. Raises `prune/...` for those that are not here or are tagged."""
    found = workdir.read_builds()
    tags = _tags(found)
    problems = Problems()
    for name in names:
        if "/" in name or name.startswith(".") or not (workdir.builds / name).is_dir():
            listed = "it is listed, but its files are not here" if found.has(name) else ""
            here = [b.id for b in found.builds if (workdir.builds / b.id).is_dir()]
            problems.add(
                "prune/unknown", f"there is no build {name} to remove", why=listed,
                fix=f"builds here are: {', '.join(here[:5]) or 'none'}",
            )  # fmt: skip
        elif name in tags:
            problems.add(
                "prune/tagged", f"build {name} is tagged {', '.join(tags[name])}",
                fix=f"`cosa tag delete --tag {tags[name][0]}` first",
            )  # fmt: skip
    problems.raise_if_any("nothing was removed", ExitClass.USAGE)
    return Choice(tuple(dict.fromkeys(names)))


def remove(workdir: Workdir, choice: Choice) -> None:
    """Remove what was chosen. Raises `busy/locked` while a build runs here."""
    with store.lock(workdir.lock_file, "a build"):
        publish.recover(workdir)
        recover(workdir)
        _apply(workdir, choice)


def prune(workdir: Workdir, keep: int = KEPT) -> list[str]:
    """Remove all but the `keep` newest untagged builds; the ids of those removed.

    To be called under the build directory's lock.
    """
    choice = choose(workdir, keep)
    _apply(workdir, choice)
    if choice.doomed:
        events.note(f"removed old builds: {', '.join(choice.doomed)}")
    return list(choice.doomed)


def recover(workdir: Workdir) -> None:
    """Finish what a killed run was removing."""
    try:
        doomed = json.loads((workdir.builds / _JOURNAL).read_text())["builds"]
    except FileNotFoundError:
        return
    _remove(workdir, [str(name) for name in doomed])


def _apply(workdir: Workdir, choice: Choice) -> None:
    if choice.doomed:
        text = json.dumps({"builds": list(choice.doomed)})
        fs.atomic_write(workdir.builds / _JOURNAL, text)
        _remove(workdir, choice.doomed)


def _remove(workdir: Workdir, doomed: Sequence[str]) -> None:
    found = workdir.read_builds()
    fetched = _fetched(workdir)
    kept = [entry for entry in found.builds if entry.id in doomed]
    stay = {b.id: b for b in (_elsewhere(workdir, entry, fetched) for entry in kept) if b}
    builds = [stay.get(b.id, b) for b in found.builds if b.id not in doomed or b.id in stay]
    if builds != found.builds:
        found.without(set(doomed) - set(stay)).model_copy(update={"builds": builds}).write(
            workdir.builds_json
        )
    _move_latest(workdir, doomed, builds)
    with fs.private_dir(workdir.tmp, "prune") as bin_:
        for name in doomed:
            if (workdir.builds / name).is_dir():
                os.rename(workdir.builds / name, bin_ / name)
    (workdir.builds / _JOURNAL).unlink()


def _elsewhere(workdir: Workdir, entry: Build, fetched: Builds | None) -> Build | None:
    """What the list says of a build once its folder is gone: what is kept on another machine."""
    if fetched is None:
        return entry
    remote = {arch for b in fetched.builds if b.id == entry.id for arch in b.arches}
    folder = workdir.builds / entry.id
    # Without the folder we are finishing a killed run, whose list said already what stays.
    arches = [
        arch for arch in entry.arches
        if arch in remote or not folder.is_dir() or not (folder / arch).is_dir()
    ]  # fmt: skip
    return entry.model_copy(update={"arches": arches}) if arches else None


def _fetched(workdir: Workdir) -> Builds | None:
    """The list as it was when builds were last fetched, empty when they never were.

    None when it cannot be read: any build may then be one that another machine has.
    """
    try:
        return Builds.read(workdir.source_json)
    except CosaError as err:
        events.warn(f"removed builds stay in the list, because {err} (fetch the builds again)")
        return None


def _move_latest(workdir: Workdir, doomed: Collection[str], builds: Sequence[Build]) -> None:
    """`latest` must not point at what goes: to the newest that stays here, or away."""
    if workdir.linked() not in doomed:
        return
    for entry in builds:
        if entry.id not in doomed and (workdir.builds / entry.id).is_dir():
            publish.point_latest(workdir, entry.id)
            return
    (workdir.builds / "latest").unlink()


def _tags(found: Builds) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    for tag in found.tags:
        tags.setdefault(tag.target, []).append(tag.name)
    return tags
