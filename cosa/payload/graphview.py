"""The operator's task graph on paper: text, JSON, or a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from cosa.payload.taskgraph import WORKERS, Graph, Stage, Task, Update

_ROW, _BOX, _GAP = 18, 190, 14  # pixels


def graph(found: Graph, form: str, *, excluded: bool = False) -> str:
    """A graph as `text`, `json` or `svg`."""
    if form == "json":
        return json.dumps(_json(found), indent=2) + "\n"
    return _svg(found) if form == "svg" else _text(found, excluded=excluded)


def update(found: Update, form: str) -> str:
    """What an update changes, as `text` or `json`."""
    groups: list[tuple[str, Sequence[Task]]] = [
        ("created", found.created), ("changed", found.changed), ("deleted", found.deleted),
        ("waited for", found.awaited),
    ]  # fmt: skip
    if form == "json":
        data: dict[str, Any] = {name.replace(" ", "-"): _names(tasks) for name, tasks in groups}
        data["orphaned"] = [str(one) for one in found.orphaned]
        data["same"] = found.same
        return json.dumps(data, indent=2) + "\n"
    lines = []
    for name, tasks in groups:
        lines += [f"{name}: {len(tasks)}", *(f"  {one}" for one in _names(tasks))]
    lines.append(f"the same: {found.same}")
    if found.orphaned:
        lines += ["left behind, because no manifest deletes them:"]
        lines += [f"  {one}" for one in found.orphaned]
    return "\n".join(lines) + "\n"


def _names(tasks: Iterable[Task]) -> list[str]:
    return [f"{task.object}  ({task.object.file})" for task in tasks]


def _json(found: Graph) -> dict[str, Any]:
    return {
        "stages": [
            {
                "level": None if stage.level < 0 else stage.level,
                "chains": [
                    {
                        "component": chain[0].component,
                        "tasks": [
                            {
                                "file": task.object.file,
                                "object": str(task.object),
                                "barrier": task.barrier,
                                "awaited": task.awaited,
                                "deletes": task.deletes,
                            }
                            for task in chain
                        ],
                    }
                    for chain in stage.chains
                ],
            }
            for stage in found.stages
        ],
        "excluded": [{"file": each.object.file, "object": str(each.object), "why": each.why}
                     for each in found.excluded],
    }  # fmt: skip


def _text(found: Graph, *, excluded: bool) -> str:
    lines = []
    for stage in found.stages:
        side = f", {len(stage.chains)} side by side" if len(stage.chains) > 1 else ""
        lines.append(f"{_level(stage)}{side}")
        for chain in stage.chains:
            lines.append(f"  {chain[0].component or '(no component)'}: {len(chain)}")
            lines += [f"    {task.object}{_mark(task)}" for task in chain]
    tasks = len(found.tasks)
    lines.append(f"{tasks} objects in {len(found.stages)} stages, {len(found.excluded)} left out")
    if excluded:
        lines += [f"  {each.object} ({each.object.file}): {each.why}" for each in found.excluded]
    return "\n".join(lines) + "\n"


def _level(stage: Stage) -> str:
    return "in order of names" if stage.level < 0 else f"level {stage.level:02}"


def _mark(task: Task) -> str:
    if task.deletes:
        return "  deleted"
    if task.barrier:
        return "  barrier: waited for before anything else"
    return "  waited for" if task.awaited else ""


def _svg(found: Graph) -> str:
    """Stages from top to bottom, chains beside each other, a box per chain."""
    boxes, top, width = [], 40, 400
    for stage in found.stages:
        boxes.append(f'<text x="10" y="{top + 12}" class="level">{escape(_level(stage))}</text>')
        height = 0
        for column, chain in enumerate(stage.chains):
            left = 120 + column * (_BOX + _GAP)
            tall = _ROW * (min(len(chain), 8) + 1) + 8
            boxes.append(_box(chain, left, top, tall))
            height, width = max(height, tall), max(width, left + _BOX + 20)
        top += height + _GAP
    style = (
        "text{font:11px sans-serif;fill:#222}.level{font-weight:bold}"
        "rect{fill:#eef3fb;stroke:#5b7db1}.title{font-weight:bold}.wait{fill:#a04000}"
    )
    head = f"{len(found.tasks)} objects; chains of a level run side by side, at most {WORKERS}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}">'
        f'<style>{style}</style><text x="10" y="20">{escape(head)}</text>'
        + "".join(boxes) + "</svg>\n"
    )  # fmt: skip


def _box(chain: Sequence[Task], left: int, top: int, tall: int) -> str:
    shown = [f'<rect x="{left}" y="{top}" width="{_BOX}" height="{tall}" rx="4"/>']
    title = f"{chain[0].component or chain[0].object.file} ({len(chain)})"
    shown.append(f'<text x="{left + 6}" y="{top + 14}" class="title">{escape(title[:30])}</text>')
    for row, task in enumerate(chain[:8], 1):
        name = f"{task.object.kind} {task.object.name}"
        kind = ' class="wait"' if task.awaited or task.barrier else ""
        text = escape(name if len(name) < 32 else f"{name[:31]}…")
        if row == 8 and len(chain) > 8:
            text = f"and {len(chain) - 7} more"
        shown.append(f'<text x="{left + 6}" y="{top + 14 + row * _ROW}"{kind}>{text}</text>')
    return "".join(shown)
