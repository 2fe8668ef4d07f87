"""Running tests: from what `cosa kola` was told to pytest's words, and back to an exit class."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from cosa.core import clock, events, parallel
from cosa.core.errors import CosaError, ExitClass
from cosa.kola import formats, history, htmlpage
from cosa.kola.choice import Choice
from cosa.kola.items import group_of, name_of, tags_of
from cosa.kola.leader import Collected, Leader
from cosa.kola.outcome import Outcome, merged, verdict
from cosa.kola.report import prepare_output, table, version_of

_OVERHEAD = 400  # MiB of a QEMU beside its guest's memory, and of the worker that runs it


@dataclass(frozen=True)
class Run:
    """One run of tests."""

    tests: Path  # folder of test files
    image: Path
    output: Path
    build: Path | None = None
    accelerator: str = "tcg"
    globs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    workers: int = 0  # 0: as many as processors and memory allow
    memory: int = 1024
    firmware: str = "bios"
    patience: float = 1.0
    saved: Path | None = None  # cache of saved machines; None: all are booted
    choice: Choice = field(default_factory=Choice)  # what else selects
    rerun: bool = False
    flaky_tags: tuple[str, ...] = ()  # only tests with one of these may pass at the rerun
    warn_77: bool = False
    tapfile: str = ""
    append: str = ""  # Ignition JSON every machine gets
    primary: str = ""  # how the system's disk is attached
    shell: bool = False
    extra: tuple[str, ...] = field(default=())  # words for pytest


def run(wanted: Run) -> int:
    """Run the tests; results are printed and go to `wanted.output`.

    Returns 0, or 77 if there were only warnings and `warn_77` is set. Raises
    `kola/failed` (class TESTS) when a test failed, `kola/no-match` (class
    USAGE) when a glob or tag selects nothing.
    """
    chosen = _matching(wanted)
    if not chosen:
        events.note("no test of this shard was chosen")
        return 0
    prepare_output(wanted.output)
    started = clock.monotonic()
    status, outcomes = _session(wanted, chosen)
    failed = {outcome.name for outcome in outcomes if outcome.result == "FAIL"}
    if wanted.rerun and failed and status == pytest.ExitCode.TESTS_FAILED:
        outcomes = _rerun(wanted, chosen, outcomes, failed)
        for line in table(outcomes, clock.monotonic() - started):
            print(line)
    elif wanted.rerun:
        events.note("nothing to run again")
    _finish(wanted, outcomes)
    return _judge(wanted, status, outcomes)


def failed_in(output: Path) -> tuple[str, ...]:
    """Names of the tests that failed in the run whose results are there.

    Raises `kola/no-report` (class USAGE) when there is none, or nothing failed.
    """
    path = output / "reports/report.json"
    try:
        tests = json.loads(path.read_text())["tests"]
        failed = [t["name"] for t in tests if t["result"] == "FAIL" and not t["subtests"]]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CosaError(
            "kola/no-report", f"there is no earlier run's report in {output}", why=str(err),
            fix="run the tests first, or name the folder with --output", exit_class=ExitClass.USAGE,
        ) from err  # fmt: skip
    if not failed:
        raise CosaError(
            "kola/no-report", f"no test failed in the run reported in {output}",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return tuple(name.rpartition("/")[2] for name in failed)


def _session(
    wanted: Run, chosen: Sequence[pytest.Item]
) -> tuple[int | pytest.ExitCode, list[Outcome]]:
    workers = wanted.workers or workers_for(wanted.memory, chosen)
    properties = {"platform": "qemu", "accelerator": wanted.accelerator, "image": str(wanted.image)}
    properties |= {"build": str(wanted.build or ""), "workers": str(workers)}
    text = json.dumps(properties, indent=1) + "\n"
    (wanted.output / "properties.json").write_text(text)
    groups = {item.nodeid: group_of(item) for item in chosen}
    leader = Leader(groups, [name_of(item) for item in chosen])
    status = pytest.main(arguments(wanted, workers), plugins=[leader])
    return status, leader.outcomes


def _rerun(
    wanted: Run, chosen: Sequence[pytest.Item], outcomes: Sequence[Outcome], failed: set[str]
) -> list[Outcome]:
    """Run what failed once more, into `rerun/`; success there makes a test a FLAKE."""
    items = [item for item in chosen if name_of(item) in failed]
    names = tuple(sorted(failed))
    events.note(f"running {len(names)} failed test(s) again")
    folder = wanted.output / "rerun"
    prepare_output(folder)
    again = replace(
        wanted, output=folder, choice=replace(wanted.choice, only=names), globs=(), tags=()
    )
    _, second = _session(again, items)
    if wanted.flaky_tags:
        allowed = {name_of(i) for i in items if set(tags_of(i)) & set(wanted.flaky_tags)}
        second = [outcome for outcome in second if outcome.name in allowed]
    return merged(outcomes, second)


def _finish(wanted: Run, outcomes: Sequence[Outcome]) -> None:
    """The files, over all attempts."""
    version = version_of(wanted.build)
    formats.write(wanted.output, outcomes, version, wanted.tapfile)
    past = history.add(wanted.output, version, outcomes)
    htmlpage.write(wanted.output, outcomes, version, past)


def _judge(wanted: Run, status: int | pytest.ExitCode, outcomes: Sequence[Outcome]) -> int:
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise CosaError(
            "kola/pytest", f"pytest ended with status {int(status)}",
            fix="words cosa does not know are passed to pytest: see what it says above",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    result = verdict(outcomes)
    if result == "FAIL" or (status == pytest.ExitCode.TESTS_FAILED and not outcomes):
        raise CosaError(
            "kola/failed", "the image was found wanting: see the table above",
            why=f"consoles, journals and reports are in {wanted.output}",
            exit_class=ExitClass.TESTS,
        )  # fmt: skip
    return 77 if result == "WARN" and wanted.warn_77 else 0


def arguments(wanted: Run, workers: int) -> list[str]:
    """The words for pytest."""
    words = ["-qq", "--no-header", "--no-summary", *_common(wanted)]
    words += [f"--kola-image={wanted.image}", f"--kola-output={wanted.output}"]
    if wanted.build:
        words.append(f"--kola-build={wanted.build}")
    words += [f"--kola-accelerator={wanted.accelerator}", f"--kola-memory={wanted.memory}"]
    words += [f"--kola-firmware={wanted.firmware}", f"--kola-patience={wanted.patience}"]
    if wanted.saved:
        words.append(f"--kola-saved={wanted.saved}")
    words += [f"--kola-append={wanted.append}", f"--kola-primary={wanted.primary}"]
    words += ["--kola-shell"] if wanted.shell else []
    if workers > 1:
        words += ["-n", str(workers), "--dist", "loadscope"]
    return [*words, *wanted.extra]


def _common(wanted: Run) -> list[str]:
    # No configuration file: what the project around us says of its own tests is not for these.
    words = ["-c", os.devnull, f"--rootdir={wanted.tests}", "-p", "cosa.kola.plugin"]
    words += ["-p", "no:cacheprovider", "--strict-markers", "--tb=short"]
    words += [f"--kola-select={glob}" for glob in wanted.globs]
    words += [f"--kola-tag={tag}" for tag in wanted.tags]
    words.append(f"--kola-choice={wanted.choice.to_json()}")
    # Who names tests by pytest's own ids wants those only.
    named = any(
        re.search(r"\.py(::|$)", word) and before not in ("--deselect", "--ignore")
        for before, word in pairwise(("", *wanted.extra))
        if not word.startswith("-")
    )
    return words if named else [*words, str(wanted.tests)]


def collect(wanted: Run) -> list[pytest.Item]:
    """The tests that would run. Raises `kola/load` for test files with errors."""
    return _collected(wanted).items


def _collected(wanted: Run) -> Collected:
    replace(wanted.choice, globs=(*wanted.choice.globs, *wanted.globs)).check()
    found = Collected()
    words = ["--collect-only", "-qqq", "--no-summary", *_common(wanted)]
    pytest.main([*words, "-p", "no:terminalreporter", *wanted.extra], plugins=[found])
    if found.errors:
        raise CosaError(
            "kola/load", f"{len(found.errors)} test file(s) cannot be loaded",
            why="\n".join(found.errors), exit_class=ExitClass.INPUT,
        )  # fmt: skip
    return found


def _matching(wanted: Run) -> list[pytest.Item]:
    """The tests to run; none only where a shard has none. Raises `kola/no-match`."""
    found = _collected(wanted)
    for remark in found.remarks:
        events.warn(remark)
    selection = replace(wanted.choice, globs=(*wanted.choice.globs, *wanted.globs)).selection
    unmatched = selection.unmatched(found.names) if found.names else []
    if unmatched or (not found.items and not wanted.choice.sharding):
        words = ", ".join(unmatched or (*wanted.globs, *wanted.tags)) or str(wanted.tests)
        why = (
            ""
            if unmatched or not found.names
            else (
                "tests of that name are for another architecture, platform or distribution,"
                " or have another tag"
            )
        )
        raise CosaError(
            "kola/no-match", f"no test matches: {words}", why=why, fix="see `cosa kola list`",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return found.items


def workers_for(memory: int, items: Sequence[pytest.Item]) -> int:
    """Workers side by side: no more than processors, machines wanted, or memory allows."""
    groups = len({group_of(item) for item in items})
    return max(1, min(parallel.jobs(), groups, _free_memory() // (memory + _OVERHEAD)))


def _free_memory() -> int:
    """MiB the kernel could give us without swapping (proc(5), meminfo)."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found.group(1)) // 1024 if found else 0
