"""The helper in the guest, run here by the shells it must work in, with a systemctl of ours."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cosa.kola.extrun import KOLET, Asked

# What `systemctl start` starts: the script TEST in the background, its end noted as systemd would.
SYSTEMCTL = """#!/bin/sh
case $1 in
  start)
    ( if sh "$TEST" > "$STATE.out" 2>&1; then echo 0 > "$STATE.partial"; else echo $? > "$STATE.partial"; fi
      mv "$STATE.partial" "$STATE" ) > /dev/null 2>&1 < /dev/null & ;;
  show)
    if [ ! -e "$STATE" ]; then echo ActiveState=active; echo SubState=running; exit; fi
    read -r status < "$STATE"
    case $status in
      0) active=active sub=exited result=success code=1 ;;
      15) active=active sub=exited result=success code=2 ;;
      *) active=failed sub=failed result=exit-code code=1 ;;
    esac
    printf '%s\\n' ActiveState=$active SubState=$sub Result=$result ExecMainCode=$code ExecMainStatus=$status ;;
  *) echo "$*" >> "$STATE.called" ;;
esac
"""

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture(params=SHELLS)
def kolet(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    shell = [request.param, "sh"] if request.param == "busybox" else [request.param]
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "KOLET_RUN": str(tmp_path),
        "KOLET_TMP": str(tmp_path), "STATE": str(tmp_path / "state"), "TEST": str(tmp_path / "test"),
    }  # fmt: skip

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*shell, str(KOLET), *words], env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("exit 0", 0, ""),
        ("exit 1", 1, "kola-runext.service failed (exit-code, status 1)"),
        ("exit 77", 1, "status 77"),
        ("exit 15", 1, "killed by signal 15"),
    ],
)
def test_verdicts(kolet, tmp_path: Path, body: str, status: int, words: str) -> None:
    (tmp_path / "test").write_text(body)
    done, out, err = finish(kolet("run-test-unit", "kola-runext"))
    assert (done, out) == (status, "")
    assert words in err
    assert not list(tmp_path.glob("kolet.*")), "its scratch folder is gone"


@pytest.mark.parametrize("kind", ["reboot", "soft-reboot"])
@pytest.mark.parametrize("mark", ["one", "a \"b\" 'c' \\d $e `f`", "tab\there", "two\nlines"])
def test_a_reboot_waits_for_the_harness(kolet, tmp_path: Path, kind: str, mark: str) -> None:
    (tmp_path / "mark").write_text(mark)
    request = f'sh {KOLET} {kind}-request "$(cat {tmp_path}/mark)"'
    (tmp_path / "test").write_text(f"{request} && touch {tmp_path}/went-on\n")
    status, out, err = finish(kolet("run-test-unit", "kola-runext.service"))
    assert status == 0, err
    asked = Asked.parse(out)
    assert (asked.soft_reboot if kind == "soft-reboot" else asked.reboot) == mark
    assert json.loads(out).keys() == {"Reboot", "SoftReboot"}
    assert not (tmp_path / "went-on").exists()
    acknowledge = tmp_path / "kolet-reboot-ack"
    assert stat.S_ISFIFO(acknowledge.stat().st_mode)
    acknowledge.write_text("\n")
    for _ in range(100):
        if (tmp_path / "went-on").exists():
            return
        time.sleep(0.05)
    pytest.fail("the test was not let go on")


def test_wrappers_and_refusal(kolet, tmp_path: Path) -> None:
    (tmp_path / "test").write_text(f"sh {KOLET} reboot-request x || exit 3\n")
    status, out, err = finish(kolet("run-test-unit", "--deny-reboots", "kola-runext-4"))
    assert (status, out) == (1, "")
    assert "kola-runext-4.service failed (exit-code, status 3)" in err
    assert "may not reboot" in (tmp_path / "state.out").read_text()
    for name in ("reboot", "reboot-prepare", "soft-reboot", "soft-reboot-prepare"):
        script = tmp_path / f"autopkgtest-{name}"
        assert os.access(script, os.X_OK)
        text = script.read_text()
        assert f'kolet {name.removesuffix("-prepare")}-request "$1"' in text
        assert ("systemctl" in text) is (not name.endswith("-prepare"))


@pytest.mark.parametrize(
    "words", [(), ("what",), ("run-test-unit",), ("run-test-unit", "--x", "u"), ("reboot-request",)]
)
def test_bad_words(kolet, words: tuple[str, ...]) -> None:
    status, out, err = finish(kolet(*words))
    assert (status, out) == (2, "")
    assert err


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("GET /a%20b.txt?x=1 HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n"),
        ("HEAD /a%20b.txt HTTP/1.0", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"),
        ("GET /../secret HTTP/1.1", "HTTP/1.1 400"),
        ("GET /%2e%2e/secret HTTP/1.1", "HTTP/1.1 400"),
        ("GET /none HTTP/1.1", "HTTP/1.1 404"),
        ("POST / HTTP/1.1", "HTTP/1.1 405"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", SHELLS)
def test_serving_files(tmp_path: Path, shell: str, request_line: str, answer: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a b.txt").write_text("hi\n")
    (tmp_path / "secret").write_text("secret")
    words = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run(
        [*words, str(KOLET), "serve", str(tmp_path / "web")], check=True, capture_output=True,
        input=f"{request_line}\r\nHost: x\r\n\r\n".encode(),
    )  # fmt: skip
    assert done.stdout.decode().startswith(answer)
    assert b"secret" not in done.stdout
