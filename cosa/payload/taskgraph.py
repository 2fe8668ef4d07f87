"""The cluster version operator's view: which manifests it applies, and in which order.

Source of the rules: its pkg/payload (task_graph.go) and library-go's manifest
filter, as the facts of the payload format give them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cosa.payload.documents import SUFFIXES, Object, objects
from cosa.payload.layer import File

_NAME = re.compile(r"0000_(\d+)_([a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*?)_")
_RELEASE = "release.openshift.io/"
FEATURE_SETS = (
    "Default", "TechPreviewNoUpgrade", "DevPreviewNoUpgrade", "CustomNoUpgrade", "OKD",
)  # fmt: skip
WORKERS = 16


@dataclass(frozen=True)
class Cluster:
    """What of a cluster decides which manifests it gets."""

    profile: str = "self-managed-high-availability"
    feature_set: str = "Default"
    gates: frozenset[str] = frozenset()
    capabilities: frozenset[str] | None = None  # None: all are enabled
    exclude_id: str = ""


@dataclass(frozen=True)
class Task:
    """One object to apply."""

    object: Object
    level: int  # NN of the file's name, -1 when it has none
    component: str

    @property
    def barrier(self) -> bool:
        """A job is waited for before anything after it begins."""
        return self.object.kind == "Job" and self.object.group == "batch"

    @property
    def awaited(self) -> bool:
        """Whether the operator waits until it reports the new version."""
        return self.object.kind == "ClusterOperator"

    @property
    def deletes(self) -> bool:
        """Whether the object is to be removed from the cluster."""
        return self.object.annotations.get(f"{_RELEASE}delete") == "true"


@dataclass(frozen=True)
class Excluded:
    """An object that is not applied, and why."""

    object: Object
    why: str


@dataclass(frozen=True)
class Stage:
    """Chains of tasks that run side by side, at most `WORKERS`; the next stage waits for all."""

    level: int
    chains: tuple[tuple[Task, ...], ...]


@dataclass(frozen=True)
class Graph:
    """An update's stages in order, and what was left out."""

    stages: tuple[Stage, ...]
    excluded: tuple[Excluded, ...] = field(default=())

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in an order that satisfies the stages."""
        return [task for stage in self.stages for chain in stage.chains for task in chain]


def graph(files: Mapping[str, File], cluster: Cluster) -> Graph:
    """The graph of an update. Raises `payload/bad-manifest`."""
    tasks: list[Task] = []
    excluded: list[Excluded] = []
    for name in sorted(files):
        if not name.endswith(SUFFIXES):
            continue
        level, component = place_of(name)
        for one in objects(files[name].data, name):
            why = exclusion(one, cluster)
            if why:
                excluded.append(Excluded(one, why))
            else:
                tasks.append(Task(one, level, component))
    return Graph(tuple(_stages(tasks)), tuple(excluded))


def place_of(name: str) -> tuple[int, str]:
    """Run level and component of a file's name; -1 and "" when it has none."""
    found = _NAME.match(name)
    return (int(found[1]), found[2]) if found else (-1, "")


def _stages(tasks: Iterable[Task]) -> list[Stage]:
    """Files of one level are one stage, a chain for each component; a job ends its stage."""
    stages: list[Stage] = []
    chains: dict[str, list[Task]] = {}
    level = -2

    def close() -> None:
        if chains:
            stages.append(Stage(level, tuple(tuple(chain) for chain in chains.values())))
            chains.clear()

    for task in tasks:
        # What has no level runs by itself, in the order of names.
        if task.level != level or task.level < 0 or task.barrier:
            close()
            level = task.level
        chains.setdefault(task.component, []).append(task)
        if task.barrier:
            close()
    close()
    return stages


def exclusion(one: Object, cluster: Cluster) -> str:
    """Why a cluster does not get an object; empty when it does."""
    notes = one.annotations
    if not notes:
        return "it has no annotations, so no cluster profile"
    if cluster.exclude_id and notes.get(f"exclude.{_RELEASE}{cluster.exclude_id}") == "true":
        return f"excluded for {cluster.exclude_id}"
    checks = (_profile, _feature_set, _gate, _capability)
    return next((why for check in checks if (why := check(notes, cluster))), "")


def _profile(notes: Mapping[str, str], cluster: Cluster) -> str:
    value = notes.get(f"include.{_RELEASE}{cluster.profile}")
    if value == "true":
        return ""
    return f"not for the profile {cluster.profile}" + (
        f' ({value!r} is not "true")' if value else ""
    )


def _feature_set(notes: Mapping[str, str], cluster: Cluster) -> str:
    text = notes.get(f"{_RELEASE}feature-set")
    if text is None:
        return ""
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in FEATURE_SETS]
    if unknown:
        return f"unknown feature set {unknown[0]!r}"
    return "" if cluster.feature_set in words else f"for the feature set {text}"


def _gate(notes: Mapping[str, str], cluster: Cluster) -> str:
    text = notes.get(f"{_RELEASE}feature-gate")
    if text is None:
        return ""
    for word in (word.strip() for word in text.split(",")):
        on = word.removeprefix("-") in cluster.gates
        if on == word.startswith("-"):
            return f"feature gate {word} is not met"
    return ""


def _capability(notes: Mapping[str, str], cluster: Cluster) -> str:
    text = notes.get("capability.openshift.io/name")
    if text is None or cluster.capabilities is None:
        return ""
    missing = [word for word in text.split("+") if word not in cluster.capabilities]
    return f"capability {', '.join(missing)} is not enabled" if missing else ""


@dataclass(frozen=True)
class Update:
    """How an update from one release to another would run."""

    created: Sequence[Task]
    changed: Sequence[Task]
    deleted: Sequence[Task]
    same: int
    orphaned: Sequence[Object]  # in the old release only, and no one deletes them
    awaited: Sequence[Task]


def update(old: Graph, new: Graph) -> Update:
    """What applying a new release changes on a cluster that runs the old one."""
    before = {task.object.identity: task for task in old.tasks if not task.deletes}
    created, changed, deleted, same = [], [], [], 0
    for task in new.tasks:
        earlier = before.get(task.object.identity)
        if task.deletes:
            if earlier or task.object.identity not in {t.object.identity for t in old.tasks}:
                deleted.append(task)
        elif earlier is None:
            created.append(task)
        elif _create_only(task.object) or earlier.object.data == task.object.data:
            same += 1
        else:
            changed.append(task)
    now = {task.object.identity for task in new.tasks}
    orphaned = [task.object for key, task in before.items() if key not in now]
    return Update(created, changed, deleted, same, orphaned,
                  [task for task in new.tasks if task.awaited and not task.deletes])  # fmt: skip


def _create_only(one: Object) -> bool:
    return one.annotations.get(f"{_RELEASE}create-only") == "true"
