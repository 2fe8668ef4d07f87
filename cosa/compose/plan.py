"""The union of many packages, computed in memory before a single file is linked.

Packages are joined as OSTree's UNION_IDENTICAL does: the same path may come
twice when it is the same object; directories merge; of two 32/64-bit variants
the 64-bit one wins. Everything that does not fit is reported at once.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cosa.compose import translate
from cosa.compose.pkgindex import Entry, PackageIndex
from cosa.core import events
from cosa.core.errors import CosaError, Problems

_MAX_LINKS = 40


@dataclass(frozen=True)
class PlanOptions:
    """Treefile keys that decide what is laid out."""

    documentation: bool = True
    remove: tuple[tuple[str, tuple[str, ...]], ...] = ()  # package, regular expressions


@dataclass(slots=True)
class Node:
    """A path of the tree to be. `package` is who ships it."""

    entry: Entry
    package: str


@dataclass
class Plan:
    """Paths to lay out (parents may be missing), and tmpfiles.d lines for what cannot be."""

    nodes: dict[str, Node] = field(default_factory=dict)
    tmpfiles: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)  # further symlinks, path to target
    origins: dict[str, str] = field(default_factory=dict)  # packaged path to where it went


def plan_union(packages: Sequence[PackageIndex], options: PlanOptions) -> Plan:
    """Join packages, given in the order in which rpm would install them.

    Raises `compose/conflict` with every pair of packages that do not fit
    together, `compose/path` for paths that have no place in the tree.
    """
    plan = Plan()
    problems = Problems()
    placed = list(_placements(packages, options, plan, problems))
    links = {path: node.entry.target for path, node, _ in placed if stat.S_ISLNK(node.entry.mode)}
    resolve = _Resolver(links)
    for path, node, _ in placed:
        real = resolve(path)
        if real.startswith("run/"):
            _note_run(plan, real, node.entry)
            continue
        if node.entry.is_dir and real in links:
            continue  # a folder reached through somebody's link
        plan.origins[node.entry.path] = real
        known = plan.nodes.get(real)
        if known is None:
            plan.nodes[real] = node
        elif not _join(plan, real, known, node):
            problems.add(
                "compose/conflict",
                f"{known.package} and {node.package} both ship /{real}, and differ",
                fix="exclude one of them, or drop the path with remove-from-packages",
            )
    problems.raise_if_any("the packages do not fit together")
    return plan


def _placements(
    packages: Sequence[PackageIndex], options: PlanOptions, plan: Plan, problems: Problems
) -> Iterator[tuple[str, Node, PackageIndex]]:
    drop = _Droplist(options.remove, {package.name for package in packages})
    for package in packages:
        for entry in package.entries:
            if not options.documentation and entry.is_doc and not entry.is_dir:
                continue
            placement = translate.place("/" + entry.path, entry.mode, package.name)
            match placement.fate:
                case translate.Fate.KEEP:
                    if drop.drops(package.name, placement.path):
                        continue
                    if placement.link:
                        plan.links[placement.link[0]] = placement.link[1]
                    yield placement.path, Node(entry, package.name), package
                case translate.Fate.TMPFILES:
                    _note_run(plan, placement.path, entry)
                case translate.Fate.REFUSE:
                    problems.add(
                        "compose/path",
                        f"{package.name} ships /{entry.path}, which has no place in the tree",
                        why="a commit holds /usr and /etc; other folders are the machine's own",
                        fix="drop the path with remove-from-packages",
                    )
    drop.tell_unused()


def _note_run(plan: Plan, path: str, entry: Entry) -> None:
    if entry.is_link:
        plan.tmpfiles.add(f"L /{path} - - - - {entry.target}")
    elif entry.is_dir and path != "run":
        mode = stat.S_IMODE(entry.mode)
        plan.tmpfiles.add(f"d /{path} {mode:04o} {entry.user} {entry.group} - -")


def _join(plan: Plan, path: str, known: Node, new: Node) -> bool:
    """Whether two packages may share a path; the better entry stays."""
    old, entry = known.entry, new.entry
    if old.is_dir and entry.is_dir:
        if entry.special and not old.special:
            plan.nodes[path] = Node(replace(entry, path=old.path), new.package)
        return True
    same = (old.csum, old.target) == (entry.csum, entry.target) and not old.is_dir
    if same and (old.mode, old.user, old.group) == (entry.mode, entry.user, entry.group):
        return True
    if old.color and entry.color and old.color != entry.color:
        if entry.color > old.color:
            plan.nodes[path] = new
        return True
    return False


class _Resolver:
    """Follows the tree's own links in the folders of a path, never out of the root."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links
        self._folders: dict[str, str] = {"": ""}

    def __call__(self, path: str) -> str:
        above, slash, name = path.rpartition("/")
        return f"{self._folder(above)}{slash}{name}" if slash else path

    def _folder(self, path: str, depth: int = 0) -> str:
        if path in self._folders:
            return self._folders[path]
        above, _, name = path.rpartition("/")
        base = self._folder(above, depth)
        real = f"{base}/{name}" if base else name
        target = self._links.get(real)
        if target is not None:
            if depth > _MAX_LINKS:
                raise CosaError("compose/link-loop", f"the link /{real} leads round in a circle")
            joined = posixpath.normpath(posixpath.join("/", base, target)).lstrip("/")
            real = self._folder(joined, depth + 1)
        self._folders[path] = real
        return real


class _Droplist:
    """remove-from-packages: regular expressions on the paths a commit will have."""

    def __init__(self, rules: Iterable[tuple[str, tuple[str, ...]]], present: set[str]) -> None:
        self._rules: dict[str, list[re.Pattern[str]]] = {}
        self._unused: set[tuple[str, str]] = set()
        problems = Problems()
        for package, patterns in rules:
            if package not in present:
                problems.add(
                    "compose/remove-from-packages",
                    f"remove-from-packages names {package}, which is not among the packages",
                )
            for pattern in patterns:
                try:
                    self._rules.setdefault(package, []).append(re.compile(pattern))
                except re.error as err:
                    problems.add(
                        "compose/remove-from-packages",
                        f"remove-from-packages has a pattern that is not a regular expression: "
                        f"{pattern!r} ({err})",
                    )
                self._unused.add((package, pattern))
        problems.raise_if_any("remove-from-packages cannot be applied")

    def drops(self, package: str, path: str) -> bool:
        rules = self._rules.get(package)
        if not rules:
            return False
        full = "/" + translate.committed(path)
        hit = next((rule for rule in rules if rule.search(full)), None)
        if hit is None:
            return False
        self._unused.discard((package, hit.pattern))
        return True

    def tell_unused(self) -> None:
        for package, pattern in sorted(self._unused):
            events.warn(f"remove-from-packages: nothing in {package} matches {pattern}")
