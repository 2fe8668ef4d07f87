"""The one door for processes.

Programs get an argv (never a shell string), a scrubbed environment and a
closed stdin. What they print is kept, bounded, so that an error can show its
tail. A process started here does not outlive cosa: an exception ends its whole
group, and the kernel ends it should cosa itself be killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cosa.core import clock
from cosa.core.errors import CosaError, ExitClass

TAIL_LINES = 40
NO_SPACE = os.strerror(errno.ENOSPC)  # in the C locale, which programs run in
OUTPUT_LIMIT = 256 * 1024 * 1024

# Besides these only what the caller asks for reaches a program: a build must
# not depend on what happens to be exported. The list is what TLS and proxies need.
_PASSED = (
    "PATH", "HOME", "TMPDIR", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR",
)  # fmt: skip

# The kernel ends the program when the thread that started it is gone. A preexec_fn
# would do it without a helper, but is not safe beside threads.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")


_living: tuple[subprocess.Popen[bytes], ...] = ()  # replaced, never changed: handlers read it
_registering = threading.Lock()
_stopping = threading.Event()


@dataclass(frozen=True)
class Result:
    """What a finished program left: exit status and what it printed."""

    argv: tuple[str, ...]
    status: int
    out: str
    err: str
    raw: bytes = b""


def base_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment programs run in, plus `extra`."""
    env = {key: os.environ[key] for key in _PASSED if key in os.environ}
    env["LANG"] = env["LC_ALL"] = "C.UTF-8"
    return env | dict(extra or {})


def which(program: str) -> str:
    """Path of a program. Raises `env/missing-tool` with the way to mend it."""
    found = shutil.which(program)
    if not found:
        raise CosaError(
            "env/missing-tool",
            f"the program '{program}' is not installed",
            fix="run through bin/cosa, which brings every tool, or install it: see `cosa doctor`",
            exit_class=ExitClass.ENVIRONMENT,
        )
    return found


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    clean_env: bool = False,
    input: bytes | None = None,  # noqa: A002  the name subprocess gave it
    stdout: IO[bytes] | None = None,
    timeout: float | None = None,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    poll: Callable[[], None] | None = None,
    pass_fds: Sequence[int] = (),
    tied: bool = True,
) -> Result:
    """Run a program to its end.

    `env` is added to the scrubbed environment, or is all of it with
    `clean_env`. `stdout` sends output to an open file instead of memory.
    `on_line` sees each line of stderr as it comes; `poll` is called several
    times a second while we wait, and ends the program by raising. `tied` False is for
    programs that see to it themselves that they end with us. Raises `run/failed`
    (class STEP) for a non-zero status unless `check` is false, `run/timeout`
    after `timeout` seconds, `env/missing-tool` if there is no such program.
    """
    args = tuple(os.fspath(arg) for arg in argv)
    process = start(
        args, cwd=cwd, env=env, clean_env=clean_env,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds,
        tied=tied,
    )  # fmt: skip
    try:
        out, err = _communicate(process, input, timeout, on_line, poll)
    except subprocess.TimeoutExpired as expired:
        end(process)
        raise CosaError(
            "run/timeout",
            f"{args[0]} did not finish within {timeout:g} s and was stopped",
            why=f"command: {shlex.join(args)}",
            exit_class=ExitClass.STEP,
        ) from expired
    except BaseException:
        end(process)
        raise
    result = Result(args, process.returncode, out.decode("utf-8", "replace"), err, out)
    if check and result.status != 0:
        raise failed(result)
    return result


def failed(result: Result, what: str = "") -> CosaError:
    """The error for a program that ended badly, with its last lines and a pasteable command."""
    how = f"exit status {result.status}"
    if result.status < 0:
        how = f"killed by {signal.Signals(-result.status).name}"
    tail = "\n".join((result.err.strip() or result.out.strip()).splitlines()[-TAIL_LINES:])
    what = what or f"{os.path.basename(result.argv[0])} failed ({how})"
    if NO_SPACE in tail:
        return disk_full(what, tail)
    return CosaError(
        "run/failed",
        what,
        why=f"{tail}\ncommand: {shlex.join(result.argv)[:2000]}".strip(),
        exit_class=ExitClass.STEP,
    )


