"""Saved machines: booted once, when ready written to a cache, started from there ever after.

Where there is no KVM a boot takes a minute and a restored machine answers in
seconds. An entry is known by everything that makes the machine what it is:
the bytes of its image and firmware, its Ignition config, kernel arguments,
disks, the whole shape of QEMU's command line, QEMU's version, the processor
it was given. Another value is another entry, so no entry can be out of date.

An entry appears by rename when it is whole, so a run killed in the middle
leaves nothing that could be used. The machine that was saved goes on and
serves the test that wanted it. What does not come up from an entry is booted
cold, and the entry is thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from cosa.core import events, fs, store
from cosa.core.errors import CosaError
from cosa.core.store import Json
from cosa.kola import guestconfig, hardware
from cosa.kola.hardware import Places
from cosa.kola.host import Host
from cosa.kola.machine import Machine
from cosa.kola.spec import MachineSpec
from cosa.tools import probe, qemu, qemu_state

_STEP = "machine"
LIMIT = 8 << 30  # bytes all entries may take
_ROOM = 3  # the disk must have this many times a machine's memory free


class Shelf:
    """The cache of saved machines below `root`, for machines run as `host` says."""

    def __init__(self, root: Path, host: Host) -> None:
        self.root, self.host = root, host
        self._store = store.Store(root)
        self._trouble: set[str] = set()  # ids that could not be saved or restored by this process

    def provide(
        self, spec: MachineSpec, folder: Path, *, checks: bool
    ) -> tuple[Machine, CosaError | None]:
        """A machine that is ready, and what its base checks found.

        It is restored if one like it was saved, else booted, checked and saved. Only a sound
        one is saved. Raises as `Machine.boot`.
        """
        inputs = self._inputs(spec, checks=checks)
        ident = store.step_id(_STEP, inputs) if inputs else ""
        if not inputs or ident in self._trouble:
            return self._cold(spec, folder, checks=checks)
        if entry := self._store.find(_STEP, inputs):
            if machine := self._restored(spec, folder, entry, ident):
                return machine, None
            return self._cold(spec, folder, checks=checks)
        # Who else wants this machine waits until it is there.
        with store.lock(self.root / "locks" / ident, "saving a machine", wait=True):
            entry = self._store.find(_STEP, inputs)
            if not entry:
                return self._first(spec, folder, inputs, ident, checks=checks)
        if machine := self._restored(spec, folder, entry, ident):
            return machine, None
        return self._cold(spec, folder, checks=checks)

    def has(self, spec: MachineSpec, *, checks: bool) -> bool:
        """Is there an entry for such a machine."""
        inputs = self._inputs(spec, checks=checks)
        return bool(inputs and self._store.find(_STEP, inputs))

    def prune(self, limit: int = LIMIT) -> None:
        """Drop the entries used longest ago until the rest takes at most `limit` bytes."""
        entries = sorted(self._entries(), key=lambda path: path.stat().st_mtime, reverse=True)
        taken = 0
        for entry in entries:
            taken += _allocated(entry)
            if taken > limit:
                self._drop(entry)

    def _first(
        self,
        spec: MachineSpec,
        folder: Path,
        inputs: Mapping[str, Json],
        ident: str,
        *,
        checks: bool,
    ) -> tuple[Machine, CosaError | None]:
        machine = Machine.boot(spec, folder, self.host, disks=self.root / "running")
        found = machine.trouble(checks=checks)
        need = _ROOM * spec.memory << 20
        if found or shutil.disk_usage(self.root).free < need:
            return machine, found
        try:
            with events.step("save the machine") as step, self._store.produce(_STEP, inputs) as out:
                out.chmod(0o700)  # its memory and a private key
                machine.freeze(out)
                fs.sync_files(out)
                step.size = _allocated(out)
        except (CosaError, OSError) as err:  # a full disk, most likely
            machine.close()
            self._give_up(ident, "the machine could not be saved, so it is booted again", err)
            return self._cold(spec, folder, checks=checks)
        except BaseException:
            machine.close()
            raise
        self.prune()
        return machine, None

    def _restored(self, spec: MachineSpec, folder: Path, entry: Path, ident: str) -> Machine | None:
        try:
            return Machine.restore(spec, folder, self.host, entry, self.root / "running")
        except (CosaError, OSError) as err:
            self._give_up(ident, "the saved machine does not come up, so it is booted", err)
            self._drop(entry)
            return None

    def _cold(
        self, spec: MachineSpec, folder: Path, *, checks: bool
    ) -> tuple[Machine, CosaError | None]:
        machine = Machine.boot(spec, folder, self.host)
        return machine, machine.trouble(checks=checks)

    def _give_up(self, ident: str, what: str, why: Exception) -> None:
        self._trouble.add(ident)
        events.warn(f"{what}: {why}")

    def _drop(self, entry: Path) -> None:
        (self.root / "locks" / entry.name).unlink(missing_ok=True)
        fs.remove_tree(entry)

    def _entries(self) -> Iterator[Path]:
        return (path.parent for path in (self.root / _STEP).glob("*/inputs.json"))

    def _inputs(self, spec: MachineSpec, *, checks: bool) -> Mapping[str, Json] | None:
        """What makes such a machine what it is; None if its state cannot be saved."""
        if not spec.image.is_file():
            return None  # booting it says so
        nowhere = Places(Path("/results"), Path("/scratch"))
        pflash = qemu.firmware_paths(spec.firmware)
        guest = hardware.guest(
            spec, self.host, "", hardware.disks(spec, Path("/disks")), nowhere, pflash=pflash
        )
        if not qemu_state.movable(guest) or qemu.has_backing(spec.image):
            return None
        return {
            "image": self._digest(spec.image),
            "firmware": tuple(self._digest(path) for path in pflash or ()),
            "config": guestconfig.whole(spec.ignition, "KEY", autologin=spec.autologin),
            "kargs": spec.kargs,
            "firstboot": spec.firstboot_kargs,
            "disks": tuple(disk.size for disk in (*spec.disks, spec.primary)),
            "guest": tuple(qemu_state.shape(guest)),
            "qemu": probe.qemu_version(),
            "processor": "" if self.host.accelerator == "tcg" else probe.processor(),
            "tolerate": tuple(sorted(spec.tolerate)),
            "checks": checks,
        }

    def _digest(self, path: Path) -> str:
        """sha256 of a file, remembered as long as the file is not touched."""
        path = path.resolve()
        state = path.stat()
        known: dict[str, Json] = {
            "path": str(path), "size": state.st_size, "inode": state.st_ino,
            "changed": [state.st_mtime_ns, state.st_ctime_ns],
        }  # fmt: skip
        entry = self._store.find("digest", known)
        if not entry:
            with self._store.produce("digest", known) as out:
                (out / "sha256").write_text(fs.sha256_file(path))
            self._store.trim("digest", 50)
            entry = self._store.find("digest", known)
            assert entry
        return (entry / "sha256").read_text()


def _allocated(folder: Path) -> int:
    """Bytes on disk: the files are sparse."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())
