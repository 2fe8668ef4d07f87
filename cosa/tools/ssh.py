"""OpenSSH to a guest on this machine: a key pair, one connection, many commands.

A master connection is a program of ours that lives as long as the guest is up;
commands go through its socket, which spares a handshake each (2 s under TCG).
The guest was made a minute ago and its host key with it, so the key is taken as
it comes, kept only for this connection.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cosa.core import clock, run
from cosa.core.errors import CosaError, ExitClass

KEY = "id_ed25519"
KEY_FILES = (KEY, f"{KEY}.pub")
LOST = 255  # ssh's own exit status when the connection fails


@dataclass(frozen=True)
class KeyPair:
    """A private key's file and the public key's line."""

    private: Path
    public: str


def generate(folder: Path) -> KeyPair:
    """A fresh ed25519 pair in `folder`, or the one already made there."""
    path = folder / KEY
    if not path.exists():
        run.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cosa", "-f", path])
    return KeyPair(path, path.with_suffix(".pub").read_text().strip())


class Ssh:
    """The way into one guest. `folder` must have a short path: it holds the master's socket."""

    def __init__(self, port: int, key: KeyPair, folder: Path, user: str = "core") -> None:
        self.port, self.user = port, user
        self._key, self._folder = key, folder
        self._socket = folder / "ssh"
        self._master: subprocess.Popen[bytes] | None = None

    def options(self) -> list[str]:
        """Options every ssh of ours gets; nothing of the user's own configuration is read."""
        settings = {
            "IdentityFile": str(self._key.private),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "Port": str(self.port),
            "User": self.user,
        }
        return ["-F", "/dev/null", *(f"-o{key}={value}" for key, value in settings.items())]

    def config_file(self) -> str:
        """The same as an ssh_config, for people who want to look around in a guest."""
        lines = [option[2:].replace("=", " ", 1) for option in self.options()[2:]]
        return "\n".join(["Host *", "  HostName 127.0.0.1", *("  " + line for line in lines), ""])

    def answers(self) -> bool:
        """Does an SSH server greet on the port; costs the guest next to nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 3) as probe:
                probe.settimeout(3)
                return probe.recv(4) == b"SSH-"
        except OSError:
            return False

    def connect(self, seconds: float, poll: Callable[[], None]) -> str:
        """Try once to log in and keep the connection; ssh's complaint, or "" when it stands."""
        self.disconnect()
        self._socket.unlink(missing_ok=True)
        log = self._folder / "ssh.log"
        argv = ["ssh", *self.options(), f"-oConnectTimeout={int(seconds)}", "-M", "-N"]
        # A guest that hangs without closing the connection must not hang us for ever.
        argv += ["-oServerAliveInterval=20", "-oServerAliveCountMax=6"]
        with log.open("wb") as errors:
            self._master = run.start([*argv, "-S", self._socket, "127.0.0.1"], stderr=errors)
        while self._master.poll() is None:
            if self._socket.exists():
                return ""
            poll()
            clock.sleep(0.1)
        return log.read_text("utf-8", "replace").strip() or "connection closed"

    @property
    def connected(self) -> bool:
        """Does the connection still stand, as far as this side knows."""
        return self._master is not None and self._master.poll() is None

    def run(
        self,
        command: str,
        *,
        input: bytes | None = None,  # noqa: A002  as in core.run
        timeout: float,
        poll: Callable[[], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> run.Result:
        """Run a shell command in the guest; its status and output.

        Raises `ssh/lost` when the connection broke before the command's end,
        `ssh/timeout` when it did not end in time.
        """
        argv = ["ssh", *self.options(), "-S", str(self._socket), "-oControlMaster=no"]
        try:
            result = run.run(
                [*argv, "127.0.0.1", command], input=input, timeout=timeout, check=False,
                poll=poll, on_line=on_line,
            )  # fmt: skip
        except CosaError as err:
            if err.code != "run/timeout":
                raise
            raise CosaError(
                "ssh/timeout", f"a command in the guest did not end within {timeout:g} s",
                why=f"command: {command[:500]}", exit_class=ExitClass.STEP,
            ) from err  # fmt: skip
        if result.status == LOST and not self._still_there():
            raise CosaError(
                "ssh/lost", "the connection to the guest broke during a command",
                why=f"{result.err.strip()}\ncommand: {command[:500]}".strip(),
                exit_class=ExitClass.STEP,
            )  # fmt: skip
        return run.Result(("ssh", command), result.status, result.out, result.err, result.raw)

    def interactive(self, command: str = "") -> int:
        """A shell, or a command, of the guest on our own terminal; its exit status."""
        argv = ["ssh", *self.options(), "-S", str(self._socket), "-oControlMaster=no", "-t"]
        return run.interactive([*argv, "127.0.0.1", *([command] if command else [])])

    def disconnect(self) -> None:
        """Drop the connection."""
        if self._master is not None:
            run.end(self._master)
            self._master = None

    def _still_there(self) -> bool:
        """A command may itself exit with 255; then the connection still stands."""
        if not self.connected:
            return False
        argv = ["ssh", *self.options(), "-S", str(self._socket), "-O", "check", "127.0.0.1"]
        return run.run(argv, check=False, timeout=20).status == 0


def quote(*words: str) -> str:
    """A shell command from words, each kept whole."""
    return shlex.join(words)
