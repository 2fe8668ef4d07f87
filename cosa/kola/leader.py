"""The process that leads: hands tests to workers by the machine they share, gathers outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from cosa.kola.collect import NAMES, REMARKS
from cosa.kola.outcome import Outcome

REPORTER = "kola-reporter"


class _ByMachine(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out tests by the machine they share, the largest group first.

    xdist's own `loadgroup` writes the group into pytest's private `_nodeid`,
    which pytest 9.2 no longer has.
    """

    groups: Mapping[str, str]

    def _split_scope(self, nodeid: str) -> str:
        return self.groups[nodeid]


class Leader:
    """The part of the plugin that only the process leading the workers has."""

    def __init__(self, groups: Mapping[str, str], names: Sequence[str]) -> None:
        self._groups, self._names = groups, tuple(names)
        self.outcomes: list[Outcome] = []

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
        plugins.getplugin(REPORTER).expected = self._names
        if dsession := plugins.getplugin("dsession"):
            dsession.terminal = None
            plugins.unregister(name="terminaldistreporter")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Take the outcomes, also of a session that was interrupted."""
        self.outcomes = list(session.config.pluginmanager.getplugin(REPORTER).outcomes.values())


class Collected:
    """Keeps what pytest collected, and what it could not."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []
        self.errors: list[str] = []
        self.names: list[str] = []  # of all tests, before selection
        self.remarks: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the tests that are left after selection."""
        self.items = list(session.items)
        self.names = session.config.stash[NAMES]
        self.remarks = session.config.stash[REMARKS]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that could not be loaded."""
        if report.failed:
            self.errors.append(report.longreprtext)
