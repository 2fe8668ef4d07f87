"""What a change of an updates JSON would do to the nodes, found out before it is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from cosa.core.errors import Problems
from cosa.streams import moment
from cosa.streams.documents import ReleaseIndex, Rollout, Updates, age_of
from cosa.streams.graph import Graph, Scope, build, open_share

_ROWS = 12  # of a curve


@dataclass(frozen=True)
class Move:
    """Neighbouring releases whose nodes go to one place; empty when they are offered nothing."""

    first: str
    last: str
    count: int
    before: str
    after: str

    def __str__(self) -> str:
        who = self.first if self.count == 1 else f"{self.first} to {self.last} ({self.count})"
        return f"{who} -> {self.after or 'nothing'}, before: {self.before or 'nothing'}"


@dataclass(frozen=True)
class Outcome:
    """One scope before and after, with every rollout open to all."""

    scope: Scope
    before: Graph
    after: Graph

    def moves(self) -> list[Move]:
        """Where nodes go, oldest first; a node takes the newest it is offered."""
        nodes, old, new = self.after.nodes, self.before.offers(), self.after.offers()

        def where(at: int) -> tuple[str, str]:
            ends = (found[at][-1] if at in found else -1 for found in (old, new))
            first, second = (nodes[end].version if end >= 0 else "" for end in ends)
            return first, second

        found = []
        for (first, second), run in groupby(range(len(nodes)), where):
            members = list(run)
            names = nodes[members[0]].version, nodes[members[-1]].version
            found.append(Move(*names, len(members), first, second))
        return found

    def stranded(self) -> list[str]:
        """Releases that could reach the newest one offered, and no longer can."""
        pairs = zip(_reaching(self.before), _reaching(self.after), strict=True)
        nodes = self.after.nodes
        return [nodes[at].version for at, (old, new) in enumerate(pairs) if old and not new]

    def lowering(self) -> list[tuple[str, str]]:
        """Updates that are new and go to an older major version or older packages."""
        known = set(self.before.edges)
        found = []
        for start, target in self.after.edges:
            one, other = (self.after.nodes[at].version for at in (start, target))
            ages = age_of(one), age_of(other)
            if (start, target) in known or ages[0] is None or ages[1] is None:
                continue
            if ages[1][0] < ages[0][0] or ages[1][1] < ages[0][1]:
                found.append((one, other))
        return found


def _reaching(graph: Graph) -> list[bool]:
    """For each position, whether a node there comes to the newest release that is offered."""
    offers = graph.offers()
    marked = [n for n, one in enumerate(graph.nodes) if one.marks.rollout or one.marks.barrier]
    tip = marked[-1] if marked else -1
    found = [False] * len(graph.nodes)
    for at in reversed(range(len(graph.nodes))):
        stays = graph.nodes[at].marks.deadend is not None
        found[at] = not stays and (at >= tip or any(found[to] for to in offers.get(at, ())))
    return found


def outcomes(index: ReleaseIndex, before: Updates, after: Updates) -> list[Outcome]:
    """A change seen from every architecture and scheme the stream has."""
    scopes = [Scope(*scope) for scope in index.scopes()]
    return [Outcome(one, build(index, before, one), build(index, after, one)) for one in scopes]


def refuse(found: list[Outcome], *, dead_end: str = "", allow_downgrade: bool = False) -> None:
    """Raise `rollout/strands` or `rollout/downgrade` when nodes would come to harm.

    `dead_end` is a release that is meant to be one.
    """
    problems = Problems()
    for one in found:
        lost = [version for version in one.stranded() if version != dead_end]
        if lost:
            what = f"{one.scope}: no way on any more from {_few(lost)}"
            problems.add("rollout/strands", what)
        steps = one.lowering()
        if steps and not allow_downgrade:
            shown = _few([f"{start} -> {target}" for start, target in steps])
            problems.add(
                "rollout/downgrade", f"{one.scope}: nodes would go back: {shown}",
                fix="make those releases dead ends first, or say --allow-downgrade",
            )  # fmt: skip
    problems.raise_if_any("the change would hurt nodes")


def _few(words: list[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more


def report(found: list[Outcome], version: str, *, dead_end: bool = False) -> Iterator[str]:
    """Which nodes go where after the change; those that go where they went are counted."""
    for one in found:
        yield f"{one.scope}:"
        moves = one.moves()
        same = sum(move.count for move in moves if move.before == move.after)
        yield from (f"  {move}" for move in moves if move.before != move.after)
        yield f"  {same} of {len(one.after.nodes)} releases: as before"
        if all(node.version != version for node in one.after.nodes):
            yield f"  {version} has nothing for them"
    yield f"nobody is newly stranded{f', but those on {version}' if dead_end else ''}"


def curve(rollout: Rollout, now: int) -> Iterator[str]:
    """How a rollout opens from now on: per cent per hour, and a table over time."""
    begin, minutes = rollout.start_epoch or 0, rollout.duration_minutes
    share = rollout.start_percentage or 0.0
    if minutes is None:
        yield f"open to {100 * open_share(rollout, now):.4g} % of the nodes, and stays so"
        return
    minutes = max(minutes, 1)
    speed = 100 * (1 - share) / (minutes / 60)
    ends = moment.said(begin + 60 * minutes)
    yield f"from {moment.said(begin)} to {ends}, {speed:.4g} % per hour"
    step = 60 * max(60, -(-minutes // (60 * _ROWS)) * 60)
    for passed in [*range(0, 60 * minutes, step), 60 * minutes]:
        yield f"  {moment.said(begin + passed)}  {100 * open_share(rollout, begin + passed):5.1f} %"
