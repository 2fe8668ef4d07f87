"""Results: lines while tests run, a closing table, and upstream's report files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass

NAME_KEY = "kola-name"
MACHINE_KEY = "kola-machine"  # how the test's machine came up: booted, restored or shared
PROGRESS = "kola-progress"  # instead of a file's name: the line is about a boot
MARK = ".harness_temp"  # upstream's: a folder that has it may be wiped
_RANK = {"PASS": 0, "SKIP": 1, "FAIL": 2}


@dataclass
class Outcome:
    """How a test went; seconds of set-up (the boot) are kept apart."""

    name: str
    result: str = "PASS"
    setup: float = 0.0
    seconds: float = 0.0
    output: list[str] = field(default_factory=list)
    machine: str = ""

    def take(self, report: pytest.TestReport) -> None:
        """Add one phase of the test: setup, call or teardown."""
        if report.when == "setup":
            self.setup += report.duration
        else:
            self.seconds += report.duration
        ways = [str(value) for name, value in report.user_properties if name == MACHINE_KEY]
        self.machine = ", ".join(ways) or self.machine
        result = {"passed": "PASS", "skipped": "SKIP", "failed": "FAIL"}[report.outcome]
        if _RANK[result] > _RANK[self.result]:
            self.result = result
        if report.failed:
            lines = report.longreprtext.splitlines()
            # xdist says which worker it was; nobody needs to know.
            self.output.append("\n".join(x for x in lines if not x.startswith("[gw")))
            self.output += [f"{title}\n{text}" for title, text in report.sections]
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.output.append(str(report.longrepr[2]).removeprefix("Skipped: "))


def prepare_output(folder: Path) -> None:
    """An empty folder for results; an earlier run's is wiped, anything else refused."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise CosaError(
                "kola/output", f"{folder} is not empty and not from an earlier run",
                fix="name another folder with --output", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        fs.remove_tree(folder)
    (folder / "reports").mkdir(parents=True)
    (folder / MARK).touch()


class Reporter:
    """Listens to pytest in the process people see."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._output: Path = config.option.kola_output
        self._names: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._started = clock.monotonic()
        self._broken: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn the names."""
        for item in session.items:
            self._names[item.nodeid] = str(dict(item.user_properties)[NAME_KEY])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A test file that cannot be read is a failure of its own."""
        if report.failed:
            self._say(f"--- FAIL: {report.nodeid} cannot be loaded\n{report.longreprtext}")
            self._broken.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one phase; speak when a test begins to run and when it is done."""
        name = str(dict(report.user_properties).get(NAME_KEY, report.nodeid))
        outcome = self.outcomes.setdefault(name, Outcome(name))
        outcome.take(report)
        if report.when == "teardown":
            self._say(f"--- {outcome.result}: {name} ({_time(outcome)})")
            if outcome.output and outcome.result == "FAIL":
                self._say("\n".join("    " + line for line in outcome.output[0].splitlines()))

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Say that a test starts, or how far its machine is."""
        if location[0] == PROGRESS:
            self._say(f"        {location[2]}")
            return
        name = self._names.get(nodeid) or _name_from(nodeid)
        self._say(f"=== RUN   {name}")

    def pytest_report_teststatus(self) -> tuple[str, str, str]:
        """No dots: our own lines tell it."""
        return "", "", ""

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """The closing table and the files."""
        if not self.outcomes:
            return
        outcomes = list(self.outcomes.values())
        failed = any(o.result == "FAIL" for o in outcomes) or bool(self._broken)
        verdict = "FAIL" if failed or exitstatus not in (0, 1) else "PASS"
        self._write(outcomes, verdict)
        for line in table(outcomes, clock.monotonic() - self._started):
            self._say(line)
        self._say(f"{verdict}, output in {self._output}")

    def _write(self, outcomes: Sequence[Outcome], verdict: str) -> None:
        build = self._config.option.kola_build
        version = ""
        if build and (Path(build) / "meta.json").exists():
            version = json.loads((Path(build) / "meta.json").read_text()).get("buildid", "")
        report = {
            "tests": [
                {
                    "name": o.name, "subtests": None, "result": o.result,
                    "duration": int((o.setup + o.seconds) * 1e9), "output": "\n".join(o.output),
                    "machine": o.machine,
                }
                for o in outcomes
            ],
            "result": verdict, "platform": "qemu", "version": version,
        }  # fmt: skip
        folder = self._output / "reports"
        folder.mkdir(parents=True, exist_ok=True)
        fs.atomic_write(folder / "report.json", json.dumps(report, indent=1) + "\n")
        fs.atomic_write(self._output / "test.tap", tap(outcomes))

    def _say(self, text: str) -> None:
        writer = self._config.get_terminal_writer()
        writer.line(text)
        writer.flush()


def tap(outcomes: Sequence[Outcome]) -> str:
    """Test Anything Protocol, one line a test."""
    lines = [f"1..{len(outcomes)}"]
    for outcome in outcomes:
        good = "not ok" if outcome.result == "FAIL" else "ok"
        skip = f" # SKIP {outcome.output[0]}" if outcome.result == "SKIP" else ""
        lines.append(f"{good} - {outcome.name}{skip}")
    return "\n".join(lines) + "\n"


def table(outcomes: Sequence[Outcome], seconds: float) -> list[str]:
    """The closing table: what went wrong comes last, where the eye is."""
    width = max(len(outcome.name) for outcome in outcomes)
    ways = max(len("machine"), *(len(outcome.machine) for outcome in outcomes))
    rows = ["", f"{'test':<{width}}  result  {'machine':<{ways}}    set-up       test"]
    for outcome in sorted(outcomes, key=lambda o: (_RANK[o.result], o.name)):
        boot = f"{outcome.setup:7.1f} s" if outcome.setup >= 1 else " " * 9
        line = f"{outcome.name:<{width}}  {outcome.result:<6}  {outcome.machine:<{ways}} {boot}"
        line += f"  {outcome.seconds:7.1f} s"
        if outcome.result == "SKIP" and outcome.output:
            line += f"  {outcome.output[0]}"
        elif outcome.result == "FAIL" and outcome.output:
            line += f"  {outcome.output[0].strip().splitlines()[0][:100]}"
        rows.append(line)
    counts = {r: sum(o.result == r for o in outcomes) for r in _RANK}
    words = ", ".join(
        f"{counts[result]} {word}"
        for result, word in (("PASS", "passed"), ("SKIP", "skipped"), ("FAIL", "failed"))
        if counts[result]
    )
    return [*rows, f"{words} in {seconds:.0f} s"]


def _time(outcome: Outcome) -> str:
    return f"{outcome.setup + outcome.seconds:.2f}s"


def _name_from(nodeid: str) -> str:
    """A name where the items are not known (the process that only leads xdist's workers)."""
    from cosa.kola.request import name_for

    file, _, function = nodeid.partition("::")
    base, _, variant = function.partition("[")
    return name_for(Path(file), base, variant.rstrip("]"))
