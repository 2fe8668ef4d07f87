"""Changes of an updates JSON that people ask for, and the refusals of those that hurt.

A draft is the document's plain value: keys cosa does not know stay where they are.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cosa.core import clock
from cosa.core.errors import CosaError
from cosa.model.document import Document
from cosa.streams import moment
from cosa.streams.documents import ReleaseIndex, Rollout, Updates
from cosa.streams.graph import ended

DAY = 24 * 60  # minutes
FINISHED = {"start_percentage": 1.0}
# The third number of a version says for which stream it was built.
_STREAMS = {
    "next": "1", "testing": "2", "stable": "3", "next-devel": "10", "testing-devel": "20",
    "rawhide": "91", "branched": "92",
}  # fmt: skip


def refused(code: str, what: str, *, why: str = "", fix: str = "") -> CosaError:
    """A change that is not made."""
    return CosaError(f"rollout/{code}", what, why=why, fix=fix)


@dataclass(frozen=True)
class Draft:
    """An updates JSON being changed, with the index it belongs to and the time it is done."""

    index: ReleaseIndex
    before: Updates
    value: dict[str, Any] = field(repr=False)
    now: int

    @cached_property
    def places(self) -> dict[str, int]:
        """Where versions stand in the index."""
        return self.index.positions()

    @classmethod
    def of(cls, index: ReleaseIndex, before: Updates, doc: Document, now: int) -> Draft:
        """A draft of a document. Raises `rollout/repeated`: then it is unclear what to edit."""
        times = Counter(one.version for one in before.releases)
        twice = sorted(version for version, count in times.items() if count > 1)
        if twice:
            raise refused("repeated", f"{doc.path} has several entries for {', '.join(twice)}",
                          fix="make them one each; they add up, key by key")  # fmt: skip
        assert isinstance(doc.value, dict)
        return cls(index, before, copy.deepcopy(doc.value), now)

    def said(self, version: str) -> dict[str, Any]:
        """What is said of a release, to be changed in place; nothing when it has no entry."""
        found: list[dict[str, Any]] = [
            entry["metadata"] for entry in self.value["releases"] if entry["version"] == version
        ]
        return found[0] if found else {}

    def marks(self, version: str) -> dict[str, Any]:
        """As `said`, with an entry made when there is none. Raises `rollout/unknown-version`."""
        place = self.places.get(version, -1)
        if place < 0:
            raise refused("unknown-version", f"the index of releases has no {version}",
                          fix="a release is published before it is rolled out")  # fmt: skip
        entries: list[dict[str, Any]] = self.value["releases"]
        if any(entry["version"] == version for entry in entries):
            return self.said(version)
        made: dict[str, Any] = {}
        older = [n for n, one in enumerate(entries) if self.places.get(one["version"], -1) < place]
        entries.insert(older[-1] + 1 if older else 0, {"version": version, "metadata": made})
        return made

    def finished(self) -> Updates:
        """The changed document, dated, without entries that say nothing."""
        self.value["releases"] = [one for one in self.value["releases"] if one["metadata"]]
        dated = self.value.get("metadata")
        self.value["metadata"] = {
            **(dated if isinstance(dated, dict) else {}), "last-modified": clock.iso(self.now),
        }  # fmt: skip
        return Updates.model_validate(self.value)


@dataclass(frozen=True)
class Plan:
    """How a rollout is to go: seconds since 1970, minutes, and the share it opens with."""

    start: int
    minutes: int
    share: float = 0.0
    replace: bool = False
    short: bool = False


def start(draft: Draft, version: str, plan: Plan) -> None:
    """Begin a rollout; first those that have ended are tidied away. Raises `rollout/...`."""
    marks = draft.marks(version)
    _check_stream(draft, version)
    _check_plan(plan, draft.now)
    if marks.get("deadend") is not None:
        raise refused("trap", f"{version} is a dead end: nodes would be sent there and stay")
    if marks.get("rollout") is not None and not plan.replace:
        raise refused("exists", f"{version} has a rollout already",
                      fix="--replace starts it anew")  # fmt: skip
    done = [place for place, _ in _ended(draft) if place > draft.places[version]]
    if done:
        newest = draft.index.releases[done[-1]].version
        raise refused("not-newest", f"{newest} is newer and open to all: nobody would go to"
                      f" {version}")  # fmt: skip
    _tidy(draft)
    marks["rollout"] = {
        "duration_minutes": plan.minutes,
        "start_epoch": plan.start,
        "start_percentage": float(plan.share),
    }


def resumed(rollout: Rollout, share: float, begin: int, hours: int) -> Plan:
    """A plan that goes on from a share; without hours, as fast as the rollout went before."""
    if hours:
        return Plan(begin, 60 * hours, share)
    opened = rollout.start_percentage or 0.0
    whole = rollout.duration_minutes or 2 * DAY
    left = whole * (1 - share) / (1 - opened) if opened < 1 else whole
    return Plan(begin, max(round(left), 1), share, short=True)


def _check_stream(draft: Draft, version: str) -> None:
    stream = draft.before.stream or draft.index.stream
    parts = version.split(".")
    wanted = _STREAMS.get(stream, "")
    if wanted and len(parts) >= 4 and parts[2] != wanted:
        raise refused("other-stream", f"{version} was not built for {stream}",
                      why=f"the third number of its versions is {wanted}")  # fmt: skip


def _check_plan(plan: Plan, now: int) -> None:
    if plan.start < now:
        raise refused(
            "past", f"the start, {moment.said(plan.start)}, is past: it is {moment.said(now)}",
            why="a part of the nodes, or all, would update at once",
        )  # fmt: skip
    if plan.minutes <= 0 or not 0 <= plan.share <= 1:
        raise refused("window", "a rollout takes some time, and opens with a share from 0 to 1")
    if plan.minutes < DAY and not plan.short:
        raise refused("window", f"{plan.minutes / 60:g} h are too short to notice what is wrong",
                      fix="take 24 hours (urgent), 48 or 72, or say --short")  # fmt: skip


def _ended(draft: Draft) -> list[tuple[int, dict[str, Any]]]:
    """Rollouts that are open to all: position in the index, and marks; oldest first."""
    found = []
    for entry in draft.value["releases"]:
        rollout = entry["metadata"].get("rollout")
        place = draft.places.get(entry["version"], -1)
        if place >= 0 and rollout is not None and ended(Rollout.model_validate(rollout), draft.now):
            found.append((place, entry["metadata"]))
    return sorted(found, key=lambda one: one[0])


def _tidy(draft: Draft) -> None:
    done = _ended(draft)
    for _, marks in done[:-1]:
        del marks["rollout"]  # the newest is where everybody goes
    for _, marks in done[-1:]:
        marks["rollout"] = dict(FINISHED)


def halt(draft: Draft, version: str, *, with_barrier: bool = False) -> None:
    """Take a rollout back: nobody is offered the release any more. Raises `rollout/...`."""
    marks = draft.said(version)
    if marks.get("rollout") is None:
        raise refused("no-rollout", f"{version} is not being rolled out")
    if marks.get("barrier") is not None:
        if not with_barrier:
            raise refused(
                "barrier-opens", f"{version} is a barrier, too",
                why="without its rollout a barrier is open to all at once",
                fix="--with-barrier takes both back",
            )  # fmt: skip
        del marks["barrier"]
    del marks["rollout"]


def finish(draft: Draft, version: str, *, early: bool = False) -> None:
    """Open a rollout to all, for good. Raises `rollout/...`."""
    marks = draft.said(version)
    if marks.get("rollout") is None:
        raise refused("no-rollout", f"{version} is not being rolled out")
    if not ended(Rollout.model_validate(marks["rollout"]), draft.now) and not early:
        raise refused("not-ended", f"the rollout of {version} has not ended",
                      fix="--early opens it to all that are left at once")  # fmt: skip
    marks["rollout"] = dict(FINISHED)


def barrier(draft: Draft, version: str, reason: str) -> None:
    """Make older releases pass through this one. Raises `rollout/...`."""
    marks = draft.marks(version)
    if marks.get("deadend") is not None:
        raise refused("trap", f"{version} is a dead end: a barrier would send nodes there")
    if marks.get("barrier") is not None:
        raise refused("exists", f"{version} is a barrier already")
    offered = [
        draft.places.get(one.version, -1)
        for one in draft.before.releases
        if one.metadata.rollout or one.metadata.barrier
    ]
    if draft.places[version] > max(offered, default=-1):
        raise refused(
            "at-once", f"{version} is newer than all that is offered",
            why="a barrier without rollout is open to all at once",
            fix="start its rollout first",
        )  # fmt: skip
    marks["barrier"] = {"reason": reason}


def dead_end(draft: Draft, version: str, reason: str) -> None:
    """Offer nodes on a release no further update. Raises `rollout/...`."""
    marks = draft.marks(version)
    for name in ("barrier", "rollout"):
        if marks.get(name) is not None:
            raise refused("trap", f"{version} has a {name}: nodes would be sent there and stay",
                          fix=f"take the {name} back first")  # fmt: skip
    if marks.get("deadend") is not None:
        raise refused("exists", f"{version} is a dead end already")
    marks["deadend"] = {"reason": reason}
