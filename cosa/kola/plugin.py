"""The pytest plugin: options, machines as fixtures, verdicts of console and kernel log.

Loaded by `cosa kola`; a test may also be run by plain pytest with
`-p cosa.kola.plugin --kola-image FILE`. With pytest-xdist each worker has its
own machines; `session` hands each the tests that share one together. Which
tests there are and which run is `collect`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosa.core import events, fs
from cosa.core.errors import CosaError
from cosa.kola.cluster import Node, form
from cosa.kola.collect import Collection
from cosa.kola.extitem import ExtItem
from cosa.kola.host import Host
from cosa.kola.image import Build
from cosa.kola.items import BAD, group_of, name_of, request_of
from cosa.kola.machine import Machine
from cosa.kola.outcome import FOLDER_KEY, MACHINE_KEY
from cosa.kola.pool import Pool
from cosa.kola.report import PROGRESS, TIMELINE, Reporter
from cosa.kola.request import Request
from cosa.kola.saved import Shelf
from cosa.kola.spec import MachineSpec, parse_disk
from cosa.tools.qemu import Firmware

_POOL = pytest.StashKey[Pool]()
_USED = pytest.StashKey[list[Machine]]()
_FOUND = pytest.StashKey[list[str]]()
_COLLECTION = pytest.StashKey[Collection]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options; `cosa kola` fills them in."""
    group = parser.getgroup("kola", "machines under test")
    add = group.addoption
    add("--kola-image", type=Path, help="disk image to boot")
    add("--kola-build", type=Path, help="folder of the build the image is of (meta.json)")
    add("--kola-output", type=Path, default=Path("tmp/kola"), help="where results go")
    add("--kola-accelerator", default="tcg", help="kvm or tcg")
    add("--kola-patience", type=float, default=1.0, help="stretch every time-out by this factor")
    add("--kola-memory", type=int, default=1024, help="MiB of memory a machine has at least")
    add("--kola-saved", type=Path, help="cache of saved machines; without it all are booted")
    add("--kola-firmware", default="bios", help="firmware of tests that name none")
    add("--kola-select", action="append", default=[], metavar="GLOB", help="tests by name")
    add(
        "--kola-tag", action="append", default=[], metavar="TAG", help="tests by tag; !TAG excludes"
    )
    add("--kola-choice", default="", metavar="JSON", help="all else that selects (kola/choice.py)")
    add("--kola-append", default="", metavar="JSON", help="Ignition every machine gets")
    add("--kola-primary", default="", metavar="DISK", help="how the system's disk is attached")
    add("--kola-shell", action="store_true", help="a shell in the guest when a test fails")


def pytest_configure(config: pytest.Config) -> None:
    """Say what our marker means; the process people see gets the reporter."""
    config.addinivalue_line(
        "markers", "kola(**request): the machine a test needs (kola/request.py)"
    )
    config.stash[_COLLECTION] = Collection(config, _Provider(config))
    config.pluginmanager.register(config.stash[_COLLECTION], "kola-collection")
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Reporter(config), "kola-reporter")


@pytest.fixture(scope="session")
def build(pytestconfig: pytest.Config) -> Build:
    """The build the image belongs to; tests that need it skip for a lone image."""
    folder = pytestconfig.option.kola_build
    if not folder:
        pytest.skip("a lone image has no build metadata to compare with")
    return Build(folder)


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Machine:
    """A machine shared with every test that asks for the same one."""
    item = request.node
    wanted = _request(item)
    shared = _pool(item.config).shared(
        group_of(item), wanted.spec(_defaults(item.config), name_of(item)),
        checks=wanted.checks, saved=not wanted.cold,
    )  # fmt: skip
    _note(item, shared)
    return shared


@pytest.fixture
def boot(request: pytest.FixtureRequest) -> Iterator[Callable[..., Machine]]:
    """A function that boots a machine of the test's own: `boot()`, `boot(memory=2048)`."""
    item = request.node
    pool = _pool(item.config)
    own: list[Machine] = []

    def start(**changes: Any) -> Machine:
        wanted = replace(_request(item), **changes)
        spec = wanted.spec(_defaults(item.config), name_of(item))
        pool.drop_shared()  # a group has either shared or private machines: memory counts for one
        fresh = pool.fresh(spec, name_of(item), checks=wanted.checks, saved=not wanted.cold)
        own.append(fresh)
        _note(item, fresh)
        return fresh

    yield start
    for fresh in own:
        fresh.close()


