"""How far a stream's rollouts are."""

from __future__ import annotations

from typing import Any

from cosa.streams import moment
from cosa.streams.documents import Rollout, Updates
from cosa.streams.graph import ended, open_share


def rows(updates: Updates, now: int) -> list[dict[str, Any]]:
    """A mapping per marked release, in the document's order: its state, share and reasons."""
    found = []
    for version, marks in updates.marks().items():
        row: dict[str, Any] = {"version": version}
        if marks.rollout:
            row |= {"state": state(marks.rollout, now), "share": open_share(marks.rollout, now)}
            row |= {f"rollout-{key}": value for key, value in _times(marks.rollout).items()}
        for name in ("barrier", "deadend"):
            mark = getattr(marks, name)
            if mark:
                row[name] = mark.reason or "generic"
        found.append(row)
    return found


def state(rollout: Rollout, now: int) -> str:
    """waiting, running, finished, or still: at a share that does not grow."""
    if now < (rollout.start_epoch or 0):
        return "waiting"
    if ended(rollout, now):
        return "finished"
    return "still" if rollout.duration_minutes is None else "running"


def _times(rollout: Rollout) -> dict[str, str]:
    if rollout.duration_minutes is None:
        return {"start": moment.said(rollout.start_epoch)} if rollout.start_epoch else {}
    begin = rollout.start_epoch or 0
    end = begin + 60 * max(rollout.duration_minutes, 1)
    return {"start": moment.said(begin), "end": moment.said(end)}


def text(found: list[dict[str, Any]]) -> str:
    """The rows for people, one line each."""
    lines = []
    for row in found:
        said = []
        if "state" in row:
            said.append(f"{row['state']}, {100 * row['share']:.4g} %")
        if "rollout-end" in row:
            said.append(f"{row['rollout-start']} to {row['rollout-end']}")
        said += [f"{name} {row[name]}" for name in ("barrier", "deadend") if name in row]
        lines.append(f"{row['version']}  {', '.join(said)}")
    return "\n".join(lines) or "nothing is rolled out"
