"""How tests went: one outcome a test, gathered from pytest's reports, merged over a rerun."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

NAME_KEY = "kola-name"
MACHINE_KEY = "kola-machine"  # how the test's machine came up: booted, restored or shared
FOLDER_KEY = "kola-folder"  # where that machine's console and journal are
WARN_KEY = "kola-warn"  # a failure of this test only warns, for this reason
BUCKET_KEY = "kola-bucket"  # the machine shared with other external tests
# From what needs nobody's attention to what does.
RESULTS = ("PASS", "SKIP", "FLAKE", "WARN", "FAIL")
WORDS = dict(zip(RESULTS, ("passed", "skipped", "flaky", "warned", "failed"), strict=True))


@dataclass
class Outcome:
    """How a test went; seconds of set-up (the boot) are kept apart."""

    name: str
    result: str = "PASS"
    setup: float = 0.0
    seconds: float = 0.0
    output: list[str] = field(default_factory=list)
    machine: str = ""
    folders: list[Path] = field(default_factory=list)
    bucket: str = ""
    warning: str = ""

    @property
    def full_name(self) -> str:
        """The name in reports: that of a shared machine stands before it."""
        return f"{self.bucket}/{self.name}" if self.bucket else self.name

    @property
    def reason(self) -> str:
        """The first line of what there is to say."""
        text = self.output[0].strip() if self.output else ""
        return text.splitlines()[0] if text else ""

    @property
    def rank(self) -> int:
        """How much attention it needs."""
        return RESULTS.index(self.result)

    def take(self, report: pytest.TestReport) -> None:
        """Add one phase of the test: setup, call or teardown."""
        if report.when == "setup":
            self.setup += report.duration
        else:
            self.seconds += report.duration
        self._learn(report.user_properties)
        result = {"passed": "PASS", "skipped": "SKIP", "failed": "FAIL"}[report.outcome]
        if result == "FAIL" and self.warning:
            result = "WARN"
        if RESULTS.index(result) > self.rank:
            self.result = result
        if report.failed:
            lines = report.longreprtext.splitlines()
            # xdist says which worker it was; nobody needs to know.
            self.output.append("\n".join(x for x in lines if not x.startswith("[gw")))
            self.output += [f"{title}\n{text}" for title, text in report.sections]
            if self.warning:
                self.output.append(f"only a warning: {self.warning}")
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.output.append(str(report.longrepr[2]).removeprefix("Skipped: "))

    def _learn(self, properties: Iterable[tuple[str, object]]) -> None:
        values = [(name, str(value)) for name, value in properties]
        self.machine = ", ".join(v for name, v in values if name == MACHINE_KEY) or self.machine
        self.folders = [Path(v) for name, v in values if name == FOLDER_KEY] or self.folders
        self.bucket = next((v for name, v in values if name == BUCKET_KEY), self.bucket)
        self.warning = next((v for name, v in values if name == WARN_KEY), self.warning)


def verdict(outcomes: Iterable[Outcome]) -> str:
    """FAIL if any test failed; WARN if that is all that is wrong; else PASS."""
    results = {outcome.result for outcome in outcomes}
    return next((result for result in ("FAIL", "WARN") if result in results), "PASS")


def merged(first: Sequence[Outcome], again: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes after a rerun: a test that failed and then passed is a FLAKE; both are told."""
    second = {outcome.name: outcome for outcome in again}
    result = []
    for one in first:
        two = second.get(one.name)
        if not two:
            result.append(one)
            continue
        told = [*one.output, f"at the rerun: {two.result}", *two.output]
        now = "FLAKE" if two.result == "PASS" else one.result
        result.append(
            replace(
                one, result=now, output=told, setup=one.setup + two.setup,
                seconds=one.seconds + two.seconds, folders=[*one.folders, *two.folders],
            )
        )  # fmt: skip
    return result


def counts(outcomes: Iterable[Outcome]) -> str:
    """`3 passed, 1 failed`."""
    results = [outcome.result for outcome in outcomes]
    return ", ".join(
        f"{results.count(result)} {word}" for result, word in WORDS.items() if result in results
    )
