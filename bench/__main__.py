"""Compare cosa with its peers on this machine, in this hour, and print what came of it.

disk: beside mkosi (the default); payload: beside skopeo.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from bench import payload
from bench.measure import Cost
from bench.ours import ROOT, Ours
from bench.peer import Peer
from cosa.core.errors import CosaError
from cosa.model.treefile import load_treefile

COLD_BUDGET, NOOP_BUDGET = 0.45, 0.10
DISK_BUDGET_SECONDS = 10.0
MEMORY_BUDGET = 1 << 30
# The steps that turn a commit into a bootable disk, by the names the build gives them.
DISK_STEPS = ("disk", "image qemu")


def main() -> int:
    """Measure, print, and return 0; a budget missed is shown, not an error."""
    options = _options()
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    measured, shown = (compare, table)
    if options.what == "payload":
        measured, shown = payload.run, payload.table
    try:
        figures = measured(folder, options.runs)
    except CosaError as err:
        print(f"bench: {err}\n{err.why}\n{err.fix}", file=sys.stderr)
        return err.exit_class
    print(shown(figures))
    text = json.dumps(figures, indent=2)
    if options.json == "-":
        print(text)
    else:
        Path(options.json).write_text(text + "\n")
        print(f"\nJSON: {options.json}")
    return 0


def compare(folder: Path, runs: int) -> dict[str, Any]:
    """Both sides in turn, `runs` times; medians."""
    tree = load_treefile(ROOT / "manifests/standin/manifest.yaml", "x86_64")
    say("preparing: packages to disk, for both (not counted)")
    ours = Ours.prepare(folder / "cosa")
    peer = Peer.prepare(folder / "mkosi", tree.packages)
    costs: dict[str, list[Cost]] = {key: [] for key in ("cold", "noop", "peer_cold", "peer_noop")}
    steps: list[dict[str, float]] = []
    for number in range(1, runs + 1):
        say(f"run {number} of {runs}: cosa, cold")
        costs["cold"].append(ours.cold())
        steps.append(ours.steps())
        say(f"run {number} of {runs}: cosa, nothing changed")
        costs["noop"].append(ours.nothing_changed())
        say(f"run {number} of {runs}: mkosi, cold")
        costs["peer_cold"].append(peer.cold())
        say(f"run {number} of {runs}: mkosi, incremental")
        costs["peer_noop"].append(peer.incremental())
    figures: dict[str, Any] = {name: _median(values) for name, values in costs.items()}
    figures["cold_ratio"] = figures["cold"]["wall"] / figures["peer_cold"]["wall"]
    figures["noop_ratio"] = figures["noop"]["wall"] / figures["peer_noop"]["wall"]
    figures["steps"] = {
        name: statistics.median(run[name] for run in steps if name in run) for name in steps[0]
    }
    figures["disk_seconds"] = sum(figures["steps"].get(name, 0.0) for name in DISK_STEPS)
    figures["sizes"] = ours.sizes() | {"mkosi raw": peer.size()}
    figures["processors"] = len(os.sched_getaffinity(0))
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [("", "wall s", "cpu s", "peak MiB")]
    names = {
        "cold": "cosa, cold compose + disk", "peer_cold": "mkosi, cold",
        "noop": "cosa, nothing changed", "peer_noop": "mkosi, incremental",
    }  # fmt: skip
    for key, name in names.items():
        cost = figures[key]
        peak = f"{cost['peak'] / 2**20:.0f}"
        rows.append((name, f"{cost['wall']:.1f}", f"{cost['cpu']:.1f}", peak))
    lines = [f"{a:<28}{b:>9}{c:>9}{d:>10}" for a, b, c, d in rows]
    peak = max(figures["cold"]["peak"], figures["noop"]["peak"])
    lines += [
        "",
        _verdict("cold, ratio to the peer", figures["cold_ratio"], COLD_BUDGET),
        _verdict("nothing changed, ratio to the peer", figures["noop_ratio"], NOOP_BUDGET),
        _verdict("commit to raw and qcow2, seconds", figures["disk_seconds"], DISK_BUDGET_SECONDS),
        _verdict("peak memory, GiB", peak / 2**30, MEMORY_BUDGET / 2**30),
        "",
        "sizes on disk, MiB: "
        + ", ".join(f"{name} {size / 2**20:.0f}" for name, size in figures["sizes"].items()),
        "steps of the cold build, s: "
        + ", ".join(
            f"{name} {seconds:.1f}"
            for name, seconds in sorted(figures["steps"].items(), key=lambda item: -item[1])[:14]
        ),
    ]
    return "\n".join(lines)


def say(text: str) -> None:
    """Tell what is being measured."""
    print(text, file=sys.stderr, flush=True)


def _median(costs: list[Cost]) -> dict[str, float]:
    return {
        "wall": statistics.median(cost.wall for cost in costs),
        "cpu": statistics.median(cost.cpu for cost in costs),
        "peak": max(cost.peak for cost in costs),
    }


def _verdict(name: str, value: float, budget: float) -> str:
    mark = "within" if value <= budget else "OVER"
    return f"{name:<37}{value:>8.2f}   budget {budget:.2f}  {mark}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    default = Path(os.environ.get("COSA_CACHE") or Path.home() / ".cache/cosa") / "bench"
    parser.add_argument("what", nargs="?", choices=("disk", "payload"), default="disk")
    parser.add_argument("--runs", type=int, default=1, help="times each is measured; default 1")
    parser.add_argument("--folder", default=str(default), help="where the work is done")
    parser.add_argument(
        "--json", default=str(default / "figures.json"), help="file for the figures, - prints them"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
