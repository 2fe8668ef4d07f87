"""How tests went in earlier runs: one line a run, beside the folder of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core import clock, fs
from cosa.kola.outcome import Outcome

NAME = "kola-history.jsonl"
_KEPT = 100  # runs


@dataclass(frozen=True)
class Past:
    """A run: the build it tested, when (seconds since 1970), and each test's result and seconds."""

    build: str
    time: int
    results: dict[str, tuple[str, float]]


def add(output: Path, build: str, outcomes: Sequence[Outcome]) -> list[Past]:
    """Note a run; all runs, the oldest first. A line that cannot be read is left out."""
    path = output.parent / NAME
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    results = {o.name: (o.result, round(o.setup + o.seconds, 1)) for o in outcomes}
    now = {"build": build, "time": int(clock.wall()), "results": results}
    lines = [*lines, json.dumps(now)][-_KEPT:]
    fs.atomic_write(path, "\n".join(lines) + "\n")
    return [past for line in lines if (past := _read(line))]


def _read(line: str) -> Past | None:
    try:
        values = json.loads(line)
        results = {
            str(name): (str(result), float(seconds))
            for name, (result, seconds) in values["results"].items()
        }
        return Past(str(values["build"]), int(values["time"]), results)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
