"""Running an external test in a guest: what goes in, the watch over its unit, reboots, verdict.

The protocol is upstream's (kolet, autopkgtest): the test is a systemd unit;
when it asks for a reboot its mark comes to us, we let the machine go down, and
start the unit again in the next boot with the mark in its environment.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cosa.core import clock, events
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.core.run import Result
from cosa.kola import basecheck
from cosa.kola.external import ExternalTest
from cosa.kola.machine import Machine
from cosa.kola.reboot import Life, await_next
from cosa.tools.butane import Config
from cosa.tools.ssh import quote

KOLET = Path(__file__).parent / "guest" / "kolet"
BIN = "/usr/local/bin"
ENVIRONMENT = "/run/kola-runext-env"
ACKNOWLEDGE = "/run/kolet-reboot-ack"
CONTAINER_HOME = "/home/core"
# Minutes under KVM, the second for tests that share a machine.
TIMEOUT, SHARED_TIMEOUT = 10, 1
_PIECE = 32 << 20  # bytes of an archive that go over at once
DOWN = 120.0  # seconds to go down for a reboot
_EPILOGUE = 30.0  # seconds to ask for status and log when the time is over
# In a double-quoted value systemd takes a backslash before these (systemd.exec, EnvironmentFile).
_QUOTED = re.compile(r'(["\\`$])')


@dataclass(frozen=True)
class Asked:
    """What kolet says when it comes back: a mark if the test wants a reboot."""

    reboot: str = ""
    soft_reboot: str = ""

    @classmethod
    def parse(cls, out: str) -> Asked:
        """Read kolet's last line. Raises `kola/kolet` for anything else."""
        lines = [line for line in out.splitlines() if line.strip()]
        if not lines:
            return cls()
        try:
            said = json.loads(lines[-1], strict=False)
            return cls(str(said.get("Reboot", "")), str(said.get("SoftReboot", "")))
        except (ValueError, AttributeError) as err:
            raise CosaError(
                "kola/kolet", "the helper in the guest said something odd", why=out[-2000:],
                exit_class=ExitClass.STEP,
            ) from err  # fmt: skip


def unit_text(test: ExternalTest, container: str = "") -> str:
    """The unit the test runs as; `container` is the name of an injected archive."""
    environment = {
        "KOLA_UNIT": test.unit,
        "KOLA_TEST": test.name,
        "KOLA_TEST_EXE": test.base,
        "KOLA_EXT_DATA": test.data_dir,
        "AUTOPKGTEST_TMP": scratch_path(test),
    }
    if container:
        environment["KOLA_EXT_OSTREE_OCIARCHIVE"] = f"{CONTAINER_HOME}/{container}"
    lines = [_assignment(f"{key}={value}") for key, value in environment.items()]
    program = _assignment(remote_path(test), dollar=True)
    return "\n".join(
        [
            "[Unit]", "[Service]", "RemainAfterExit=yes", f"EnvironmentFile=-{ENVIRONMENT}",
            *(f"Environment={line}" for line in lines), f"ExecStart={program}", "",
        ]
    )  # fmt: skip


def _assignment(text: str, *, dollar: bool = False) -> str:
    """A word of a unit file: `%` doubled, quoted where it must be (systemd.syntax)."""
    text = text.replace("%", "%%")
    if dollar:
        text = text.replace("$", "$$")
    if re.fullmatch(r"[\w.,:=/%+@-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def remote_path(test: ExternalTest) -> str:
    """Where the test's program lies in the guest."""
    return f"{BIN}/kola-runext-{test.base}"


def scratch_path(test: ExternalTest) -> str:
    """A folder in the guest the test may fill."""
    return f"/var/opt/kola/tmp-{test.unit.removesuffix('.service')}"


def unit_config(test: ExternalTest, container: str = "") -> Config:
    """Ignition that brings the unit; it is not enabled."""
    return {
        "ignition": {"version": "3.0.0"},
        "systemd": {"units": [{"name": test.unit, "contents": unit_text(test, container)}]},
    }


def mark_text(mark: str) -> str:
    """The environment file that carries a mark, whatever characters are in it."""
    return f'AUTOPKGTEST_REBOOT_MARK="{_QUOTED.sub(r"\\\1", mark)}"\n'


def cargo(test: ExternalTest, unit: str = "") -> bytes:
    """A tar of all that goes into the guest; programs under the names they have until complete.

    `unit` is the unit's text where Ignition does not bring it. Links in the
    data are followed. Raises `kola/external` for one that leads nowhere.
    """
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, KOLET, f"{BIN}/kolet.partial", 0o755)
        _add(archive, test.executable, f"{remote_path(test)}.partial", 0o755)
        if unit:
            info = tarfile.TarInfo(f"etc/systemd/system/{test.unit}")
            info.size, info.mode = len(unit.encode()), 0o644
            archive.addfile(info, io.BytesIO(unit.encode()))
        if test.data:
            _add_tree(archive, test.data, test.data_dir, ())
    return target.getvalue()


