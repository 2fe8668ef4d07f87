"""Collecting: external tests beside pytest's own, names, selection, and who goes together."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from cosa.core.errors import CosaError
from cosa.kola.choice import Choice
from cosa.kola.external import buckets, discover
from cosa.kola.extitem import ExtItem, Provider, SharedMachine, TestFolder
from cosa.kola.items import BAD, REQUEST, group_of, name_of, tags_of
from cosa.kola.outcome import BUCKET_KEY, NAME_KEY, WARN_KEY
from cosa.kola.request import Request, from_marks, name_for

NAMES = pytest.StashKey[list[str]]()  # of all tests, before any was left out
REMARKS = pytest.StashKey[list[str]]()
COPY = "kola_copy"  # the parameter that makes copies of a test


class Collection:
    """The part of the plugin that knows which tests there are and which run."""

    def __init__(self, config: pytest.Config, provider: Provider) -> None:
        option = config.option
        choice = Choice.from_json(option.kola_choice)
        self.choice = replace(
            choice,
            globs=(*choice.globs, *option.kola_select),
            tags=(*choice.tags, *option.kola_tag),
        )
        self._provider = provider
        remarks: list[str] = []
        self._tests = tuple(discover(self.choice.external_roots(), remarks))
        config.stash[REMARKS] = remarks

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(
        self, path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """The folder of tests gets the external ones."""
        if path != parent.config.rootpath or not self._tests:
            return None
        folder = TestFolder.from_parent(parent, path=path)
        folder.tests, folder.copies = self._tests, self.choice.multiply
        folder.provider = self._provider
        return folder

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each test as often as it was asked for."""
        if self.choice.multiply > 1:
            metafunc.fixturenames.append(COPY)
            metafunc.parametrize(COPY, [str(n) for n in range(self.choice.multiply)])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Name the tests, choose; when pytest has chosen too, put those of one machine together."""
        for item in items:
            self._name(item)
        config.stash[NAMES] = [name_of(item) for item in items]
        chosen = [item for item in items if self._wanted(item)]
        dropped = [item for item in items if item not in chosen]
        if dropped:
            config.hook.pytest_deselected(items=dropped)
        items[:] = chosen
        for item in items:
            self._decide(item)
        yield
        self._share(items)
        first: dict[str, int] = {}
        for position, item in enumerate(items):
            first.setdefault(group_of(item), position)
        items.sort(key=lambda item: (first[group_of(item)], item.stash[REQUEST].stage))

    def _name(self, item: pytest.Item) -> None:
        if isinstance(item, ExtItem):
            item.user_properties.append((NAME_KEY, item.test.name))
            item.stash[REQUEST] = Request(tags=item.test.tags)
            return
        callspec = getattr(item, "callspec", None)
        copy = str(callspec.params.get(COPY, "")) if callspec else ""
        variant = callspec.id.removesuffix(copy).rstrip("-") if callspec else ""
        function = getattr(item, "originalname", item.name)
        name = name_for(item.path, function, variant) + copy
        item.user_properties.append((NAME_KEY, name))
        try:
            marks = [mark.kwargs for mark in item.iter_markers("kola")]
            item.stash[REQUEST] = from_marks(marks, name)
        except CosaError as err:
            item.stash[REQUEST], item.stash[BAD] = Request(), err

    def _wanted(self, item: pytest.Item) -> bool:
        if isinstance(item, ExtItem):
            return self.choice.takes_external(item.test)
        return self.choice.takes(name_of(item), tags_of(item))

    def _decide(self, item: pytest.Item) -> None:
        meta = item.test.meta if isinstance(item, ExtItem) else None
        decision = self.choice.decide(name_of(item), meta)
        if decision.action == "skip":
            item.add_marker(pytest.mark.skip(reason=decision.reason))
        elif decision.action == "warn":
            item.user_properties.append((WARN_KEY, decision.reason))

    def _share(self, items: list[pytest.Item]) -> None:
        """Give tests that may share a machine one; those that are skipped need none."""
        external = {
            item.test.name: item
            for item in items
            if isinstance(item, ExtItem) and not item.get_closest_marker("skip")
        }
        for bucket in buckets([item.test for item in external.values()]):
            shared = SharedMachine(bucket)
            for test in bucket.members:
                external[test.name].bucket = shared
                external[test.name].user_properties.append((BUCKET_KEY, bucket.name))
