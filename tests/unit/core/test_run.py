"""The one door for processes."""

import os
import subprocess
import sys
import threading
import time

import pytest

from cosa.core import parallel, run
from cosa.core.errors import CosaError, ExitClass


def sh(text, **options):
    return run.run(["sh", "-c", text], **options)


def test_output_and_status_are_kept():
    result = sh("echo out; echo err >&2; exit 3", check=False)
    assert (result.out, result.err, result.status) == ("out\n", "err", 3)


def test_failure_shows_the_tail_and_a_pasteable_command():
    with pytest.raises(CosaError) as caught:
        sh("for n in $(seq 100); do echo line $n >&2; done; exit 1")
    why = caught.value.why
    assert caught.value.exit_class is ExitClass.STEP
    assert "line 100" in why
    assert "line 20\n" not in why
    assert "command: sh -c" in why


def test_death_by_signal_is_said():
    with pytest.raises(CosaError) as caught:
        sh("kill -SEGV $$")
    assert "SIGSEGV" in caught.value.what


def test_input_reaches_the_program_and_stdin_is_closed_without():
    assert sh("cat", input=b"hello").out == "hello"
    assert sh("cat").out == ""
    assert sh("exec <&-; true", input=b"x" * 1000000).status == 0


def test_environment_is_scrubbed(monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    result = sh("env", env={"MINE": "2"})
    assert "SECRET" not in result.out
    assert "MINE=2" in result.out
    assert "LC_ALL=C.UTF-8" in result.out


def test_a_hanging_program_is_ended_with_its_children(tmp_path):
    mark = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(CosaError) as caught:
        sh(f"sleep 77 & echo $! > {mark}; wait", timeout=0.3)
    assert caught.value.code == "run/timeout"
    assert time.monotonic() - started < 5
    assert gone(int(mark.read_text()))


def test_nothing_outlives_a_killed_cosa(tmp_path):
    mark = tmp_path / "pid"
    text = (
        "import sys; from cosa.core import run\n"
        f"run.run(['sh', '-c', 'echo $$ > {mark}; exec sleep 77'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text])
    deadline = time.monotonic() + 10
    while not (mark.exists() and mark.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert gone(int(mark.read_text()))


def test_missing_program():
    with pytest.raises(CosaError) as caught:
        run.run(["no-such-program"])
    assert caught.value.code == "env/missing-tool"
    assert caught.value.exit_class is ExitClass.ENVIRONMENT


def gone(pid):
    """Whether a process ends within two seconds; a zombie nobody waits for counts."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_stopping_ends_what_runs_and_starts_no_more(monkeypatch):
    """As a signal handler does while threads wait for programs."""
    monkeypatch.setattr(run, "_stopping", threading.Event())
    timer = threading.Timer(0.3, run.stop_all)
    timer.start()
    started = time.monotonic()
    with pytest.raises(CosaError):
        parallel.each(lambda _: sh("exec sleep 77"), range(20), 2)
    assert time.monotonic() - started < 10
    timer.join()