def _add_tree(archive: tarfile.TarFile, folder: Path, name: str, above: tuple[Path, ...]) -> None:
    real = folder.resolve()
    if real in above:
        raise _bad_data(folder, "a link that leads back to a folder it lies in")
    for path in sorted(folder.iterdir()):
        inside = f"{name}/{path.name}"
        if path.is_dir():
            info = tarfile.TarInfo(inside.lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, path.stat().st_mode & 0o7777
            archive.addfile(info)
            _add_tree(archive, path, inside, (*above, real))
        elif path.is_file():
            _add(archive, path, inside, path.stat().st_mode & 0o7777)
        elif not path.exists():
            raise _bad_data(path, f"a link that leads nowhere: {os.readlink(path)}")


def _add(archive: tarfile.TarFile, path: Path, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name.lstrip("/"))
    info.mode = mode
    info.mtime = int(path.stat().st_mtime)
    content = path.read_bytes()
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _bad_data(path: Path, why: str) -> CosaError:
    return CosaError("kola/external", why, Where(str(path)))


def _reason(result: Result) -> tuple[str, str]:
    """The helper's verdict in a line, and what else was said, but not sudo's view of host names."""
    lines = [x for x in result.err.strip().splitlines() if not x.startswith("sudo: ")]
    said = [line for line in lines if line.startswith("kolet: ")]
    what = said[-1] if said else f"kolet ended with status {result.status}"
    return what.removeprefix("kolet: "), "\n".join(line for line in lines if line != what)


class Runner:
    """One test on one machine, its time counted from `started` (monotonic).

    A `shared` machine may not be rebooted.
    """

    def __init__(
        self, machine: Machine, test: ExternalTest, started: float, *, shared: bool = False
    ) -> None:
        self.machine, self.test, self.shared = machine, test, shared
        self._factor = machine.host.limit(1)
        minutes = test.meta.timeout_min or (SHARED_TIMEOUT if shared else TIMEOUT)
        self.limit = minutes * 60 * self._factor
        self._until = started + self.limit
        self._reboots = 0

    @property
    def checks(self) -> bool:
        """Do failed units count."""
        return "skip-base-checks" not in self.test.tags

    def run(self, unit: str = "") -> None:
        """Bring the test in and run it over all its reboots; `unit` as in `cargo`.

        Raises when it fails.
        """
        before = basecheck.troubled(self.machine) if self.checks and self.shared else {}
        try:
            self._install(unit)
            self._watch()
        finally:
            self._keep_log()
        if self.checks:
            basecheck.check(self.machine, self.test.unit, "after the test", known=before)

    def inject(self, container: Path) -> None:
        """Copy the build's container archive into the home of `core`."""
        target = quote(f"{CONTAINER_HOME}/{container.name}")
        with container.open("rb") as file:
            self.machine.ssh(f": > {target}")
            while piece := file.read(_PIECE):
                self.machine.ssh(f"cat >> {target}", input=piece, timeout=self._left())

    def _left(self) -> float:
        """Seconds left, as under KVM."""
        return max(1.0, self._until - clock.monotonic()) / self._factor

    def _install(self, unit: str) -> None:
        program = quote(remote_path(self.test))
        folders = quote(BIN, self.test.data_dir, scratch_path(self.test))
        steps = [
            f"umask 022; mkdir -p {folders} && tar -xf - -C / --no-same-owner",
            f"mv -f {BIN}/kolet.partial {BIN}/kolet",
            f"mv -f {program}.partial {program}",
            f"{{ ! command -v restorecon > /dev/null || restorecon -F {BIN}/kolet {program}; }}",
        ]
        if unit:
            steps.append("systemctl daemon-reload")
        self.machine.ssh(
            f"sudo sh -c {quote(' && '.join(steps))}", input=cargo(self.test, unit),
            timeout=self._left(),
        )  # fmt: skip

    def _watch(self) -> None:
        deny = "--deny-reboots " if self.shared else ""
        command = f"sudo {BIN}/kolet run-test-unit {deny}{quote(self.test.unit)}"
        while True:
            result = self._timed(command)
            if result.status != 0:
                raise self._failed(*_reason(result))
            asked = Asked.parse(result.out)
            if not asked.reboot and not asked.soft_reboot:
                return
            self._reboot(asked)

    def _timed(self, command: str) -> Result:
        try:
            return self.machine.ssh(command, check=False, timeout=self._left())
        except CosaError as err:
            cause = err.__cause__.code if isinstance(err.__cause__, CosaError) else ""
            where = f"phase: {self.machine.console.phase}"
            where += f"; last console line: {self.machine.console.last_line}"
            if cause == "ssh/timeout":
                raise self._failed(
                    f"the test did not end within {self.limit:.0f} s of its machine's start",
                    f"command: {command}\n{where}", code="kola/timeout",
                ) from err  # fmt: skip
            if cause == "ssh/lost":
                raise self._failed(
                    "the machine went down during the test, which had not asked for it", where
                ) from err
            raise

    def _failed(self, what: str, why: str = "", *, code: str = "kola/test") -> CosaError:
        """The error, with the unit's state and last lines."""
        status = self._epilogue(f"systemctl status --no-pager --lines=40 {quote(self.test.unit)}")
        return CosaError(
            code, what, why="\n".join(filter(None, (why, status))), exit_class=ExitClass.TESTS
        )

    def _reboot(self, asked: Asked) -> None:
        machine, soft = self.machine, not asked.reboot
        mark = asked.reboot or asked.soft_reboot
        self._reboots += 1
        events.note(f"{'soft ' if soft else ''}reboot, mark {mark!r}")
        before, kernels = Life.of(machine), machine.console.boots
        # sshd first: nobody shall log in to a system that is going down.
        stop = "systemctl stop sshd.service ssh.service ssh.socket 2> /dev/null"
        try:
            machine.ssh(
                f"sudo sh -c {quote(f'{stop}; echo > {ACKNOWLEDGE}')}", check=False,
                timeout=self._left(),
            )  # fmt: skip
        except CosaError as err:
            if not (isinstance(err.__cause__, CosaError) and err.__cause__.code == "ssh/lost"):
                raise
        await_next(machine, before, kernels, soft=soft, down=DOWN)
        if self.checks:
            basecheck.check(machine, self.test.unit, "after the reboot")
        machine.ssh(f"sudo tee {ENVIRONMENT} > /dev/null", input=mark_text(mark).encode())

    def _keep_log(self) -> None:
        """The test's own output, from the journal, beside the console."""
        unit = f" _SYSTEMD_UNIT={quote(self.test.unit)}" if self.test.number else ""
        identifier = quote(f"kola-runext-{self.test.base}")
        # The guest's own journal may lack boots that ended badly; what was sent to us has them.
        command = f"journalctl -q --no-pager -t {identifier}{unit}"
        text = "" if self._reboots else self._epilogue(command)
        if not text:
            sign = f" kola-runext-{self.test.base}["
            lines = self.machine.journal().splitlines()
            text = "\n".join(line for line in lines if sign in line or line == "-- Reboot --")
        if text:
            (self.machine.folder / f"{self.test.name}.txt").write_text(text + "\n")

    def _epilogue(self, command: str) -> str:
        """What a command prints, if the machine is still able to run it."""
        if not self.machine.usable:
            return ""
        try:
            return self.machine.ssh(f"sudo {command}", check=False, timeout=_EPILOGUE).out.strip()
        except CosaError:
            return ""
