"""The pytest plugin: selection, machines as fixtures, verdicts of console and kernel log.

Loaded by `cosa kola`; a test may also be run by plain pytest with
`-p cosa.kola.plugin --kola-image FILE`. With pytest-xdist each worker has its
own machines; `session` hands each the tests that share one together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from cosa.core import events
from cosa.core.errors import CosaError
from cosa.kola.host import Host
from cosa.kola.image import Build
from cosa.kola.machine import Machine
from cosa.kola.pool import Pool
from cosa.kola.report import MACHINE_KEY, NAME_KEY, PROGRESS, Reporter
from cosa.kola.request import Request, from_marks, name_for
from cosa.kola.saved import Shelf
from cosa.kola.spec import MachineSpec
from cosa.tools.qemu import Firmware

_POOL = pytest.StashKey[Pool]()
_REQUEST = pytest.StashKey[Request]()
_USED = pytest.StashKey[list[Machine]]()
_FOUND = pytest.StashKey[list[str]]()
_BAD = pytest.StashKey[CosaError]()


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


def pytest_configure(config: pytest.Config) -> None:
    """Say what our marker means; the process people see gets the reporter."""
    config.addinivalue_line(
        "markers", "kola(**request): the machine a test needs (kola/request.py)"
    )
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Reporter(config), "kola-reporter")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the tests, choose, and put those of one machine side by side, by stage."""
    for item in items:
        marks = [mark.kwargs for mark in item.iter_markers("kola")]
        callspec = getattr(item, "callspec", None)
        function = getattr(item, "originalname", item.name)
        name = name_for(item.path, function, callspec.id if callspec else "")
        item.user_properties.append((NAME_KEY, name))
        try:
            item.stash[_REQUEST] = from_marks(marks, name)
        except CosaError as err:
            item.stash[_REQUEST], item.stash[_BAD] = Request(), err
    chosen = [item for item in items if _wanted(config, item)]
    dropped = [item for item in items if item not in chosen]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
    first: dict[str, int] = {}
    for position, item in enumerate(chosen):
        first.setdefault(group_of(item), position)
    chosen.sort(key=lambda item: (first[group_of(item)], item.stash[_REQUEST].stage))
    items[:] = chosen


def name_of(item: pytest.Item) -> str:
    """The name by which people know a test."""
    return str(dict(item.user_properties)[NAME_KEY])


def request_of(item: pytest.Item) -> Request:
    """What a test asks for."""
    return item.stash[_REQUEST]


def group_of(item: pytest.Item) -> str:
    """Tests with the same group share a machine.

    Where machines are restored in seconds, tests that only look need not wait for those
    that change the machine: they have one of their own.
    """
    if "machine" not in getattr(item, "fixturenames", ()):
        return name_of(item)
    wanted = item.stash[_REQUEST]
    changing = bool(wanted.stage and item.config.option.kola_saved and not wanted.cold)
    return f"shared-{wanted.machine_key()}{'-changed' if changing else ''}"


def _wanted(config: pytest.Config, item: pytest.Item) -> bool:
    """With globs a name *or* a tag selects; without, tags filter; `!tag` always excludes."""
    globs, tags = config.option.kola_select, config.option.kola_tag
    have = set(item.stash[_REQUEST].tags)
    if have & {tag[1:] for tag in tags if tag.startswith("!")}:
        return False
    wanted = {tag for tag in tags if not tag.startswith("!")}
    by_name = any(fnmatchcase(name_of(item), glob) for glob in globs)
    if globs:
        return by_name or bool(have & wanted)
    return not wanted or bool(have & wanted)


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let people see how far a boot is, also from a worker.

    xdist carries only pytest's own events from a worker, so a line travels as
    the start of a test whose location says what it is.
    """
    capture = item.config.pluginmanager.getplugin("capturemanager")

    def tell(event: events.Event) -> None:
        text = {"note": event.text, "end": f"{event.text} after {event.seconds:.0f} s"}
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
    finally:
        found = [str(finding) for used in _used(item) for finding in used.findings()]
        item.stash[_FOUND] = found
    if found:
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
        report.longrepr = "\n".join(filter(None, (str(error), error.why, error.fix)))
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
        option.kola_image, memory=option.kola_memory, firmware=Firmware(option.kola_firmware)
    )


def _request(item: pytest.Item) -> Request:
    if _BAD in item.stash:
        raise item.stash[_BAD]
    return item.stash[_REQUEST]


def _used(item: pytest.Item) -> list[Machine]:
    return item.stash.setdefault(_USED, [])


def _note(item: pytest.Item, machine: Machine) -> None:
    """The test uses this machine; its report says which way the machine came up."""
    machine.users += 1
    way = "restored" if machine.restored else "booted"
    item.user_properties.append((MACHINE_KEY, way if machine.users == 1 else "shared"))
    _used(item).append(machine)


def listing(items: list[pytest.Item]) -> list[dict[str, object]]:
    """What `cosa kola list --json` prints, in upstream's words."""
    rows = []
    for item in items:
        text = (getattr(item, "obj", None) and item.obj.__doc__) or ""  # type: ignore[attr-defined]
        rows.append(
            {
                "Name": name_of(item), "Platforms": ["qemu"], "Architectures": ["x86_64"],
                "Distros": [], "Tags": list(request_of(item).tags),
                "Description": text.strip().partition("\n")[0],
            }
        )  # fmt: skip
    return rows


def to_json(rows: list[dict[str, object]]) -> str:
    """The rows as JSON text."""
    return json.dumps(rows, indent=2)
