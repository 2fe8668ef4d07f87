"""Ids, the cache and locks."""

import os
import subprocess
import sys
import time

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Store, lock, step_id


def test_ids_depend_on_name_and_inputs_not_on_order():
    assert step_id("a", {"x": 1, "y": [2]}) == step_id("a", {"y": [2], "x": 1})
    others = {
        step_id("b", {"x": 1}), step_id("a", {"x": 2}), step_id("a", {"x": "1"}), step_id("a", {}),
    }  # fmt: skip
    assert len(others) == 4


def test_a_result_is_whole_or_absent(tmp_path):
    store = Store(tmp_path)
    assert store.find("s", {"a": 1}) is None

    def fail():
        with store.produce("s", {"a": 1}) as out:
            (out / "f").write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert store.find("s", {"a": 1}) is None
    with store.produce("s", {"a": 1}) as out:
        (out / "f").write_text("whole")
    found = store.find("s", {"a": 1})
    assert found is not None
    assert (found / "f").read_text() == "whole"
    assert store.find("s", {"a": 2}) is None


def test_the_first_of_two_wins(tmp_path):
    store = Store(tmp_path)
    with store.produce("s", {}) as one, store.produce("s", {}) as two:
        (one / "f").write_text("one")
        (two / "f").write_text("two")
    assert store.find("s", {}) is not None


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path):
    path = tmp_path / "lock"
    text = (
        "import sys, time; from pathlib import Path; from cosa.core import store\n"
        "with store.lock(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", text, path], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(CosaError) as caught, lock(path, "a build"):
        pass
    assert caught.value.exit_class is ExitClass.BUSY
    assert str(holder.pid) in caught.value.what
    holder.kill()
    holder.wait()
    holder.stdout.close()
    started = time.monotonic()
    with lock(path, "a build"):
        assert path.read_text() == str(os.getpid())
    assert time.monotonic() - started < 1
