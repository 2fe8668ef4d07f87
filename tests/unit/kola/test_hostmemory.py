"""Sharing memory out among guests of several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cosa.kola import hostmemory
from cosa.kola.hostmemory import OVERHEAD, available, reserved

HOLDER = """
import sys
from pathlib import Path
from cosa.kola import hostmemory
hostmemory.available = lambda: 2048
with hostmemory.reserved(int(sys.argv[2]), Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def two_gibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostmemory, "available", lambda: 2048)


def held(folder: Path) -> list[int]:
    return [size for _, size in json.loads((folder / "ledger.json").read_text())["held"]]


def holder(folder: Path, size: int) -> subprocess.Popen[str]:
    root = Path(hostmemory.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(size)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_what_is_held_is_given_back(tmp_path: Path) -> None:
    with reserved(1024, tmp_path), reserved(1024, tmp_path):
        assert held(tmp_path) == [1024 + OVERHEAD] * 2, "one process may want several machines"
    assert held(tmp_path) == []
    with reserved(99999, tmp_path):
        assert held(tmp_path) == [99999 + OVERHEAD], "the first is let through, whatever it wants"


def test_others_wait_until_there_is_room(tmp_path: Path) -> None:
    other = holder(tmp_path, 1500)
    done = threading.Event()

    def want() -> None:
        with reserved(1024, tmp_path):
            done.set()

    with reserved(100, tmp_path):
        pass  # small enough beside the other
    thread = threading.Thread(target=want)
    thread.start()
    assert not done.wait(0.3)
    other.communicate()
    assert done.wait(10)
    thread.join()


def test_who_was_killed_holds_nothing(tmp_path: Path) -> None:
    other = holder(tmp_path, 1500)
    other.kill()
    other.communicate()
    with reserved(1500, tmp_path):
        assert held(tmp_path) == [1500 + OVERHEAD]


def test_a_ledger_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text("{")
    with reserved(1, tmp_path):
        assert held(tmp_path) == [1 + OVERHEAD]


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [(None, None, 4096), ("max", "0", 4096), (3 << 30, 1 << 30, 2048)],
)
def test_a_control_group_may_allow_less(tmp_path: Path, limit, used, expected: int) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4194304 kB\n")
    if limit:
        group = tmp_path / "sys/fs/cgroup"
        group.mkdir(parents=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
    assert available(tmp_path) == expected
