"""Verbs of `cosa kola` that need no machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cosa.cli import kola, kolaspawn, kolaverbs, kolawords
from cosa.core import parallel
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import probe


def test_check_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("all is well\n")
    bad.write_bytes(b"\x1b[1mOops: 0002\x1b[0m\r\n\xff Kernel panic - not syncing: x\n")
    assert kolaverbs.check_console([str(good)]) == 0
    assert kolaverbs.check_console([str(good), str(bad)]) == ExitClass.TESTS
    assert capsys.readouterr().out.splitlines() == [
        f"{bad}: error: kernel oops: Oops: 0002",
        f"{bad}: fatal: kernel panic: \ufffd Kernel panic - not syncing: x",
    ]
    for words in (["--no-such"], [str(tmp_path / "none")]):
        with pytest.raises(CosaError):
            kolaverbs.check_console(words)


def test_http_server_serves_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("hi")
    argv = [sys.executable, "-m", "cosa.cli.main", "kola", "http-server", "-P", "0"]
    environment = os.environ | {"PYTHONPATH": str(Path(kola.__file__).parents[2])}
    server = subprocess.Popen(
        argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout
        port = server.stdout.readline().strip().rstrip("/").rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello", timeout=10) as answer:
            assert answer.read() == b"hi"
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == ExitClass.INTERRUPTED
        if server.stdout:
            server.stdout.close()


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(CosaError) as caught:
            kolaverbs.http_server(["-P", str(taken.getsockname()[1])])
    assert caught.value.exit_class is ExitClass.ENVIRONMENT
    for words in (["-P"], ["-P", "x"], ["--port=99999"], ["folder"]):
        with pytest.raises(CosaError) as caught:
            kolaverbs.http_server(words)
        assert caught.value.exit_class is ExitClass.USAGE


def values(*words: str) -> dict:
    given = {option.key: option.default for option in kolawords.OPTIONS}
    return dict(kolawords.split(words, given).values)


def test_appended_configs_and_debugged_units() -> None:
    assert kola._appended(values()) == ""
    config = kola._appended(values("--debug-systemd-unit", "sshd"))
    assert '"sshd.service"' in config
    assert "SYSTEMD_LOG_LEVEL=debug" in config


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a"], ["ext.a", "ext.config", "ext.tests"]),
        ([], ["ext.here", "ext.config", "ext.tests"]),
        (["src/config"], ["ext.config", "ext.tests"]),
    ],
)
def test_where_external_tests_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], expected: list[str]
) -> None:
    for folder in ("here/a/tests/kola", "here/src/config/tests/kola", "here/tests"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    roots = kola._roots(given, Path("src/config").absolute(), tmp_path / "tests")
    assert [root.partition("=")[0] for root in roots] == expected


def test_words_of_spawn() -> None:
    wish = kolaspawn.parse(["-c", "3", "-u", "x.bu", "-k", "-x", "id", "--json-info-fd=5"])
    assert (wish.count, wish.userdata, wish.keys, wish.command) == (3, "x.bu", True, "id")
    assert wish.json_fd == 5
    assert kolaspawn.parse([]).count == 1
    for words in (["-c", "0"], ["-c", "many"], ["--detach"], ["--no-such"]):
        with pytest.raises(CosaError) as caught:
            kolaspawn.parse(words)
        assert caught.value.exit_class is ExitClass.USAGE


@pytest.mark.parametrize(
    ("accelerator", "load", "expected"),
    [("kvm", 0.1, 1.0), ("kvm", 12.0, 4.0), ("tcg", 0.0, 2.0), ("tcg", 9.0, 3.0)],
)
def test_a_slow_or_busy_machine_gets_more_time(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, load: float, expected: float
) -> None:
    found = probe.Accelerators("q", None, 1.6)
    monkeypatch.setattr(probe, "accelerators", lambda _cache: found)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(parallel, "jobs", lambda: 2)
    assert kola._slowness(accelerator) == expected
