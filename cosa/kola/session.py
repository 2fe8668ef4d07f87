"""Running tests: from what `cosa kola` was told to pytest's words, and back to an exit class."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from cosa.core import parallel
from cosa.core.errors import CosaError, ExitClass
from cosa.kola import plugin
from cosa.kola.report import prepare_output

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
    extra: tuple[str, ...] = field(default=())  # words for pytest


def run(wanted: Run) -> None:
    """Run the tests; results are printed and go to `wanted.output`.

    Raises `kola/failed` (class TESTS) when a test failed, `kola/no-match`
    (class USAGE) when a glob or tag selects nothing.
    """
    chosen = _matching(wanted)
    prepare_output(wanted.output)
    workers = wanted.workers or workers_for(wanted.memory, chosen)
    properties = {"platform": "qemu", "accelerator": wanted.accelerator, "image": str(wanted.image)}
    properties |= {"build": str(wanted.build or ""), "workers": str(workers)}
    (wanted.output / "properties.json").write_text(json.dumps(properties, indent=1) + "\n")
    groups = {item.nodeid: plugin.group_of(item) for item in chosen}
    status = pytest.main(arguments(wanted, workers), plugins=[_Leader(groups)])
    if status == pytest.ExitCode.OK:
        return
    if status == pytest.ExitCode.TESTS_FAILED:
        raise CosaError(
            "kola/failed", "the image was found wanting: see the table above",
            why=f"consoles, journals and reports are in {wanted.output}",
            exit_class=ExitClass.TESTS,
        )  # fmt: skip
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    raise CosaError(
        "kola/pytest", f"pytest ended with status {int(status)}",
        fix="words cosa does not know are passed to pytest: see what it says above",
        exit_class=ExitClass.USAGE,
    )  # fmt: skip


def arguments(wanted: Run, workers: int) -> list[str]:
    """The words for pytest."""
    words = [str(wanted.tests), "-qq", "--no-header", "--no-summary", *_common(wanted)]
    words += ["-o", "junit_logging=all", f"--junitxml={wanted.output}/reports/junit.xml"]
    words += [f"--kola-image={wanted.image}", f"--kola-output={wanted.output}"]
    if wanted.build:
        words.append(f"--kola-build={wanted.build}")
    words += [f"--kola-accelerator={wanted.accelerator}", f"--kola-memory={wanted.memory}"]
    words += [f"--kola-firmware={wanted.firmware}", f"--kola-patience={wanted.patience}"]
    if wanted.saved:
        words.append(f"--kola-saved={wanted.saved}")
    words += [f"--kola-select={glob}" for glob in wanted.globs]
    words += [f"--kola-tag={tag}" for tag in wanted.tags]
    if workers > 1:
        words += ["-n", str(workers), "--dist", "loadscope"]
    return [*words, *wanted.extra]


def _common(wanted: Run) -> list[str]:
    # No configuration file: what the project around us says of its own tests is not for these.
    words = ["-c", os.devnull, f"--rootdir={wanted.tests}", "-p", "cosa.kola.plugin"]
    return [*words, "-p", "no:cacheprovider", "--strict-markers", "--tb=short"]


class _ByMachine(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out tests by the machine they share, the largest group first.

    xdist's own `loadgroup` writes the group into pytest's private `_nodeid`,
    which pytest 9.2 no longer has.
    """

    groups: Mapping[str, str]

    def _split_scope(self, nodeid: str) -> str:
        return self.groups[nodeid]


class _Leader:
    """The part of the plugin that only the process leading the workers has."""

    def __init__(self, groups: Mapping[str, str]) -> None:
        self._groups = groups

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> _ByMachine:
        """Choose how tests are handed out."""
        scheduler = _ByMachine(config, log)
        scheduler.groups = self._groups
        return scheduler

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Leave what is said of workers to our own lines."""
        plugins = session.config.pluginmanager
        if dsession := plugins.getplugin("dsession"):
            dsession.terminal = None
            plugins.unregister(name="terminaldistreporter")


class _Collected:
    """Keeps what pytest collected, and what it could not."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []
        self.errors: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the tests that are left after selection."""
        self.items = list(session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that could not be loaded."""
        if report.failed:
            self.errors.append(report.longreprtext)


def collect(wanted: Run) -> list[pytest.Item]:
    """The tests that would run. Raises `kola/load` for test files with errors."""
    found = _Collected()
    words = [str(wanted.tests), "--collect-only", "-qqq", "--no-summary", *_common(wanted)]
    words += [f"--kola-select={glob}" for glob in wanted.globs]
    words += [f"--kola-tag={tag}" for tag in wanted.tags]
    pytest.main([*words, "-p", "no:terminalreporter", *wanted.extra], plugins=[found])
    if found.errors:
        raise CosaError(
            "kola/load", f"{len(found.errors)} test file(s) cannot be loaded",
            why="\n".join(found.errors), exit_class=ExitClass.INPUT,
        )  # fmt: skip
    return found.items


def _matching(wanted: Run) -> list[pytest.Item]:
    items = collect(wanted)
    if not items:
        words = ", ".join((*wanted.globs, *wanted.tags)) or str(wanted.tests)
        raise CosaError(
            "kola/no-match", f"no test matches: {words}", fix="see `cosa kola list`",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return items


def workers_for(memory: int, items: Sequence[pytest.Item]) -> int:
    """Workers side by side: no more than processors, machines wanted, or memory allows."""
    groups = len({plugin.group_of(item) for item in items})
    return max(1, min(parallel.jobs(), groups, _free_memory() // (memory + _OVERHEAD)))


def _free_memory() -> int:
    """MiB the kernel could give us without swapping (proc(5), meminfo)."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found.group(1)) // 1024 if found else 0
