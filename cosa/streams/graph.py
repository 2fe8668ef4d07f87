"""The update graph of the Cincinnati v1 protocol, as Fedora CoreOS's servers make it.

Positions count the releases that have a payload in the scope; `age_index` counts all
releases of the stream. The two differ wherever an architecture came later.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from cosa.core.errors import CosaError
from cosa.streams.documents import Marks, ReleaseIndex, Rollout, Updates

MAX_EDGES = 1_000_000
PREFIX = "org.fedoraproject.coreos."


@dataclass(frozen=True)
class Scope:
    """Which nodes a graph is for."""

    basearch: str
    oci: bool = False

    def __str__(self) -> str:
        return f"{self.basearch}, {'oci' if self.oci else 'checksum'}"


@dataclass(frozen=True)
class Node:
    """A release in a graph; `payload` is a commit, or REPOSITORY@DIGEST."""

    version: str
    payload: str
    age_index: int
    marks: Marks
    oci: bool = False

    def metadata(self) -> dict[str, str]:
        """What the protocol says of it, all of it as text."""
        said = {"scheme": "oci" if self.oci else "checksum"}
        said["releases.age_index"] = str(self.age_index)
        for name in ("barrier", "deadend"):
            mark = getattr(self.marks, name)
            if mark:
                said[f"updates.{name}"] = "true"
                said[f"updates.{name}_reason"] = mark.reason or "generic"
        rollout = self.marks.rollout
        if rollout:
            said["updates.rollout"] = "true"
            if rollout.start_epoch is not None:
                said["updates.start_epoch"] = str(rollout.start_epoch)
            if rollout.start_percentage is not None:
                said["updates.start_value"] = shortest(rollout.start_percentage)
            if rollout.duration_minutes is not None:
                said["updates.duration_minutes"] = str(rollout.duration_minutes)
        return {PREFIX + key: said[key] for key in sorted(said)}


@dataclass(frozen=True)
class Graph:
    """Nodes, oldest first, and the updates between them as (from, to) positions."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """The protocol's form."""
        return {
            "nodes": [
                {"version": one.version, "metadata": one.metadata(), "payload": one.payload}
                for one in self.nodes
            ],
            "edges": [list(edge) for edge in self.edges],
        }

    def offers(self) -> dict[int, list[int]]:
        """Position -> the positions a node there may go to, ascending."""
        found: dict[int, list[int]] = {}
        for start, target in self.edges:
            found.setdefault(start, []).append(target)
        return {start: sorted(targets) for start, targets in found.items()}


def build(index: ReleaseIndex, updates: Updates, scope: Scope) -> Graph:
    """The graph before throttling: what the graph builder serves. Raises `streams/too-big`."""
    marks = updates.marks()
    nodes = tuple(
        Node(one.version, payload, age, marks.get(one.version, Marks()), oci=scope.oci)
        for age, one in enumerate(index.releases)
        if (payload := one.payload(scope.basearch, oci=scope.oci))
    )
    edges = [edge for edge in _edges(nodes) if not nodes[edge[0]].marks.deadend]
    return Graph(nodes, tuple(edges))


def _edges(nodes: tuple[Node, ...]) -> list[tuple[int, int]]:
    """The updates, in the reference's order: to rollouts from the newest down, then to barriers."""
    barriers = [at for at, node in enumerate(nodes) if node.marks.barrier]
    rollouts = [at for at, node in enumerate(nodes) if node.marks.rollout]
    edges: list[tuple[int, int]] = []
    for target in reversed(rollouts):
        before = bisect_left(barriers, target)
        first = barriers[before - 1] if before else 0
        edges += [(start, target) for start in range(first, target)]
        if len(edges) > MAX_EDGES:
            what = f"the graph would have more than {MAX_EDGES:,} updates"
            raise CosaError("streams/too-big", what, fix="note which rollouts have ended")
    first = 0
    for target in barriers:
        if not nodes[target].marks.rollout:
            edges += [(start, target) for start in range(first, target)]
        first = target
    return edges


def open_share(rollout: Rollout, now: int) -> float:
    """The share of nodes a rollout is open to at a time (seconds since 1970).

    Nodes whose wariness is at most that share are offered the release. It is not
    held within 0 and 1: what the document says is taken as it is.
    """
    start, value = rollout.start_epoch or 0, rollout.start_percentage or 0.0
    if now < start:
        return 0.0
    if rollout.duration_minutes is None:
        return value
    span = 60 * max(rollout.duration_minutes, 1)
    if now > start + span:
        return 1.0
    return value + (1.0 - value) / span * (now - start)


def ended(rollout: Rollout, now: int) -> bool:
    """Whether the release is open to all, and stays so."""
    return open_share(rollout, now) >= 1.0


def throttle(graph: Graph, wariness: float, now: int) -> Graph:
    """The graph as a node of that wariness gets it: without rollouts it has to wait for."""
    hidden = {
        at
        for at, node in enumerate(graph.nodes)
        if node.marks.rollout and wariness > open_share(node.marks.rollout, now)
    }
    return replace(graph, edges=tuple(edge for edge in graph.edges if edge[1] not in hidden))


def shortest(value: float) -> str:
    """The fewest digits that mean the same number, without exponent, as Rust writes them."""
    text = f"{Decimal(repr(value)):f}"
    return text.removesuffix(".0")
