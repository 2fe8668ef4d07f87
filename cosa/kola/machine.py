"""A machine under test: boots an image, lets commands be run in it, notices when it breaks.

Whatever we wait for, we look at the console and at QEMU meanwhile, so a guest
that panics, drops to the emergency shell or dies ends the wait at once, with
the phase it was in and its last words.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cosa.core import clock, events, fs, run
from cosa.core.errors import CosaError, ExitClass
from cosa.kola import guestconfig
from cosa.kola.console import Console
from cosa.kola.host import Host, attached, not_run
from cosa.kola.judges import Bench, Finding
from cosa.kola.spec import MachineSpec
from cosa.tools import bootentry, qemu
from cosa.tools.qemu import Disk, Guest, Qemu
from cosa.tools.ssh import Ssh, generate

# Seconds under KVM.
BOOT, COMMAND, SHUTDOWN, SETTLE = 120.0, 60.0, 60.0, 60.0
_IGNITION_WORDS = r"[Ii]gnition(?:\[\d+\])?:? .*(?:CRITICAL|ERROR|[Ff]ailed|error)|Ignition failed"
_RETRY = 3.0  # seconds between logins: sshd locks out who fails too often
_GRACE = 8.0  # seconds a dying guest gets to finish its sentence


class Machine:
    """One guest. Made by `Machine.boot`; a context manager that ends it."""

    def __init__(
        self, spec: MachineSpec, folder: Path, host: Host, *, interactive: bool = False
    ) -> None:
        self.spec, self.host = spec, host
        self._interactive = interactive
        self.uuid = str(uuid.uuid4())
        self.folder = folder / self.uuid
        self.folder.mkdir(parents=True)
        self.boot_seconds = 0.0
        self._stack = ExitStack()
        # Short paths for sockets; the disks stay on the file system of the results.
        short = tempfile.mkdtemp(prefix="cosa-vm.", dir="/tmp")
        self._stack.callback(shutil.rmtree, short, ignore_errors=True)
        self._runtime = Path(short)
        self._scratch = self._stack.enter_context(fs.private_dir(folder, "disks"))
        self.console = Console(self.folder / "console.txt", spec.tolerate)
        self._journal = self.folder / "journal.txt"
        self._ignition_journal = self.folder / "ignition-virtio-dump.txt"
        self._kernel_bench = Bench(spec.tolerate)
        self._journal_read = 0
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
    ) -> Self:
        """Start a machine and wait until commands can be run in it.

        Its files go to `folder/UUID/`. `interactive` puts the console on our
        terminal, without `login` nobody waits for SSH. Raises `kola/boot` (class TESTS) naming
        the phase and the last console line, `kola/ignition-failed` with
        Ignition's reason, `kola/console` for other fatal console lines.
        """
        machine = cls(spec, folder, host or Host(), interactive=interactive)
        try:
            machine._start()
            if login:
                machine.wait_ssh()
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

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return self.out("cat /proc/sys/kernel/random/boot_id")

    def reboot(self) -> None:
        """Reboot and wait until commands can be run again, in another boot."""
        before = self.boot_id()
        self.ssh("sudo systemctl reboot", check=False)
        shell = self._connection()
        until = clock.monotonic() + self.host.limit(SHUTDOWN)
        while shell.connected:
            self.watch()
            if clock.monotonic() > until:
                raise self._stuck("the machine does not go down for a reboot")
            clock.sleep(0.25)
        self.console.restart()
        with self._journal.open("a") as journal:
            journal.write("-- Reboot --\n")
        self.wait_ssh()
        if self.boot_id() == before:
            raise self._stuck("the machine dropped its connections but did not reboot")

    def poweroff(self) -> None:
        """Switch the guest off properly and wait until it is."""
        assert self._qemu
        self.ssh("sudo systemctl poweroff", check=False)
        if not self._qemu.wait_end(self.host.limit(SHUTDOWN)):
            raise self._stuck("the machine does not switch itself off")

    def journal(self) -> str:
        """The journal so far, as it reached the host; has all boots."""
        return self._journal.read_text("utf-8", "replace") if self._journal.exists() else ""

    def failed_units(self) -> list[str]:
        """What systemd reports as failed, once it is done starting (or has had its time).

        Also units that keep restarting, which never count as failed.
        """
        limit = int(self.host.limit(SETTLE))
        self.ssh(
            f"timeout {limit} systemctl is-system-running --wait", check=False, timeout=2 * SETTLE
        )
        failed = self.out("systemctl list-units --failed --plain --no-legend --no-pager")
        units = [line.split()[0] for line in failed.splitlines() if line.strip()]
        looping = self.out(
            "systemctl list-units --state=activating --plain --no-legend --no-pager"
            " | while read -r unit _; do"
            ' [ "$(systemctl show -P NRestarts "$unit")" -ge 2 ] 2>/dev/null && echo "$unit";'
            " done; true"
        )
        return units + [f"{unit} (restarting over and over)" for unit in looping.split()]

    def check(self) -> None:
        """Raise `kola/unsound` (class TESTS) if units failed or the judges found something.

        Says the failed units' last log lines.
        """
        units = self.failed_units()
        found = [str(finding) for finding in self.findings()]
        logs = ""
        if units:
            names = " ".join(unit.split()[0] for unit in units)
            status = self.ssh(f"sudo systemctl status --no-pager --lines=15 {names}", check=False)
            logs = status.out[-6000:]
            found.insert(0, f"{len(units)} unit(s) failed: {', '.join(units)}")
        if found:
            what = "; ".join(found)
            raise CosaError("kola/unsound", what, why=logs, exit_class=ExitClass.TESTS)

    def findings(self) -> list[Finding]:
        """What the judges of console and kernel log have found since the last call."""
        self.console.read()
        self._read_kernel_lines()
        new = self.console.findings[self._taken :]
        self._taken = len(self.console.findings)
        return new

    @property
    def usable(self) -> bool:
        """Is the guest there and not broken beyond use."""
        dead = any(finding.judge.fatal for finding in self.console.findings)
        return bool(self._qemu and self._qemu.alive and not dead)

    # Inside

    def shell(self, command: str = "") -> int:
        """Give our terminal to a shell (or command) of the guest; its exit status."""
        return self._connection().interactive(command)

    def wait_end(self) -> None:
        """Wait until the guest is switched off from inside."""
        assert self._qemu
        while not self._qemu.wait_end(1):
            self.console.read()

    def watch(self) -> None:
        """Look at console and QEMU; raise if the guest is broken or gone."""
        fatal = [finding for finding in self.console.read() if finding.judge.fatal]
        if fatal or self._ignition_dumped():
            self._last_words()
            raise self._broken(fatal[0] if fatal else None)
        if self._qemu and not self._qemu.alive:
            self.console.read()
            try:
                self._qemu.check()
            except CosaError as err:
                raise self._stuck(err.what, err.why) from err

    def _start(self) -> None:
        spec = self.spec
        key = generate(self._runtime)
        config = self.folder / "ignition.json"
        whole = guestconfig.whole(spec.ignition, key.public, autologin=spec.autologin)
        config.write_text(json.dumps(whole, indent=1))
        primary = self._scratch / "primary.qcow2"
        qemu.overlay(spec.image, primary, spec.primary.size)
        if spec.kargs:
            bootentry.append_kargs(primary, spec.kargs, self._scratch)
        self._started = clock.monotonic()
        self._qemu = Qemu(
            Guest(
                uuid=self.uuid,
                disks=(*self._extra_disks(), attached(primary, spec.primary, "primary-disk")),
                console=self.console.path,
                accelerator=self.host.accelerator,
                firmware=spec.firmware,
                pflash=qemu.firmware_files(spec.firmware, self._scratch),
                memory=spec.memory,
                cpus=spec.cpus,
                ignition=config,
                ports={
                    qemu.JOURNAL_PORT: self._journal,
                    qemu.IGNITION_PORT: self._ignition_journal,
                },
                network=spec.network,
                interactive=self._interactive,
            ),
            self.folder / "qemu.txt",
        )
        self._ssh = Ssh(self._qemu.ssh_port, key, self._runtime)
        (self.folder.parent / "ssh-config").write_text(self._ssh.config_file())

    def _extra_disks(self) -> tuple[Disk, ...]:
        disks = []
        for number, disk in enumerate(self.spec.disks, 1):
            path = self._scratch / f"disk{number}.qcow2"
            qemu.blank(path, disk.size)
            disks.append(attached(path, disk, f"disk{number}", boot=False))
        return tuple(disks)

    def wait_ssh(self) -> None:
        """Wait until a command can be run. Raises as `boot` does."""
        assert self._ssh
        started = clock.monotonic()
        until = started + self.host.limit(BOOT)
        complaint = ""
        with events.step(f"boot ({self.spec.firmware}, {self.host.accelerator})") as step:
            phase = ""
            while True:
                self.watch()
                if self.console.phase != phase:
                    phase = self.console.phase
                    step.note(phase)
                if self._ssh.answers():
                    complaint = self._ssh.connect(self.host.limit(15), self.watch)
                    if not complaint:
                        break
                    clock.sleep(_RETRY)
                if clock.monotonic() > until:
                    limit = self.host.limit(BOOT)
                    raise self._stuck(f"no login by SSH within {limit:.0f} s", complaint)
                clock.sleep(0.5)
            step.summary = "logged in by SSH"
        self.boot_seconds = clock.monotonic() - started

    def _connection(self) -> Ssh:
        assert self._ssh
        self.watch()
        return self._ssh

    def _ignition_dumped(self) -> bool:
        path = self._ignition_journal
        return path.exists() and path.stat().st_size > 0

    def _last_words(self) -> None:
        """Read on until the dying guest has been silent for a moment."""
        until = clock.monotonic() + _GRACE
        size = -1
        while clock.monotonic() < until and self._qemu and self._qemu.alive:
            now = os.path.getsize(self.console.path) if self.console.path.exists() else 0
            if now == size:
                break
            size = now
            clock.sleep(_GRACE / 4)
        self.console.read()

    def _broken(self, finding: Finding | None) -> CosaError:
        reasons = list(dict.fromkeys(self.console.matching(_IGNITION_WORDS)))
        ignition = finding is None or finding.judge.flag == "ignition" or bool(reasons)
        what = str(finding) if finding else "Ignition failed and sent its journal"
        if ignition and self.console.phase in ("kernel", "initramfs"):
            why = "\n".join(reasons[-8:]) or self.console.tail()
            return CosaError(
                "kola/ignition-failed", "Ignition failed, so the machine did not boot",
                why=f"{why}\n{self._where_to_look()}", exit_class=ExitClass.TESTS,
            )  # fmt: skip
        return CosaError(
            "kola/console", f"{what} (phase {self.console.phase})",
            why=f"{self.console.tail()}\n{self._where_to_look()}", exit_class=ExitClass.TESTS,
        )  # fmt: skip

    def _stuck(self, what: str, why: str = "") -> CosaError:
        """The error for a guest that does not do what we wait for, with where it is."""
        self.console.read()
        parts = [
            why.strip(),
            f"phase: {self.console.phase}; last console line: {self.console.last_line or '(none)'}",
            self.console.tail(12),
            self._where_to_look(),
        ]
        return CosaError(
            "kola/boot" if self.console.phase != "login" else "kola/machine",
            f"{what} (phase {self.console.phase})", why="\n".join(filter(None, parts)),
            exit_class=ExitClass.TESTS,
        )  # fmt: skip

    def _where_to_look(self) -> str:
        return f"console: {self.console.path}"

    def _read_kernel_lines(self) -> None:
        """The kernel's lines of the journal: with a low console loglevel they are nowhere else."""
        if not self._journal.exists():
            return
        with self._journal.open("rb") as file:
            file.seek(self._journal_read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._journal_read += len(whole)
        said = {finding.judge.flag for finding in self.console.findings}
        for line in whole.decode("utf-8", "replace").splitlines():
            if " kernel: " in line:
                found = self._kernel_bench.hear(line)
                self.console.findings += [f for f in found if f.judge.flag not in said]
