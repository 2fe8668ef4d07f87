"""External tests as pytest sees them: a folder collects them, each is an item with a machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from cosa.core import clock, events
from cosa.core.errors import CosaError, Where
from cosa.kola import basecheck, extrun, hostports
from cosa.kola.external import Bucket, ExternalTest
from cosa.kola.image import Build
from cosa.kola.machine import Machine
from cosa.kola.spec import GIB, MachineSpec, parse_disk
from cosa.tools import butane
from cosa.tools.butane import Config, combined
from cosa.tools.qemu import Firmware

# Words of Butane and Ignition for a version they do not know yet.
_UNKNOWN_VERSION = re.compile(
    r"[Nn]o translator exists|[Uu]nsupported config version|unknown version"
)
_EMERGENCY = frozenset({"emergency", "dracut"})


class Provider(Protocol):
    """Where an item gets machines from: the plugin."""

    def defaults(self) -> MachineSpec:
        """The machine of tests that ask for nothing."""

    def fresh(self, spec: MachineSpec, name: str, *, saved: bool) -> Machine:
        """A machine, which the caller closes; files go to a folder of this name."""

    def used(self, item: ExtItem, machine: Machine) -> None:
        """Note that the test uses the machine."""

    def build(self) -> Build | None:
        """The build that is tested."""


class TestFolder(pytest.Directory):
    """The folder of tests in Python, to which the external ones are added.

    They are not collected from where they lie: pytest would load every
    conftest.py above them.
    """

    tests: tuple[ExternalTest, ...] = ()
    copies = 1
    provider: Provider

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Both kinds."""
        assert self.parent
        yield from pytest.Dir.from_parent(self.parent, path=self.path).collect()
        numbers = max((test.number for test in self.tests), default=0)
        for copy in range(self.copies):
            for test in self.tests:
                name = test.name + (str(copy) if self.copies > 1 else "")
                item: ExtItem = ExtItem.from_parent(self, name=name)
                # Copies on one machine need units of their own.
                number = test.number + copy * numbers if test.number else 0
                item.test = replace(test, name=name, number=number)
                item.provider = self.provider
                yield item


class ExtItem(pytest.Item):
    """One external test."""

    test: ExternalTest
    provider: Provider
    bucket: SharedMachine | None = None
    _own: Machine | None = None
    _runner: extrun.Runner | None = None
    _unit = ""
    _ports: ExitStack | None = None

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the test is."""
        return self.test.executable, None, self.name

    def setup(self) -> None:
        """Get the machine ready."""
        test = self.test
        if test.problem:
            raise test.problem
        config = load_config(test)
        self._ports = ExitStack()
        self._ports.enter_context(hostports.reserved(test.meta.required_host_ports))
        if self.bucket and (machine := self.bucket.machine(self)):
            self.provider.used(self, machine)
            self._runner = extrun.Runner(machine, test, clock.monotonic(), shared=True)
            return
        self._alone(config)

    def _alone(self, config: Config | None) -> None:
        test, defaults = self.test, self.provider.defaults()
        spec = machine_for(test, defaults, config)
        if spec.mounts:
            pytest.skip("it mounts folders of this machine, for which virtiofsd is missing")
        container = self._container() if test.meta.inject_container else None
        archive = container.name if container else ""
        if config is None:
            # Machines without a config are alike: one may stand for another. The unit comes later.
            self._unit = extrun.unit_text(test, archive)
        else:
            ours = extrun.unit_config(test, archive)
            spec = replace(spec, ignition=combined(defaults.ignition, config, ours))
        saved = config is None and not spec.firstboot_kargs
        machine = self.provider.fresh(spec, test.name, saved=saved)
        self._own = machine
        self.provider.used(self, machine)
        self._runner = extrun.Runner(machine, test, machine.started)
        if self._runner.checks:
            basecheck.check(machine, test.unit, "at login")
        if container:
            self._runner.inject(container)

    def _container(self) -> Path:
        build = self.provider.build()
        image = build.meta.get("images", {}).get("ostree", {}).get("path") if build else None
        if not build or not image:
            pytest.skip("it needs the build's container archive, and there is none")
        return build.folder / str(image)

    def runtest(self) -> None:
        """Run it."""
        assert self._runner
        self._runner.run(self._unit)

    def teardown(self) -> None:
        """Give the machine and the ports back."""
        try:
            if self._own:
                self._own.close()
        finally:
            if self._ports:
                self._ports.close()


class SharedMachine:
    """The machine of a bucket. If it does not come up, its tests run alone."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._machine: Machine | None = None
        self._gone = False

    def machine(self, item: ExtItem) -> Machine | None:
        """The machine, or None when the test is better off on one of its own.

        Which of the members is to blame nobody can know: so each is asked singly.
        """
        if self._gone or (self._machine and not self._machine.usable):
            self.close()
            return None
        if not self._machine:
            try:
                self._machine = self._boot(item)
                basecheck.check(self._machine, when="at login")
            except CosaError as err:
                events.note(f"{self.bucket.name}: {err}; its tests run on machines of their own")
                self.close()
        return self._machine

    def close(self) -> None:
        """End the machine; from now on there is none."""
        machine, self._machine, self._gone = self._machine, None, True
        if machine:
            machine.close()

    def _boot(self, item: ExtItem) -> Machine:
        defaults = item.provider.defaults()
        configs = []
        for test in self.bucket.members:
            try:
                config = load_config(test)
            except CosaError:
                continue  # fails that test when its turn comes
            configs += [*([config] if config else []), extrun.unit_config(test)]
        network = any("needs-internet" in test.tags for test in self.bucket.members)
        spec = replace(defaults, ignition=combined(defaults.ignition, *configs), network=network)
        return item.provider.fresh(spec, self.bucket.name, saved=False)


