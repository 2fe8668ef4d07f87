"""Hostile input by the hundred thousand: run.py [--inputs N] [--seed S] [--target NAME]... [--jobs J]

Each target's share runs in a process of its own, with a bound on its memory. What is found is
kept below --keep (default: corpus beside this file) as TARGET/DIGEST, for the tests to try again.
Prints figures, and one error text of each kind with --texts. Run it in the assembler:

    python3 tests/fuzz/run.py --inputs 100000 --jobs 2
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import multiprocessing
import os
import re
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
sys.path.append(str(HERE.parents[1]))
_BATCH = 1000
_ADDRESS_SPACE = 6 << 30


def share(name: str, inputs: int, seed: int, keep: str, found_limit: int) -> tuple[str, dict]:
    """One target's inputs; figures as plain values."""
    import harness
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st
    from targets import all_targets

    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    target = all_targets()[name]
    tally, box = harness.Tally(), harness.Box()
    findings: dict[str, str] = {}
    last = Path(keep) / f".last-{name}-{os.getpid()}"
    started = time.monotonic()

    def one(data: bytes) -> None:
        # Should a library crash the process, this file tells by what.
        last.write_bytes(data)
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            harness.try_one(target, data, box, tally)
        except harness.Finding as err:
            # One of a kind is enough: numbers and quoted pieces differ.
            kind = re.sub(r"0x[0-9a-f]+|[0-9]+", "N", f"{err}"[:160])
            if kind not in findings and len(findings) < found_limit:
                place = Path(keep) / name / hashlib.sha256(data).hexdigest()[:16]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
                findings[kind] = str(place)
        finally:
            faulthandler.cancel_dump_traceback_later()

    made = st.composite(target.make)()
    while tally.inputs < inputs:
        count = min(_BATCH, inputs - tally.inputs)
        before = tally.inputs
        check = given(made)(one)
        check = seeded(seed + tally.inputs)(check)
        settings(
            max_examples=count, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet, derandomize=False,
        )(check)()  # fmt: skip
        if tally.inputs == before:
            break
    last.unlink(missing_ok=True)
    box.close()
    spent = time.monotonic() - started
    return name, {
        "inputs": tally.inputs, "accepted": tally.accepted, "codes": dict(tally.codes),
        "slowest": tally.slowest, "grown": tally.grown, "seconds": spent, "findings": findings,
        "examples": tally.examples,
    }  # fmt: skip


def alone(name: str, inputs: int, seed: int, keep: str) -> dict:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(share, name, inputs, seed, keep, 20).result()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", default=str(HERE / "corpus"))
    parser.add_argument("--texts", action="store_true", help="print one error of each kind")
    args = parser.parse_args()
    from targets import all_targets

    names = args.target or list(all_targets())
    each = -(-args.inputs // len(names))
    Path(args.keep).mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    with ThreadPoolExecutor(args.jobs) as threads:
        # A process of its own for each target, so that a crash is blamed on the right one.
        futures = {n: threads.submit(alone, n, each, args.seed, args.keep) for n in names}
        for name, future in futures.items():
            try:
                results[name] = future.result()
            except BrokenProcessPool:
                print(f"{name}: the process crashed; what by is in {args.keep}/.last-{name}-*")
    print_figures(results)
    if args.texts:
        for name, one in results.items():
            for kind, text in sorted(one["examples"].items()):
                print(f"\n=== {name}: {kind}\n{text[:1500]}")
    bad = sum(len(one["findings"]) for one in results.values())
    return 1 if bad or len(results) < len(names) else 0


def print_figures(results: dict[str, dict]) -> None:
    print(
        f"{'target':<16} {'inputs':>7} {'taken':>7} {'kinds':>5} {'slowest':>8} {'memory':>8} {'time':>6} findings"
    )
    for name, one in results.items():
        print(
            f"{name:<16} {one['inputs']:>7} {one['accepted']:>7} {len(one['codes']):>5}"
            f" {one['slowest'] * 1000:>5.0f} ms {one['grown'] >> 20:>4} MiB {one['seconds']:>4.0f} s"
            f" {len(one['findings'])}"
        )
        for kind, place in one["findings"].items():
            print(f"    {kind}\n        {place}")
    total = sum(one["inputs"] for one in results.values())
    bad = sum(len(one["findings"]) for one in results.values())
    print(f"{total} inputs, {bad} findings")


if __name__ == "__main__":
    sys.exit(main())
