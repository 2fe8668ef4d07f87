"""`graph show`: the update graph of a stream, as a node gets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cosa.cli.command import Context, command
from cosa.cli.parse import usage_error


def needed(command_name: str, **options: str) -> None:
    """Refuse when an option that has no default was not given. Raises `usage/missing-argument`."""
    missing = [f"--{name.replace('_', '-')}" for name, value in options.items() if not value]
    if missing:
        raise usage_error(
            "missing-argument", f"'cosa {command_name}' needs {' and '.join(missing)}",
            fix=f"see `cosa {command_name} --help`",
        )  # fmt: skip


@command(
    group="Streams",
    positional=[],
    short={"output": "o"},
    metavar={
        "releases": "FILE", "updates": "FILE", "stream": "NAME", "basearch": "ARCH",
        "rollout_wariness": "W", "node_uuid": "U", "at": "TIME", "output": "FORM",
    },
    help={
        "releases": "the stream's releases.json",
        "updates": "the stream's updates JSON",
        "stream": "its name; documents of another one are refused",
        "basearch": "the architecture, as RPM names it",
        "oci": "for nodes that update from container images",
        "rollout-wariness": "as a node of this wariness gets it, 0 to 1",
        "node-uuid": "as the node with this id gets it",
        "at": "the time, as 2026-11-24T14:00Z or seconds since 1970; default now",
        "output": "json, text or svg",
    },
)  # fmt: skip
def graph_show(
    _c: Context,
    *,
    releases: str = "",
    updates: str = "",
    stream: str = "",
    basearch: str = "",
    oci: bool = False,
    rollout_wariness: str | None = None,
    node_uuid: str | None = None,
    at: str = "",
    output: str = "json",
) -> None:
    """Print the update graph of a stream: all of it, or what a node is offered."""
    from cosa.core import clock, events
    from cosa.streams import documents, graph, moment, view, wariness

    needed("graph show", releases=releases, updates=updates, stream=stream, basearch=basearch)
    if output not in ("json", "text", "svg"):
        raise usage_error("option-value", f"-o knows no {output!r}", fix="choose json, text or svg")
    now = moment.parse(at, "--at") if at else clock.now()
    index, said, doc = documents.read(Path(releases), Path(updates), stream)
    for doubt in documents.doubts(index, said, doc):
        events.warn(f"{doubt.where}: {doubt.what}" if doubt.where else doubt.what)
    scope = graph.Scope(basearch, oci)
    if (basearch, oci) not in index.scopes():
        events.warn(f"no release of {stream} has a payload for {scope}")
    found, seen_by = graph.build(index, said, scope), "all updates"
    if rollout_wariness is not None and wariness.number(rollout_wariness) is None:
        events.warn(f"--rollout-wariness {rollout_wariness!r} is no number: the node's id decides")
    if rollout_wariness is not None or node_uuid is not None:
        wary = wariness.of(rollout_wariness, node_uuid)
        found, seen_by = graph.throttle(found, wary, now), f"offered at wariness {wary:g}"
    if output == "json":
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    elif output == "text":
        sys.stdout.write(view.text(found, now))
    else:
        title = f"{stream}, {scope}: {seen_by}, {moment.said(now)}"
        sys.stdout.write(view.svg(found, now, title))
