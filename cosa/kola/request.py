"""The marker `kola`: what a test asks of its machine, and how the test is called.

@pytest.mark.kola(butane="...", firmware="uefi", disks=["5G"], tolerate=["oops"])
def test_something(machine): ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cosa.core import store
from cosa.core.errors import CosaError, ExitClass
from cosa.kola.judges import FLAGS
from cosa.kola.spec import MachineSpec, parse_disk
from cosa.tools.butane import Config, combined, from_butane, from_ignition
from cosa.tools.qemu import Firmware


@dataclass(frozen=True)
class Request:
    """The marker's arguments, merged over the test, its class and its module."""

    butane: str = ""  # Butane text
    ignition: str = ""  # Ignition JSON
    firmware: str = ""
    kargs: str = ""
    disks: tuple[str, ...] = ()
    primary: str = ""
    memory: int = 0
    network: bool = False
    tolerate: tuple[str, ...] = ()
    cold: bool = False  # boot it: a restored machine would not do
    # About the test, not the machine
    stage: int = 0  # tests on a shared machine run by rising stage; 0 leaves it as it was
    tags: tuple[str, ...] = ()
    checks: bool = True  # no failed unit after boot

    def machine_key(self) -> str:
        """Digest of what concerns the machine: tests with equal keys share one."""
        apart = ("stage", "tags")
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        return store.step_id("request", facts)[:8]

    def spec(self, defaults: MachineSpec, where: str) -> MachineSpec:
        """The machine asked for; `where` names the test in errors about its config."""
        unknown = set(self.tolerate) - FLAGS
        if unknown:
            raise _bad(where, f"tolerate: no judge is called {', '.join(sorted(unknown))}")
        try:
            firmware = Firmware(self.firmware or defaults.firmware)
        except ValueError as err:
            raise _bad(where, f"firmware: {err}") from err
        return MachineSpec(
            image=defaults.image,
            ignition=combined(defaults.ignition, self._config(where)),
            firmware=firmware,
            memory=max(self.memory, defaults.memory),
            cpus=defaults.cpus,
            kargs=(*defaults.kargs, *self.kargs.split()),
            disks=tuple(parse_disk(text) for text in self.disks),
            primary=parse_disk(self.primary) if self.primary else defaults.primary,
            network=self.network,
            tolerate=frozenset(self.tolerate),
        )

    def _config(self, where: str) -> Config | None:
        if self.butane and self.ignition:
            raise _bad(where, "butane and ignition exclude each other")
        if self.butane:
            return from_butane(self.butane, f"{where} (butane)").config
        if self.ignition:
            return from_ignition(self.ignition, f"{where} (ignition)").config
        return None


def from_marks(marks: list[Mapping[str, Any]], where: str) -> Request:
    """Merge markers, the nearest to the test first. Raises `kola/marker` for unknown arguments."""
    merged: dict[str, Any] = {}
    known = {field.name for field in fields(Request)}
    for mark in reversed(marks):
        unknown = set(mark) - known
        if unknown:
            raise _bad(where, f"the marker kola knows no {', '.join(sorted(unknown))}")
        merged |= mark
    if isinstance(merged.get("ignition"), Mapping):
        merged["ignition"] = json.dumps(merged["ignition"], sort_keys=True)
    for name in ("disks", "tolerate", "tags"):
        if name in merged:
            merged[name] = tuple(merged[name])
    return Request(**merged)


def name_for(path: Path, function: str, variant: str = "") -> str:
    """`ignition.once` for `test_once` in test_ignition.py; a parameter is one more part."""
    parts = [path.stem.removeprefix("test_"), function.removeprefix("test_")]
    return ".".join([*parts, variant] if variant else parts).replace("_", "-")


def _bad(where: str, why: str) -> CosaError:
    return CosaError("kola/marker", f"{where}: {why}", exit_class=ExitClass.INPUT)