@pytest.fixture
def cluster(boot: Callable[..., Machine]) -> Callable[..., list[Node]]:
    """A function that gives machines which see each other: `cluster(3)`."""

    def start(count: int, **changes: Any) -> list[Node]:
        return form([boot(**changes) for _ in range(count)])

    return start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let people see how far a boot is, also from a worker.

    xdist carries only pytest's own events from a worker, so a line travels as
    the start of a test whose location says what it is.
    """
    capture = item.config.pluginmanager.getplugin("capturemanager")

    def tell(event: events.Event) -> None:
        text = {
            "note": event.text,
            "end": f"{event.text or event.name} after {event.seconds:.0f} s",
        }
        if event.kind not in text:
            return
        with capture.global_and_fixture_disabled():
            item.ihook.pytest_runtest_logstart(
                nodeid=item.nodeid,
                location=(PROGRESS, None, f"{name_of(item)}: {text[event.kind]}"),
            )

    with events.sink(tell):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After a test, ask the judges of the machines it used; they can fail one that passed."""
    try:
        result = yield
    except BaseException:
        if item.config.option.kola_shell:
            _shell(item)
        raise
    finally:
        heard = [finding for used in _used(item) for finding in used.findings()]
        found = item.stash[_FOUND] = [str(f) for f in heard if not f.judge.warns]
    if found and item.config.stash[_COLLECTION].choice.denylist.console_warns:
        item.add_report_section("call", "stdout", "warnings of the console:\n" + "\n".join(found))
    elif found:
        pytest.fail("while the test ran: " + "; ".join(found), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Failures of machines speak for themselves: no traceback, but the console's last lines."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, CosaError):
        findings = [f"{p.where or ''} {p.what}".strip() for p in error.problems]
        words = (str(error), *findings, error.why, error.fix)
        report.longrepr = "\n".join(dict.fromkeys(word for word in words if word))
    if report.failed:
        if found := item.stash.get(_FOUND, []):
            report.sections.append(("Captured stdout: what the judges found", "\n".join(found)))
        for used in _used(item):
            # pytest takes sections called "Captured stdout ..." into the JUnit file.
            title = f"Captured stdout: console of {used.uuid}"
            report.sections.append((title, used.console.tail(40)))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Close a shared machine when the next test does not want it."""
    result = yield
    for used in _used(item):
        if not used.restored and used.console.times:
            fs.atomic_write(used.folder / TIMELINE, json.dumps(used.console.times) + "\n")
    alone = nextitem is None or group_of(nextitem) != group_of(item)
    if alone and isinstance(item, ExtItem) and item.bucket:
        item.bucket.close()
    if _POOL in item.config.stash and (nextitem is None or group_of(nextitem) != group_of(item)):
        item.config.stash[_POOL].finish_shared()
    return result


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing is left running, however the session ended."""
    if _POOL in config.stash:
        config.stash[_POOL].drop_shared()


def _pool(config: pytest.Config) -> Pool:
    option = config.option
    if _POOL not in config.stash:
        host = Host(option.kola_accelerator, option.kola_patience)
        shelf = Shelf(option.kola_saved, host) if option.kola_saved else None
        config.stash[_POOL] = Pool(option.kola_output, host, shelf)
    return config.stash[_POOL]


def _defaults(config: pytest.Config) -> MachineSpec:
    option = config.option
    if not option.kola_image:
        raise CosaError("usage/kola", "no image to test: name one with --kola-image")
    return MachineSpec(
        option.kola_image,
        ignition=json.loads(option.kola_append) if option.kola_append else None,
        memory=option.kola_memory,
        firmware=Firmware(option.kola_firmware),
        primary=parse_disk(option.kola_primary),
    )


def _request(item: pytest.Item) -> Request:
    if BAD in item.stash:
        raise item.stash[BAD]
    return request_of(item)


def _used(item: pytest.Item) -> list[Machine]:
    return item.stash.setdefault(_USED, [])


def _note(item: pytest.Item, machine: Machine) -> None:
    """The test uses this machine; its report says which way the machine came up."""
    machine.users += 1
    way = "restored" if machine.restored else "booted"
    item.user_properties.append((MACHINE_KEY, way if machine.users == 1 else "shared"))
    item.user_properties.append((FOLDER_KEY, str(machine.folder)))
    _used(item).append(machine)


def _shell(item: pytest.Item) -> None:
    """Let a person look around in the machine of a failed test."""
    usable = [used for used in _used(item) if used.usable]
    if usable:
        capture = item.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"{name_of(item)} failed; this is its machine, exit to go on")
            usable[-1].shell()


class _Provider:
    """Gives external tests their machines."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def defaults(self) -> MachineSpec:
        return _defaults(self._config)

    def fresh(self, spec: MachineSpec, name: str, *, saved: bool) -> Machine:
        pool = _pool(self._config)
        pool.drop_shared()
        return pool.fresh(spec, name, checks=False, saved=saved)

    def used(self, item: ExtItem, machine: Machine) -> None:
        _note(item, machine)

    def build(self) -> Build | None:
        folder = self._config.option.kola_build
        return Build(folder) if folder else None
