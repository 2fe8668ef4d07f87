"""What is in the build directory, for people: builds and tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cosa.core import clock
from cosa.core.errors import CosaError
from cosa.model.builds import Build, Tag
from cosa.model.meta import CONFIG_GIT, Meta
from cosa.pipeline.workdir import Workdir, basearch


def listing(workdir: Workdir) -> list[str]:
    """A block of lines per build, newest first: id, time, artefacts, configuration, tags.

    The lines and their labels are upstream's. What is listed but not here is said to be so.
    """
    workdir.need_init()
    found = workdir.read_builds()
    if not found.builds:
        return [f"no builds in {workdir.builds} yet: run `cosa build`"]
    latest = workdir.linked()
    lines = []
    for entry in found.builds:
        lines.append(entry.id + ("  (latest)" if entry.id == latest else ""))
        lines += _describe(workdir, entry)
        names = [tag.name for tag in found.tags if tag.target == entry.id]
        if names:
            lines.append(f"   Tags: {' '.join(names)}")
        lines.append("")
    listed = {entry.id for entry in found.builds}
    for tag in found.tags:
        if tag.target not in listed:
            lines += [f"the tag {tag.name} points at {tag.target}, which is not listed", ""]
    return lines[:-1]


def _describe(workdir: Workdir, entry: Build) -> list[str]:
    here = [arch for arch in entry.arches if workdir.has(entry.id, arch)]
    lines = []
    if here:
        first = basearch() if basearch() in here else here[0]
        try:
            lines += _facts(workdir.meta(entry.id, first))
        except CosaError as err:
            # One damaged build must not hide the others.
            lines.append(f"   its metadata cannot be read: {err}")
    if here != [basearch()] or entry.arches != here:
        arches = [arch if arch in here else f"{arch} (not here)" for arch in entry.arches]
        lines.append(f"   Arches: {' '.join(arches)}")
    return lines


def _facts(meta: Meta) -> list[str]:
    data = meta.to_json()
    when = str(data.get("coreos-assembler.build-timestamp") or meta.ostree_timestamp)
    lines = [f"   Timestamp: {when}{_age(when)}", f"   Artifacts: {' '.join(meta.images)}"]
    git = data.get(CONFIG_GIT)
    if isinstance(git, dict) and git.get("commit"):
        commit = str(git["commit"])
        config = f"{git['branch']} ({commit[:12]})" if git.get("branch") else commit
        dirty = " (dirty)" if str(git.get("dirty", "false")).lower() == "true" else ""
        lines.append(f"      Config: {config}{dirty}")
    return lines


def _age(when: str) -> str:
    try:
        then = datetime.fromisoformat(when)
    except ValueError:
        return ""
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    passed = timedelta(seconds=clock.now() - int(then.timestamp()))
    return f" ({passed} ago)" if passed >= timedelta() else ""


def tag_lines(tags: list[Tag]) -> list[str]:
    """A block of lines per tag, as upstream prints them."""
    lines = []
    for tag in tags:
        lines += [f"name: {tag.name}", f"created: {tag.created}", f"target: {tag.target}"]
        if tag.description:
            lines.append(f"description: {tag.description}")
        lines.append("")
    return lines[:-1]
