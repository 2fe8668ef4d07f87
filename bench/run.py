"""cosa beside mkosi, in one run: `bin/bench [--output FILE] [--no-peer] [--no-guests]`.

Both make a bootable disk of the same Debian packages, which are local before
time runs. Prints a table and JSON; ends with 1 when a budget is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import peer
from measure import Sample, measure

from cosa.core import fs
from cosa.core.parallel import jobs

CHECKOUT = Path(__file__).resolve().parents[1]
MIB = 1 << 20


@dataclass
class Report:
    """What was measured: name -> value with its unit and budget (None where there is none)."""

    rows: list[tuple[str, float, str, float | None]] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, budget: float | None = None) -> None:
        self.rows.append((name, round(value, 3), unit, budget))
        print(f"  {name}: {value:,.2f} {unit}", file=sys.stderr, flush=True)

    def table(self) -> str:
        lines = [f"{'what':<44} {'measured':>10} {'':<5} {'budget':>8}"]
        for name, value, unit, budget in self.rows:
            limit, mark = "", ""
            if budget is not None:
                limit, mark = f"{budget:,.2f}", "" if value <= budget else "  EXCEEDED"
            lines.append(f"{name:<44} {value:>10,.2f} {unit:<5} {limit:>8}{mark}")
        return "\n".join(lines)

    def as_json(self) -> str:
        rows = [
            {"name": n, "value": v, "unit": u, "budget": b, "good": b is None or v <= b}
            for n, v, u, b in self.rows
        ]
        return json.dumps({"processors": jobs(), "results": rows}, indent=2)

    def good(self) -> bool:
        return all(budget is None or value <= budget for _, value, _, budget in self.rows)


class Cosa:
    """Our side: the command line on a working directory of its own."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.workdir, self.logs = root / "cosa", root / "log"
        self.env = {"COSA_CACHE": os.fspath(cache), "PYTHONPATH": os.fspath(CHECKOUT)}
        if prefix := os.environ.get("PYTHONPYCACHEPREFIX"):
            self.env["PYTHONPYCACHEPREFIX"] = prefix

    def run(self, name: str, *words: str) -> Sample:
        argv = [sys.executable, "-m", "cosa.cli.main", "--workdir", os.fspath(self.workdir),
                "--log-format", "json", *words]  # fmt: skip
        return checked(measure(argv, self.logs / f"cosa-{name}", cwd=CHECKOUT, env=self.env))

    def fresh(self) -> None:
        """A working directory with nothing in it but the definition."""
        fs.remove_tree(self.workdir)
        self.workdir.mkdir(parents=True)
        self.run("init", "init", os.fspath(CHECKOUT / "manifests/standin"))


def checked(sample: Sample) -> Sample:
    """Stop when a measured command failed."""
    if sample.status:
        tail = sample.log.read_text(errors="replace").splitlines()[-25:]
        raise SystemExit("\n".join([*tail, f"status {sample.status}; log: {sample.log}"]))
    return sample


def steps(sample: Sample) -> dict[str, float]:
    """Seconds of each step of a cosa command, from its JSON events."""
    seconds: dict[str, float] = {}
    for line in sample.log.read_text(errors="replace").splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("kind") == "end":
            seconds[event["name"]] = seconds.get(event["name"], 0) + event["seconds"]
    return seconds


def ours(cosa: Cosa, report: Report, *, guests: bool) -> tuple[float, float]:
    """Measure our side; seconds of the cold build and of the no-op."""
    cosa.fresh()
    cosa.run("fetch", "fetch")  # stand-in made, packages downloaded and checked
    shutil.rmtree(cosa.workdir / "cache", ignore_errors=True)
    cold = cosa.run("cold", "build")
    took = steps(cold)
    report.add("cosa: cold, commit, archive, disk, qcow2", cold.seconds, "s")
    report.add("cosa: compose alone, cold", took.get("compose", 0), "s", 45)
    report.add("cosa: commit to raw and qcow2",
               took.get("disk", 0) + took.get("image qemu", 0), "s", 10)  # fmt: skip
    noop = cosa.run("noop", "build")
    report.add("cosa: nothing changed", noop.seconds, "s", 2)
    (cosa.workdir / "overrides/rootfs/etc").mkdir(parents=True, exist_ok=True)
    (cosa.workdir / "overrides/rootfs/etc/bench").write_text("changed\n")
    changed = cosa.run("changed", "build")
    report.add("cosa: one file changed, to qcow2", changed.seconds, "s")
    report.add("cosa: one file changed, new commit", steps(changed).get("compose", 0), "s", 10)
    peak = max(sample.peak for sample in (cold, noop, changed))
    report.add("cosa: peak memory", peak / MIB, "MiB", 1024)
    folder = cosa.workdir / "builds/latest/x86_64"
    for what in ("qcow2", "ociarchive"):
        for path in folder.glob(f"*.{what}"):
            report.add(f"cosa: size of the {what}", path.stat().st_blocks * 512 / MIB, "MiB")
    if guests:
        shutil.rmtree(cosa.workdir / "overrides/rootfs/etc")
        cosa.run("quickstart-first", "quickstart")
        again = cosa.run("quickstart", "quickstart")
        report.add("cosa: quickstart again, boot test included", again.seconds, "s", 90)
    return cold.seconds, noop.seconds


def theirs(root: Path, cache: Path, lockfile: Path, report: Report) -> tuple[float, float]:
    """Measure mkosi; seconds of its cold build and of an incremental one."""
    folder, mirror = root / "mkosi", root / "mirror"
    names = peer.names_of_build(lockfile)
    peer.repository(names, cache, mirror)
    fs.remove_tree(folder)
    peer.configure(folder, mirror, names)
    cold = checked(measure(peer.command(folder), root / "log/mkosi-cold", cwd=folder, env={}))
    report.add("mkosi: cold, disk", cold.seconds, "s")
    again = checked(measure(peer.command(folder), root / "log/mkosi-again", cwd=folder, env={}))
    report.add("mkosi: incremental, disk", again.seconds, "s")
    report.add("mkosi: peak memory", max(cold.peak, again.peak) / MIB, "MiB")
    report.add("mkosi: size of the raw disk", peer.outcome(folder)["raw"] / MIB, "MiB")
    return cold.seconds, again.seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    parser.add_argument("--output", type=Path, help="write the JSON there, too")
    parser.add_argument("--no-peer", action="store_true", help="leave mkosi out")
    parser.add_argument("--no-guests", action="store_true", help="boot nothing")
    args = parser.parse_args()
    root = Path(os.environ["COSA_BENCH_WORKDIR"]).absolute()
    cache = Path(os.environ["COSA_CACHE"]).absolute()
    root.mkdir(parents=True, exist_ok=True)
    report = Report()
    cosa = Cosa(root, cache)
    cold, noop = ours(cosa, report, guests=not args.no_guests)
    if not args.no_peer:
        lockfile = next((cosa.workdir / "builds/latest/x86_64").glob("manifest-lock.generated.*"))
        peer_cold, peer_again = theirs(root, cache, lockfile, report)
        report.add("ratio: cold, cosa to mkosi", cold / peer_cold, "", 0.45)
        report.add("ratio: cosa no-op to mkosi incremental", noop / peer_again, "", 0.1)
    print(report.table())
    print(report.as_json())
    if args.output:
        fs.atomic_write(args.output, report.as_json() + "\n")
    return 0 if report.good() else 1


if __name__ == "__main__":
    sys.exit(main())
