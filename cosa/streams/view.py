"""An update graph for people: text, or a picture."""

from __future__ import annotations

from html import escape
from itertools import groupby

from cosa.streams import moment
from cosa.streams.documents import Rollout
from cosa.streams.graph import Graph, Node, open_share

_ROW, _LEFT, _ARC = 22, 30, 16  # pixels


def share_text(rollout: Rollout, now: int) -> str:
    """`rollout 12.5 %`, and until when."""
    start, minutes = rollout.start_epoch or 0, rollout.duration_minutes
    share = f"rollout {100 * open_share(rollout, now):.4g} %"
    if now < start:
        return f"{share}, starts {moment.said(start)}"
    if minutes is not None and now <= start + 60 * max(minutes, 1):
        return f"{share}, ends {moment.said(start + 60 * max(minutes, 1))}"
    return share


def _marks(node: Node, now: int) -> str:
    said = []
    if node.marks.barrier:
        said.append(f"barrier ({node.marks.barrier.reason or 'generic'})")
    if node.marks.deadend:
        said.append(f"dead end ({node.marks.deadend.reason or 'generic'})")
    if node.marks.rollout:
        said.append(share_text(node.marks.rollout, now))
    return ", ".join(said)


def text(graph: Graph, now: int) -> str:
    """Runs of releases that are offered the same, oldest first, and what marks each."""
    offers = graph.offers()
    lines = []
    for node in graph.nodes:
        marks = _marks(node, now)
        if marks:
            lines.append(f"{node.version}  {marks}")
    lines.append("")
    for targets, run in groupby(range(len(graph.nodes)), lambda at: tuple(offers.get(at, ()))):
        members = list(run)
        names = [graph.nodes[at].version for at in (members[0], members[-1])]
        who = names[0] if len(members) == 1 else f"{names[0]} to {names[1]} ({len(members)})"
        # Zincati takes the newest it is offered.
        where = ", ".join(graph.nodes[at].version for at in reversed(targets)) or "nothing"
        lines.append(f"{who} -> {where}")
    lines.append(f"{len(graph.nodes)} releases, {len(graph.edges)} updates")
    return "\n".join(lines).lstrip("\n") + "\n"


def svg(graph: Graph, now: int, title: str) -> str:
    """Releases in a column, newest on top; a bracket for each target and those who may go there."""
    count = len(graph.nodes)
    line = {at: 50 + (count - 1 - at) * _ROW for at in range(count)}
    starts: dict[int, list[int]] = {}
    for start, target in graph.edges:
        starts.setdefault(target, []).append(start)
    left = _LEFT + _ARC * len(starts)
    drawn = [
        _bracket(
            _LEFT + _ARC * column, left, line[target], [line[start] for start in starts[target]]
        )
        for column, target in enumerate(sorted(starts))
    ]
    for at, node in enumerate(graph.nodes):
        kind = "dead" if node.marks.deadend else "barrier" if node.marks.barrier else "plain"
        kind = "rollout" if node.marks.rollout and not node.marks.deadend else kind
        label = escape(f"{node.version}  {_marks(node, now)}".rstrip())
        drawn.append(f'<circle cx="{left + 8}" cy="{line[at]}" r="5" class="{kind}"/>')
        drawn.append(f'<text x="{left + 20}" y="{line[at] + 4}">{label}</text>')
    style = (
        "text{font:12px sans-serif;fill:#222}.head{font-weight:bold}"
        "path{fill:none;stroke:#5b7db1}circle{stroke:#333;fill:#fff}"
        ".barrier{fill:#e0a030}.dead{fill:#c03030}.rollout{fill:#40a050}"
    )
    size = f'width="{left + 900}" height="{70 + count * _ROW}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        f'<style>{style}</style><text x="10" y="20" class="head">{escape(title)}</text>'
        + "".join(drawn) + "</svg>\n"
    )  # fmt: skip


def _bracket(x: int, right: int, target: int, starts: list[int]) -> str:
    ticks = "".join(f"M{x} {y}H{right + 2}" for y in starts)
    head = f"M{right - 3} {target - 4}l5 4l-5 4"
    return f'<path d="M{x} {target}H{right + 2}M{x} {target}V{max(starts)}{ticks}{head}"/>'
