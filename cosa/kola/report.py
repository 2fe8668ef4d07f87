"""Results as people see them: lines while tests run, a closing table; the files beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.kola import formats
from cosa.kola.outcome import NAME_KEY, Outcome, counts, verdict

PROGRESS = "kola-progress"  # instead of a file's name: the line is about a boot
MARK = ".harness_temp"  # upstream's: a folder that has it may be wiped
TIMELINE = "timeline.json"  # of a machine: when which phase of its boot began


def prepare_output(folder: Path) -> None:
    """An empty folder for results; an earlier run's is wiped, anything else refused."""
    if folder.exists() and any(folder.iterdir()):
        ours = (folder / MARK).exists() or (
            folder.name.startswith("_") and folder.name.endswith("_temp")
        )
        if not ours:
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
        self.expected: tuple[str, ...] = ()  # names of the tests that are to run
        self._started = clock.monotonic()
        self._broken: list[str] = []
        self._done: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn the names."""
        for item in session.items:
            self._names[item.nodeid] = str(dict(item.user_properties)[NAME_KEY])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A test file that cannot be read is a failure of its own."""
        if report.failed:
            name = report.nodeid
            self._say(f"--- FAIL: {name} cannot be loaded\n{report.longreprtext}")
            self._broken.append(name)
            self.outcomes[name] = Outcome(name, "FAIL", output=[report.longreprtext])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one phase; speak when a test begins to run and when it is done."""
        name = str(dict(report.user_properties).get(NAME_KEY, report.nodeid))
        outcome = self.outcomes.setdefault(name, Outcome(name))
        outcome.take(report)
        if report.when == "teardown":
            self._done.add(name)
            self._say(f"--- {outcome.result}: {outcome.full_name} ({_time(outcome)})")
            if outcome.output and outcome.result in ("FAIL", "WARN"):
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
        """The closing table and the files, also of a session that was interrupted."""
        if not self.outcomes:
            return
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            for name in self.expected:
                missing = Outcome(name, "SKIP", output=["not run: the session was interrupted"])
                self.outcomes.setdefault(name, missing)
            for name in self.outcomes.keys() - self._done:
                if self.outcomes[name].result == "PASS":
                    self.outcomes[name].result = "FAIL"
                    self.outcomes[name].output.append("interrupted")
        outcomes = list(self.outcomes.values())
        result = verdict(outcomes) if exitstatus in (0, 1) else "FAIL"
        formats.write(self._output, outcomes, version_of(self._config.option.kola_build))
        for line in table(outcomes, clock.monotonic() - self._started):
            self._say(line)
        self._say(f"{result}, output in {self._output}")

    def _say(self, text: str) -> None:
        writer = self._config.get_terminal_writer()
        writer.line(text)
        writer.flush()


def version_of(build: Path | None) -> str:
    """The id of the build in this folder; nothing for a lone image."""
    if build and (build / "meta.json").exists():
        return str(json.loads((build / "meta.json").read_text()).get("buildid", ""))
    return ""


def table(outcomes: Sequence[Outcome], seconds: float) -> list[str]:
    """The closing table: what went wrong comes last, where the eye is."""
    width = max(len(outcome.name) for outcome in outcomes)
    ways = max(len("machine"), *(len(outcome.machine) for outcome in outcomes))
    rows = ["", f"{'test':<{width}}  result  {'machine':<{ways}}    set-up       test"]
    for outcome in sorted(outcomes, key=lambda o: (o.rank, o.name)):
        boot = f"{outcome.setup:7.1f} s" if outcome.setup >= 1 else " " * 9
        line = f"{outcome.name:<{width}}  {outcome.result:<6}  {outcome.machine:<{ways}} {boot}"
        line += f"  {outcome.seconds:7.1f} s"
        if outcome.result != "PASS" and outcome.reason:
            line += f"  {outcome.reason[:100]}"
        rows.append(line)
    return [*rows, f"{counts(outcomes)} in {seconds:.0f} s"]


def _time(outcome: Outcome) -> str:
    return f"{outcome.setup + outcome.seconds:.2f}s"


def _name_from(nodeid: str) -> str:
    """A name where the items are not known (the process that only leads xdist's workers)."""
    from cosa.kola.request import name_for

    file, _, function = nodeid.rpartition("::")
    if not file.endswith(".py"):
        return function
    base, _, variant = function.partition("[")
    return name_for(Path(file), base, variant.rstrip("]"))
