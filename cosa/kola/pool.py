"""Machines of one worker: a shared one, up as long as tests want it, and private ones."""

from __future__ import annotations

from pathlib import Path

from cosa.core.errors import CosaError
from cosa.kola.host import Host, not_run
from cosa.kola.machine import Machine
from cosa.kola.saved import Shelf
from cosa.kola.spec import MachineSpec


class Pool:
    """Boots machines below `output`. At most one shared machine is up at a time.

    With a shelf machines are saved and restored; without one all are booted.
    """

    def __init__(self, output: Path, host: Host, shelf: Shelf | None = None) -> None:
        self.output, self.host = output, host
        self._shelf = shelf
        self._shared: Machine | None = None
        self._key = ""
        self._failed: dict[str, CosaError] = {}
        self._given_up: dict[str, dict[str, CosaError]] = {}
        self._checks = True

    def shared(self, key: str, spec: MachineSpec, *, checks: bool, saved: bool = True) -> Machine:
        """The machine of this key; restored or booted, and checked, unless it is up.

        Its files go to a folder of the key's name.

        A machine that would not boot is not tried again: each further test
        that wants it says so at once (`kola/not-run`). One broken by an
        earlier test is replaced.
        """
        if self._shared and self._key == key and self._shared.usable:
            return self._shared
        self.drop_shared()
        if key in self._failed:
            raise not_run("the machine shared with other tests did not come up", self._failed[key])
        try:
            machine, found = self._provide(spec, self.output / key, checks=checks, saved=saved)
        except CosaError as err:
            self._failed[key] = err
            raise
        self._shared, self._key, self._checks = machine, key, checks
        machine.given_up = self._given_up.setdefault(key, {})
        if found:
            raise found  # fails this test; the next ones may still use the machine
        return machine

    def fresh(self, spec: MachineSpec, name: str, *, checks: bool, saved: bool = False) -> Machine:
        """A machine of its own, which the caller closes. `saved`: it may be a restored one."""
        machine, found = self._provide(spec, self.output / name, checks=checks, saved=saved)
        if found:
            machine.close()
            raise found
        return machine

    def _provide(
        self, spec: MachineSpec, folder: Path, *, checks: bool, saved: bool
    ) -> tuple[Machine, CosaError | None]:
        if self._shelf and saved:
            return self._shelf.provide(spec, folder, checks=checks)
        machine = Machine.boot(spec, folder, self.host)
        return machine, machine.trouble(checks=checks)

    def finish_shared(self) -> None:
        """Close the shared machine after a last check. Raises what the check found."""
        try:
            if self._shared and self._shared.usable and self._checks:
                self._shared.check()
        finally:
            self.drop_shared()

    def drop_shared(self) -> None:
        """Close the shared machine, whatever its state."""
        machine, self._shared = self._shared, None
        if machine:
            machine.close()
