"""What the caches hold, and taking from them what has not been used for long.

The shared cache ($COSA_CACHE) serves all working directories, cache/ and tmp/repo of a working
directory serve its builds. All of it can be made again; nothing is taken from under a run:
whoever builds holds the working directory's lock and `store.using` of the shared cache.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosa.compose import translate
from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.lockfile import load_lockfile
from cosa.pipeline import definition
from cosa.pipeline import prune as prune_builds
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools import ostree

DAY = 86400
# After a build, at most once a day: what a month has not needed, and then down to this size.
AUTO_UNUSED, AUTO_SIZE = 30 * DAY, 20 << 30
_STAMP = ".pruned"
# Just made, perhaps for a run that comes next: `cosa fetch`, then `cosa build`.
_FRESH = 3600


@dataclass(frozen=True)
class Entry:
    """One thing that can be removed by itself.

    `kind` is for people, `place` is shared or workdir, `size` in bytes on disk, `used` seconds
    since 1970. `remove` removes it.
    """

    kind: str
    place: str
    path: Path
    size: int
    used: float
    remove: Callable[[], None]


@dataclass(frozen=True)
class Row:
    """All entries of a kind, summed up."""

    kind: str
    place: str
    count: int
    size: int
    oldest: float
    newest: float


# kind -> where its entries are. The shared ones are files or folders of their own; their names
# come from the modules that make them: compose/fetch.py, tools/repos.py, standin/repository.py.
_SHARED = (
    ("packages", "rpms/sha256/*/*.rpm"),
    ("partial downloads", "rpms/partial/*"),
    ("repository metadata", "repos/*"),
    ("stand-in repositories", "standin/repo/*/*"),
    ("stand-in packages", "standin/rpms/*.rpm"),
    ("Debian packages", "standin/debs/*.deb"),
    ("stand-in solutions", "standin/closures/*.json"),
    ("saved machines", "machines/machine/*"),
    ("digests of images", "machines/digest/*"),
)
_LOCAL = (
    ("step results", "steps/*/*"),
    ("initramfs lists", "initramfs-contents/*.json"),
)


def entries(workdir: Workdir | None, cache: Path) -> list[Entry]:
    """Everything in the shared cache, and in a working directory's if one is given."""
    found = list(_entries("shared", cache, _SHARED))
    if workdir and workdir.cache.is_dir():
        found += _entries("workdir", workdir.cache, _LOCAL)
        found += _imported(workdir)
        found += _commits(workdir)
    return found


