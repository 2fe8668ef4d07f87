"""Names for builds, kept in builds.json; a tagged build is never pruned."""

from __future__ import annotations

from collections.abc import Callable

from cosa.core import clock, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.builds import Builds, Tag
from cosa.pipeline import prune, publish
from cosa.pipeline.workdir import Workdir


def update(
    workdir: Workdir, name: str, build: str, *, description: str = "", force: bool = False
) -> Tag:
    """Point a tag, new or old, at a build; the tag.

    Raises `tag/name`, and `builds/unknown` unless the build is listed or `force` is given.
    """
    if not name or name != name.strip() or any(ord(c) < 32 for c in name):
        raise CosaError("tag/name", f"{name!r} cannot name a tag", exit_class=ExitClass.USAGE)
    target = workdir.latest() if build == "latest" else build

    def change(found: Builds) -> Builds:
        if force and not found.has(target):
            # Listed for a moment, so that the rules for tags stand in one place.
            listed = found.with_build(target, "none").with_tag(name, target, description)
            return listed.model_copy(update={"builds": found.builds})
        return found.with_tag(name, target, description)

    made = _change(workdir, change)
    return next(tag for tag in made.tags if tag.name == name)


def delete(workdir: Workdir, name: str) -> None:
    """Remove a tag. Raises `tag/unknown`, saying which there are."""
    known = [tag.name for tag in workdir.read_builds().tags]
    if name not in known:
        raise CosaError(
            "tag/unknown", f"there is no tag '{name}'",
            fix=f"there are: {', '.join(known)}" if known else "there are none",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    _change(workdir, lambda found: found.without_tag(name))


def delete_all(workdir: Workdir) -> list[str]:
    """Remove every tag; their names."""
    names = [tag.name for tag in workdir.read_builds().tags]

    def change(found: Builds) -> Builds:
        for name in names:
            found = found.without_tag(name)
        return found

    _change(workdir, change)
    return names


def _change(workdir: Workdir, change: Callable[[Builds], Builds]) -> Builds:
    """Change the list under the lock that publishing and pruning hold, too."""
    with store.lock(workdir.lock_file, "a build", wait=True):
        publish.recover(workdir)
        prune.recover(workdir)
        found = workdir.read_builds()
        changed = change(found)
        if changed != found:
            fresh = changed.model_copy(update={"timestamp": clock.iso(clock.now())})
            fs.sweep_files(workdir.builds)
            fresh.write(workdir.builds_json)
        return changed
