"""The program: what it prints and how it ends."""

import errno
import json
import signal
import subprocess
import sys

import pytest

from cosa.cli import elsewhere
from cosa.cli import main as program
from cosa.cli.main import COMMANDS, load, main
from cosa.core.errors import CosaError, ExitClass


@pytest.fixture(autouse=True)
def _keep_signals():
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_no_command_prints_usage_and_fails(capsys):
    assert main([]) == 1
    out = capsys.readouterr().out
    assert out.startswith("usage: cosa")
    assert "quickstart" in out


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--help"], 1), (["-h"], 1), (["list", "--help"], 0), (["shell", "--help"], 0)],
)
def test_help_ends_as_upstream_does(words, status, capsys):
    assert main(words) == status
    assert capsys.readouterr().out.startswith("usage: cosa")


def test_help_leaks_nothing_of_the_framework(capsys):
    main(["--help"])
    out = capsys.readouterr().out
    for leaked in ("--dry", "--pty", "--echo", "--list-depth", "core-opts", "task"):
        assert leaked not in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cosa ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_declared_and_described(name):
    task = load(name)
    assert task.name.replace("_", "-") == name
    assert task.__doc__
    assert task.__doc__.splitlines()[0].endswith(".")


def test_unknown_command_suggests(capsys):
    assert main(["bulid"]) == ExitClass.USAGE
    assert "did you mean 'build'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["virt-install"], "cosa run"),
        (["offline-update", "disk"], "cosa build qemu"),
        (["build-fast"], "overrides/rpm"),
        (["koji-upload", "--help"], "docs/commands.md"),
    ],
)
def test_commands_of_upstream_that_are_not_here_say_why(words, says, capsys):
    assert main(words) == ExitClass.USAGE
    err = capsys.readouterr().err
    assert says in err
    assert "did you mean" not in err


def test_no_command_is_both_here_and_elsewhere():
    assert not set(COMMANDS) & set(elsewhere.GONE)
    assert not set(elsewhere.GONE) & set(elsewhere.LATER)


def test_a_remote_session_is_not_ignored(monkeypatch, capsys):
    monkeypatch.setenv("COREOS_ASSEMBLER_REMOTE_SESSION", "abc")
    assert main(["basearch"]) == ExitClass.USAGE
    assert "usage/not-here" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["shell", "sh", "-c", "exit 42"], ["shell", "--", "false"]])
def test_the_status_of_a_child_passes_through(words, tmp_path):
    assert main(["--workdir", str(tmp_path), *words]) == (42 if "exit 42" in words else 1)


def test_unknown_log_format(capsys):
    assert main(["--log-format", "xml", "basearch"]) == ExitClass.USAGE
    assert "tree, plain, json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "status", "says"),
    [
        (CosaError("x/y", "it broke", exit_class=ExitClass.STEP), 7, "x/y"),
        (OSError(errno.ENOSPC, "No space left on device", "/d/f"), 6, "env/disk-full"),
        (OSError(errno.ENOSPC, "No space left on device"), 6, "are free there"),
        (OSError(errno.EACCES, "Permission denied", "/d/f"), 6, "env/not-writable"),
        (OSError(errno.EROFS, "Read-only file system", "/d/f"), 6, "/d/f"),
        (OSError(errno.ENODEV, "No such device"), 1, "bug/OSError"),
        (RuntimeError("surprise"), 1, "cosa --debug"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures_have_their_status(monkeypatch, capsys, failure, status, says):
    def fail(*_args):
        raise failure

    monkeypatch.setattr(program, "load", fail)
    assert main(["list"]) == status
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(program, "load", lambda _: 1 / 0)
    assert main(["--debug", "list"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_closed_pipe_is_quiet():
    argv = [sys.executable, "-m", "cosa.cli.main", "meta", "--help"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, 141)
    assert err == b""


def test_json_errors_are_lines_of_json(capsys):
    assert main(["--log-format", "json", "--workdir", "/nowhere", "list"]) == ExitClass.USAGE
    record = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert record["kind"] == "error"
    assert record["code"] == "workdir/not-initialised"


def test_starting_is_light():
    """What makes start-up slow is imported only where it is used."""
    text = "import sys, cosa.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"pydantic", "rich", "solv", "gi", "rpm", "librepo"}