def disk_full(what: str, why: str) -> CosaError:
    """The error for a program that found no room left."""
    return CosaError(
        "env/disk-full", what, why=why,
        fix="free some space, or choose another place with --workdir",
        exit_class=ExitClass.ENVIRONMENT,
    )  # fmt: skip


def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    clean_env: bool = False,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    tied: bool = True,
) -> subprocess.Popen[bytes]:
    """Start a program that runs beside us (QEMU, a server); stop it with `end()`.

    It also ends when the calling *thread* does, so long-lived programs belong
    to the main thread. Raises `env/missing-tool`.
    """
    args = [os.fspath(arg) for arg in argv]
    args[0] = which(args[0])
    if _stopping.is_set() and threading.current_thread() is not threading.main_thread():
        raise CosaError("run/stopping", "cosa is being stopped", exit_class=ExitClass.INTERRUPTED)
    process = subprocess.Popen(
        [which(_TIED[0]), *_TIED[1:], *args] if tied else args, cwd=cwd,
        env=dict(env or {}) if clean_env else base_env(env),
        stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=tuple(pass_fds),
        start_new_session=True,
    )  # fmt: skip
    _register(process)
    return process


def _register(process: subprocess.Popen[bytes]) -> None:
    global _living  # noqa: PLW0603  a signal handler has no other way to know of it
    with _registering:
        _living = (*(old for old in _living if old.returncode is None), process)


def stop_all() -> None:
    """Tell every program under way to end, and let threads start no more.

    For signal handlers: threads waiting for programs come back at once, so
    that an interrupted cosa is gone at once, too.
    """
    _stopping.set()
    for process in _living:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def end(process: subprocess.Popen[bytes], grace: float = 2.0) -> None:
    """Stop a process and everything it started: politely, then for good."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            break
        try:
            process.wait(grace)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


@contextmanager
def running(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does."""
    process = start(argv, env=env, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        end(process)


def interactive(argv: Sequence[str | os.PathLike[str]], cwd: Path | None = None) -> int:
    """Run a program on our own terminal (a shell, ssh); its exit status."""
    args = [os.fspath(arg) for arg in argv]
    which(args[0])
    return subprocess.run(args, cwd=cwd, check=False).returncode


def _communicate(
    process: subprocess.Popen[bytes],
    data: bytes | None,
    timeout: float | None,
    on_line: Callable[[str], None] | None,
    poll: Callable[[], None] | None,
) -> tuple[bytes, str]:
    """Feed and drain a process; stderr keeps only its tail, so noise cannot fill memory."""
    lines: deque[str] = deque(maxlen=2000)
    chunks: list[bytes] = []

    def drain_err() -> None:
        assert process.stderr is not None
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            lines.append(line)
            if on_line:
                on_line(line)

    def drain_out() -> None:
        assert process.stdout is not None
        size = 0
        while chunk := process.stdout.read(1 << 16):
            size += len(chunk)
            if size <= OUTPUT_LIMIT:
                chunks.append(chunk)

    readers = [threading.Thread(target=drain_err, daemon=True)]
    if process.stdout:
        readers.append(threading.Thread(target=drain_out, daemon=True))
    for reader in readers:
        reader.start()
    if process.stdin:
        try:
            process.stdin.write(data or b"")
            process.stdin.close()
        except BrokenPipeError:
            pass
    _wait(process, timeout, poll)
    for reader in readers:
        reader.join()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    return b"".join(chunks), "\n".join(lines)


def _wait(
    process: subprocess.Popen[bytes], timeout: float | None, poll: Callable[[], None] | None
) -> None:
    """`Popen.wait` that looks round while it waits, and wakes at once when the process ends."""
    # Popen.wait with a timeout sleeps in steps of up to 50 ms, which adds up over many programs.
    until = clock.monotonic() + timeout if timeout is not None else float("inf")
    pidfd = os.pidfd_open(process.pid)
    waiter = select.poll()
    waiter.register(pidfd, select.POLLIN)
    try:
        while True:
            left = until - clock.monotonic()
            step = min(left, 0.25) if poll else left
            if waiter.poll(max(0.0, step) * 1000 if step < float("inf") else None):
                break
            if until - clock.monotonic() <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout or 0.0)
            if poll:
                poll()
    finally:
        os.close(pidfd)
    process.wait()