def rows(found: Iterable[Entry]) -> list[Row]:
    """Sums by place and kind, the largest first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry.place, entry.kind), []).append(entry)
    made = [
        Row(kind, place, len(group), sum(e.size for e in group),
            min(e.used for e in group), max(e.used for e in group))
        for (place, kind), group in groups.items()
    ]  # fmt: skip
    return sorted(made, key=lambda row: (row.place, -row.size, row.kind))


def _entries(place: str, root: Path, kinds: Iterable[tuple[str, str]]) -> Iterator[Entry]:
    for kind, pattern in kinds:
        for path in sorted(root.glob(pattern)):
            if path.name.startswith("."):
                continue
            try:
                size, used = _measure(path)
            except FileNotFoundError:
                continue  # another run's, gone in between
            yield Entry(kind, place, path, size, used, _remover(path))


def _remover(path: Path) -> Callable[[], None]:
    def remove() -> None:
        # Folders by one rename first: a killed run must not leave half of one under its name.
        if path.is_dir() and not path.is_symlink():
            with fs.private_dir(path.parent, "gone") as away:
                os.rename(path, away / path.name)
        else:
            path.unlink(missing_ok=True)
            # What a stand-in package was made from, or a commit's detached metadata.
            for suffix in (".json", ".commitmeta"):
                path.with_suffix(suffix).unlink(missing_ok=True)

    return remove


def _measure(path: Path) -> tuple[int, float]:
    """Bytes on disk (a file with several names counts for its share) and the time of last use."""
    size, used = 0, 0.0
    inside = path.rglob("*") if path.is_dir() else ()
    for each in (path, *inside):
        info = each.lstat()
        size += info.st_blocks * 512 // (1 if each.is_dir() else max(1, info.st_nlink))
        # Reading changes the time of access at least once a day; `Store.find` sets the other.
        used = max(used, info.st_mtime, info.st_atime if each.is_file() else 0.0)
    return size, used


def _imported(workdir: Workdir) -> Iterator[Entry]:
    """Packages imported into the package cache, by ref; those of builds here are in use."""
    repo = workdir.cache / "pkgcache"
    refs = repo / "refs/heads/rpmostree/pkg"
    if not refs.is_dir():
        return
    found = sorted(path for path in refs.rglob("*") if path.is_file())
    share = _size_of(repo) // max(1, len(found))
    wanted = _packages_of_builds(workdir)
    now = time.time()
    for path in found:
        # What a package's own files take is not known without reading it all: an equal share.
        ref = path.relative_to(repo / "refs/heads").as_posix()
        used = now if ref in wanted else path.stat().st_mtime
        yield Entry("imported packages", "workdir", path, share, used, _remover(path))


def _packages_of_builds(workdir: Workdir) -> set[str]:
    """The refs of packages of builds that are here."""
    refs = set()
    for path in workdir.builds.glob(f"*/{basearch()}/manifest-lock.generated.{basearch()}.json"):
        for name, lock in load_lockfile(path).locked.items():
            arch = lock.wanted_arch or basearch()
            refs.add(translate.ref_name(name, lock.wanted_evr, arch))
    return refs


def _commits(workdir: Workdir) -> Iterator[Entry]:
    """Commits in tmp/repo; those of builds that are here, and of refs, are in use."""
    if not (workdir.repo / "config").is_file():
        return
    objects = sorted((workdir.repo / "objects").glob("??/*.commit"))
    share = _size_of(workdir.repo) // max(1, len(objects))
    wanted = _commits_of_builds(workdir)
    now = time.time()
    for path in objects:
        used = now if path.parent.name + path.stem in wanted else path.stat().st_mtime
        yield Entry("commits", "workdir", path, share, used, _remover(path))


def _commits_of_builds(workdir: Workdir) -> set[str]:
    found = set()
    for path in workdir.builds.glob(f"*/{basearch()}/meta.json"):
        try:
            found.add(str(json.loads(path.read_text()).get("ostree-commit")))
        except (OSError, ValueError):
            continue
    return found | _heads(workdir.repo)


def _heads(repo: Path) -> set[str]:
    heads = repo / "refs/heads"
    return {path.read_text().strip() for path in heads.rglob("*") if path.is_file()}


def _size_of(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def choose(
    found: Iterable[Entry], *, max_size: int | None = None, unused_for: float | None = None
) -> list[Entry]:
    """What to remove: all that was not used for `unused_for` seconds, then the longest unused
    until no more than `max_size` bytes are left. What was used within the last hour stays.
    """
    now = time.time()
    free = sorted((e for e in found if now - e.used > _FRESH), key=lambda e: (e.used, e.path))
    total = sum(entry.size for entry in found)
    doomed = []
    for entry in free:
        old = unused_for is not None and now - entry.used > unused_for
        if old or (max_size is not None and total > max_size):
            doomed.append(entry)
            total -= entry.size
    return doomed


def prune(
    workdir: Workdir | None,
    cache: Path,
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    dry_run: bool = False,
) -> list[Entry]:
    """Remove what `choose` says, from caches nobody uses; what was (or would be) removed.

    A cache in use is left alone, and a note says so.
    """
    with _free(workdir, cache) as (free_workdir, shared_free):
        found = entries(free_workdir, cache)
        if not shared_free:
            found = [entry for entry in found if entry.place != "shared"]
        doomed = choose(found, max_size=max_size, unused_for=unused_for)
        if not dry_run:
            for entry in doomed:
                entry.remove()
            if free_workdir:
                _sweep_repos(free_workdir, {entry.kind for entry in doomed})
        return doomed


@contextmanager
def _free(workdir: Workdir | None, cache: Path) -> Iterator[tuple[Workdir | None, bool]]:
    with ExitStack() as held:
        free = workdir
        if workdir:
            try:
                held.enter_context(store.lock(workdir.lock_file, "a build"))
            except CosaError as err:
                if err.exit_class is not ExitClass.BUSY:
                    raise
                events.note(f"{workdir.cache} is in use and stays as it is")
                free = None
        shared = held.enter_context(store.unused(cache)) if cache.is_dir() else False
        if cache.is_dir() and not shared:
            events.note(f"{cache} is in use and stays as it is")
        yield free, shared


def _sweep_repos(workdir: Workdir, kinds: set[str]) -> None:
    """Drop objects nothing refers to any more."""
    pkgcache = workdir.cache / "pkgcache"
    if "imported packages" in kinds:
        ostree.prune(pkgcache, _heads(pkgcache))
    if "commits" in kinds:
        objects = (workdir.repo / "objects").glob("??/*.commit")
        ostree.prune(workdir.repo, {path.parent.name + path.stem for path in objects})


def freeable(workdir: Workdir, cache: Path) -> list[str]:
    """What would make room, with the command for it; only what is worth it."""
    ways = []
    old = prune_builds.choose(workdir, 1).doomed
    size = sum(_size_of(workdir.builds / name) for name in old)
    if size:
        ways.append(f"`cosa prune --keep-last-n 1` frees up to {fs.mib(size)}: {len(old)} builds")
    found = choose(entries(workdir, cache), unused_for=DAY)
    size = sum(entry.size for entry in found)
    if size:
        ways.append(f"`cosa cache prune --unused-for 1d` frees {fs.mib(size)}")
    return ways


def after_build(workdir: Workdir) -> None:
    """The automatic pruning: at most once a day, within the bounds above; never a failure."""
    cache = definition.shared_cache()
    stamp = workdir.cache / _STAMP
    try:
        if time.time() - stamp.stat().st_mtime < DAY:
            return
    except FileNotFoundError:
        pass
    try:
        stamp.touch()
        doomed = prune(workdir, cache, max_size=AUTO_SIZE, unused_for=AUTO_UNUSED)
    except OSError as err:
        events.warn(f"the caches could not be pruned: {err}")
        return
    if doomed:
        size = fs.mib(sum(entry.size for entry in doomed))
        events.note(f"{len(doomed)} cached things not used for long are gone: {size}")


def table(found: list[Row], cache: Path) -> str:
    """Rows for people."""
    if not found:
        return f"nothing is cached: {cache} and the working directory's cache are empty"
    now = time.time()
    lines = [f"{'':9} {'kind':22} {'number':>7} {'size':>10}  last used"]
    lines += [
        f"{row.place:9} {row.kind:22} {row.count:>7} {fs.mib(row.size):>10}  "
        f"{' to '.join(dict.fromkeys((_ago(now - row.newest), _ago(now - row.oldest))))} ago"
        for row in found
    ]
    total = sum(row.size for row in found)
    return "\n".join([*lines, f"in all {fs.mib(total)}; the shared cache is {cache}"])


def removed(doomed: list[Entry], *, dry_run: bool) -> str:
    """What pruning did, for people."""
    if not doomed:
        return "nothing to remove"
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {row.count} {row.kind}: {fs.mib(row.size)}" for row in rows(doomed)]
    return "\n".join(lines)


def to_json(found: list[Row]) -> dict[str, list[dict[str, int | str]]]:
    """Rows for programs; sizes in bytes, times in seconds since 1970."""
    return {
        "caches": [
            {
                "place": row.place, "kind": row.kind, "count": row.count, "size": row.size,
                "oldest-use": int(row.oldest), "newest-use": int(row.newest),
            }
            for row in found
        ]
    }  # fmt: skip


def _ago(seconds: float) -> str:
    for size, unit in ((DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "moments"