def load_config(test: ExternalTest) -> Config | None:
    """The config beside the test. Raises for an invalid one; warnings count as errors.

    A spec newer than our tools is handed on as it is: the guest's own Ignition
    may know it. Butane newer than ours is tried as its experimental version.
    """
    if not test.config:
        return None
    try:
        checked = butane.load(test.config) if test.config.suffix != ".bu" else _butane(test.config)
    except CosaError as err:
        if test.config.suffix == ".ign" and _UNKNOWN_VERSION.search(f"{err.what} {err.why}"):
            config: Config = json.loads(test.config.read_text("utf-8"))
            return config
        raise
    if checked.warnings and not test.meta.allow_config_warnings:
        raise CosaError(
            "kola/config-warning", f"{test.config} gives {len(checked.warnings)} warning(s)",
            Where(str(test.config)), problems=checked.warnings,
            why="\n".join(f"{w.where}: {w.what}" for w in checked.warnings),
            fix="mend it, or say `allowConfigWarnings: true` in the test's metadata",
        )  # fmt: skip
    return checked.config


def _butane(path: Path) -> butane.Checked:
    text = path.read_text("utf-8")
    try:
        return butane.from_butane(text, str(path))
    except CosaError as err:
        newer = re.sub(
            r"(?m)^(version:\s*[\"']?\d+\.\d+\.\d+)(?=[\"']?\s*(#.*)?$)", r"\1-experimental", text
        )
        if newer == text or not _UNKNOWN_VERSION.search(f"{err.what} {err.why}"):
            raise
        return butane.from_butane(newer, str(path))


def machine_for(test: ExternalTest, defaults: MachineSpec, config: Config | None) -> MachineSpec:
    """The machine a test asks for. Raises SKIP (pytest's) for what cannot be had here."""
    meta = test.meta
    if meta.boot_from:
        pytest.skip("it boots from the live ISO, and this build has none")
    kargs = (*defaults.kargs, *meta.append_kernel_args.split())
    primary = parse_disk(meta.primary_disk) if meta.primary_disk else defaults.primary
    if meta.min_disk:
        primary = replace(primary, size=max(primary.size, meta.min_disk * GIB))
    secure = "secure-boot" in test.tags
    return replace(
        defaults,
        ignition=combined(defaults.ignition, config),
        firmware=Firmware.UEFI_SECURE if secure else defaults.firmware,
        memory=max(meta.min_memory, defaults.memory),
        kargs=kargs,
        firstboot_kargs=meta.append_firstboot_kernel_args,
        disks=tuple(parse_disk(text) for text in meta.additional_disks),
        primary=primary,
        network="needs-internet" in test.tags,
        nics=meta.additional_nics,
        numa=meta.numa_nodes,
        mounts=tuple(_mount(text, test) for text in meta.bind_mount_host_ro),
        tolerate=_EMERGENCY if "skip-base-checks" in test.tags else frozenset(),
    )


def _mount(text: str, test: ExternalTest) -> tuple[str, str]:
    source, _, target = text.partition(",")
    beside = test.executable.parent / source
    return str((beside if beside.exists() else Path(source)).resolve()), target
