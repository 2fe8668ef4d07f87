"""A machine under test: boots an image, lets commands be run in it, notices when it breaks.

Whatever we wait for, we look at the console and at QEMU meanwhile, so a guest that
panics, drops to the emergency shell or dies ends the wait at once, with the phase it was
in and its last words. A machine that is ready can be frozen, and others started from that.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cosa.core import clock, events, fs, run
from cosa.core.errors import CosaError, ExitClass
from cosa.kola import guestconfig, hardware, hostmemory, soundness, trouble
from cosa.kola.console import Console, KernelLog
from cosa.kola.hardware import Places
from cosa.kola.host import Host, not_run
from cosa.kola.judges import Finding
from cosa.kola.knock import Knocker
from cosa.kola.spec import MachineSpec
from cosa.tools import qemu, qemu_state
from cosa.tools.qemu import Guest, Qemu
from cosa.tools.ssh import KEY_FILES, Ssh, generate

# Seconds under KVM.
BOOT, COMMAND, SHUTDOWN, RESTORE = 120.0, 60.0, 60.0, 10.0
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
MEMORY = "memory"  # of a saved machine, beside its disks
_RETRY = 3.0  # seconds between logins: sshd locks out who fails too often
_GRACE = 8.0  # seconds a dying guest gets to finish its sentence


class Machine:
    """One guest. Made by `Machine.boot`; a context manager that ends it."""

    def __init__(
        self,
        spec: MachineSpec,
        folder: Path,
        host: Host,
        *,
        interactive: bool = False,
        disks: Path | None = None,
    ) -> None:
        self.spec, self.host = spec, host
        self._interactive = interactive
        self.restored, self.users = False, 0
        self.uuid = str(uuid.uuid4())
        self.folder = folder / self.uuid
        self.folder.mkdir(parents=True)
        self.boot_seconds = 0.0
        self._stack = ExitStack()
        self._stack.enter_context(hostmemory.reserved(spec.memory))
        self.started = clock.monotonic()
        # Short paths for sockets; the disks need not be where the results go.
        short = tempfile.mkdtemp(prefix="cosa-vm.", dir="/tmp")
        self._stack.callback(shutil.rmtree, short, ignore_errors=True)
        self._runtime = Path(short)
        scratch = self._stack.enter_context(fs.private_dir(disks or folder, "disks"))
        self._places = Places(self.folder, scratch)
        self.console = Console(self.folder / hardware.CONSOLE, spec.tolerate)
        self._journal = self.folder / hardware.JOURNAL
        self._kernel_log = KernelLog(self._journal, spec.tolerate)
        self._knocker = Knocker(self._journal)
        self._taken = 0
        self._done: dict[str, object] = {}
        self.given_up: dict[str, CosaError] = {}
        self._qemu: Qemu | None = None
        self._ssh: Ssh | None = None

    @classmethod
    def boot(
        cls,
        spec: MachineSpec,
        folder: Path,
        host: Host | None = None,
        *,
        login: bool = True,
        interactive: bool = False,
        disks: Path | None = None,
    ) -> Self:
        """Start a machine and wait until commands can be run in it.

        Its files go to `folder/UUID/`, its disks, as long as it lives, there too or
        below `disks`. `interactive` puts the console on our
        terminal, without `login` nobody waits for SSH. Raises `kola/boot` (class TESTS) naming
        the phase and the last console line, `kola/ignition-failed` with
        Ignition's reason, `kola/console` for other fatal console lines.
        """
        machine = cls(spec, folder, host or Host(), interactive=interactive, disks=disks)
        try:
            machine._start()
            if login:
                machine.wait_ssh()
        except BaseException:
            machine.close()
            raise
        return machine

    @classmethod
    def restore(cls, spec: MachineSpec, folder: Path, host: Host, saved: Path, disks: Path) -> Self:
        """Start a machine from what `freeze` put into `saved`; that stays as it is.

        It has its own disks, clock and random numbers; machine-id, host name and host keys
        are those of the machine that was saved (`renew_identity`). Raises `qemu/...` or
        `kola/...` when it does not come up.
        """
        machine = cls(spec, folder, host, disks=disks)
        try:
            machine._resume(saved)
        except BaseException:
            machine.close()
            raise
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """End the guest and drop its disks; console and journal stay in the folder."""
        try:
            if self._ssh:
                self._ssh.disconnect()
            if self._qemu:
                self._qemu.quit()
            self.console.read()
        finally:
            self._stack.close()
            for path in self.folder.iterdir():
                if path.is_file() and not path.stat().st_size:
                    path.unlink()

    # What tests use

    def once(self, name: str, action: Callable[[], object]) -> object:
        """Do something to a shared machine at its first caller; the others get the same result.

        What failed once is not tried again, on a successor neither
        (`kola/not-run`): each try may take minutes.
        """
        if name in self.given_up:
            raise not_run(f"the machine could not be brought to '{name}'", self.given_up[name])
        if name not in self._done:
            try:
                self._done[name] = action()
            except CosaError as err:
                self.given_up[name] = err
                raise
        return self._done[name]

    def ssh(
        self,
        command: str,
        *,
        check: bool = True,
        input: bytes | None = None,  # noqa: A002  as in core.run
        timeout: float = COMMAND,
        on_line: Callable[[str], None] | None = None,
    ) -> run.Result:
        """Run a shell command as `core`. `timeout` is in seconds under KVM.

        Raises `kola/command` (class TESTS) for a non-zero status unless
        `check` is false.
        """
        shell = self._connection()
        try:
            result = shell.run(
                command, input=input, timeout=self.host.limit(timeout), poll=self.watch,
                on_line=on_line,
            )  # fmt: skip
        except CosaError as err:
            if err.code in ("ssh/lost", "ssh/timeout"):
                raise self._stuck(err.what, err.why) from err
            raise
        if check and result.status != 0:
            raise CosaError(
                "kola/command",
                f"a command in the guest ended with status {result.status}",
                why=f"command: {command[:1000]}\n{(result.err + result.out).strip()[-4000:]}",
                exit_class=ExitClass.TESTS,
            )
        return result

    def out(self, command: str, **options: float) -> str:
        """What a command prints, without the last newline."""
        return self.ssh(command, **options).out.rstrip("\n")  # type: ignore[arg-type]

    def script(self, text: str, *, timeout: float = COMMAND) -> run.Result:
        """Run a bash script as root, ended by the first command that fails."""
        return self.ssh("sudo bash -eu -o pipefail -s", input=text.encode(), timeout=timeout)

    def reboot(self) -> None:
        """Reboot and wait until commands can be run again, in another boot."""
        before = self.out(_BOOT_ID)
        self.ssh("sudo systemctl reboot", check=False)
        self.await_reboot(before)

    def await_reboot(self, before: str) -> None:
        """Wait for a reboot: the connection ends, then a boot of another id lets us in."""
        shell = self._connection()
        until = clock.monotonic() + self.host.limit(SHUTDOWN)
        while shell.connected:
            self.watch()
            if clock.monotonic() > until:
                raise self._stuck("the machine does not go down for a reboot")
            clock.sleep(0.25)
        self.console.restart()
        self.mark_reboot()
        self.wait_ssh()
        if self.out(_BOOT_ID) == before:
            raise self._stuck("the machine dropped its connections but did not reboot")

    def mark_reboot(self) -> None:
        """What the journal says from here on is of another boot."""
        with self._journal.open("a") as journal:
            journal.write("-- Reboot --\n")
        self._knocker.restart()

    def poweroff(self) -> None:
        """Switch the guest off properly and wait until it is."""
        self.ssh("sudo systemctl poweroff", check=False)
        if not self.monitor.wait_end(self.host.limit(SHUTDOWN)):
            raise self._stuck("the machine does not switch itself off")

    def freeze(self, out: Path) -> None:
        """Save the machine as it is now to the empty folder `out`, and let it run on.

        `out` must be on the filesystem of its disks. If this raises, the machine is
        of no more use.
        """
        self.ssh("sync", check=False)
        self.link.disconnect()
        frozen = self.monitor.guest.disks
        layers = [disk.file.with_suffix(".next") for disk in frozen]
        qemu_state.save(self.monitor, out / MEMORY, layers, self.watch)
        for disk in frozen:
            disk.file.rename(out / disk.file.name)
        hardware.copy_present(self._places.scratch, out, (qemu.VARIABLES,))
        hardware.copy_present(self.folder, out, hardware.RECORD)
        hardware.copy_present(self._runtime, out, KEY_FILES)
        self.monitor.ask("cont")
        self.wait_ssh()

    def renew_identity(self) -> None:
        """New machine-id and host keys, for machines that meet others saved from the same one."""
        self.script(guestconfig.RENEW)

    def journal(self) -> str:
        """The journal so far, as it reached the host; has all boots."""
        return self._journal.read_text("utf-8", "replace") if self._journal.exists() else ""

    def failed_units(self) -> list[str]:
        """What systemd reports as failed or restarting over and over, once it is done starting."""
        return soundness.failed_units(self)

    def check(self) -> None:
        """Raise `kola/unsound` (class TESTS) if units failed or the judges found something."""
        if found := soundness.trouble(self):
            raise found

    def trouble(self, *, checks: bool = True) -> CosaError | None:
        """What the base checks find, if they are wanted; a guest lost meanwhile is closed."""
        try:
            return soundness.trouble(self) if checks else None
        except BaseException:
            self.close()
            raise

    def findings(self) -> list[Finding]:
        """What the judges of console and kernel log have found since the last call."""
        self.console.read()
        said = {finding.judge.flag for finding in self.console.findings}
        heard = self._kernel_log.read()
        self.console.findings += [found for found in heard if found.judge.flag not in said]
        new = self.console.findings[self._taken :]
        self._taken = len(self.console.findings)
        return new

    @property
    def usable(self) -> bool:
        """Is the guest there and not broken beyond use."""
        dead = any(finding.judge.fatal for finding in self.console.findings)
        return bool(self._qemu and self._qemu.alive and not dead)

    # Inside

    @property
    def monitor(self) -> Qemu:
        """QEMU, to be asked for what only it can do."""
        assert self._qemu
        return self._qemu

    def shell(self, command: str = "") -> int:
        """Give our terminal to a shell (or command) of the guest; its exit status."""
        return self._connection().interactive(command)

    def wait_end(self) -> None:
        """Wait until the guest is switched off from inside."""
        while not self.monitor.wait_end(1):
            self.console.read()

    def watch(self) -> None:
        """Look at console and QEMU; raise if the guest is broken or gone."""
        fatal = [finding for finding in self.console.read() if finding.judge.fatal]
        dump = self.folder / hardware.IGNITION_JOURNAL
        if fatal or (dump.exists() and dump.stat().st_size):
            self._last_words()
            raise trouble.broken(self.console, fatal[0] if fatal else None, dump)
        if self._qemu and not self._qemu.alive:
            self.console.read()
            try:
                self._qemu.check()
            except CosaError as err:
                raise self._stuck(err.what, err.why) from err

    def _start(self) -> None:
        spec, scratch = self.spec, self._places.scratch
        key = generate(self._runtime)
        whole = guestconfig.whole(spec.ignition, key.public, autologin=spec.autologin)
        (self.folder / hardware.CONFIG).write_text(json.dumps(whole, indent=1))
        disks = hardware.serve(hardware.make_disks(spec, scratch), self._runtime, self._stack)
        pflash = qemu.firmware_files(spec.firmware, scratch)
        guest = hardware.guest(spec, self.host, self.uuid, disks, self._places, pflash=pflash)
        self._launch(replace(guest, interactive=self._interactive))

    def _resume(self, saved: Path) -> None:
        spec, scratch = self.spec, self._places.scratch
        started = clock.monotonic()
        self.restored = True
        hardware.copy_present(saved, self.folder, hardware.RECORD)
        hardware.copy_present(saved, self._runtime, KEY_FILES)
        # What the saved machine said was judged when it was saved.
        self.console.read()
        self.console.findings.clear()
        self._kernel_log.read()
        self._knocker.ready = True
        pflash = qemu.firmware_files(spec.firmware, scratch)
        hardware.copy_present(saved, scratch, (qemu.VARIABLES,))
        disks = hardware.layer_disks(spec, saved, scratch)
        guest = hardware.guest(spec, self.host, self.uuid, disks, self._places, pflash=pflash)
        with events.step(f"restore ({spec.firmware}, {self.host.accelerator})") as step:
            self._launch(replace(guest, incoming=True))
            qemu_state.load(self.monitor, saved / MEMORY, self.watch)
            self._await_login(RESTORE, lambda _phase: None)
            self.ssh(guestconfig.REFRESH.format(now=clock.wall()), input=os.urandom(64))
            step.summary = "logged in by SSH"
        self.boot_seconds = clock.monotonic() - started

    def _launch(self, guest: Guest) -> None:
        self._qemu = Qemu(guest, self.folder / "qemu.txt")
        self._ssh = Ssh(self._qemu.ssh_port, generate(self._runtime), self._runtime)
        (self.folder.parent / "ssh-config").write_text(self._ssh.config_file())

    def wait_ssh(self) -> None:
        """Wait until a command can be run. Raises as `boot` does."""
        started = clock.monotonic()
        with events.step(f"boot ({self.spec.firmware}, {self.host.accelerator})") as step:
            self._await_login(BOOT, step.note)
            step.summary = "logged in by SSH"
        self.boot_seconds = clock.monotonic() - started

    def _await_login(self, seconds: float, note: Callable[[str], None]) -> None:
        assert self._ssh
        limit = self.host.limit(seconds)
        until = clock.monotonic() + limit
        complaint = phase = ""
        while True:
            self.watch()
            if self.console.phase != phase:
                phase = self.console.phase
                note(phase)
            if self._knocker.due() and self._ssh.answers():
                complaint = self._ssh.connect(self.host.limit(15), self.watch)
                if not complaint:
                    return
                clock.sleep(_RETRY)
            if clock.monotonic() > until:
                raise self._stuck(f"no login by SSH within {limit:.0f} s", complaint)
            clock.sleep(0.25)

    @property
    def link(self) -> Ssh:
        """The connection itself, for who waits for it to drop."""
        assert self._ssh
        return self._ssh

    def _connection(self) -> Ssh:
        assert self._ssh
        self.watch()
        return self._ssh

    def _last_words(self) -> None:
        """Read on until the dying guest has been silent for a moment."""
        until = clock.monotonic() + _GRACE
        size = -1
        while clock.monotonic() < until and self._qemu and self._qemu.alive:
            self.console.read()
            if size == (size := self.console.size):
                break
            clock.sleep(_GRACE / 4)
        self.console.read()

    def _stuck(self, what: str, why: str = "") -> CosaError:
        return trouble.stuck(self.console, what, why)
