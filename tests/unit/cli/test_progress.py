"""Progress as lines, as JSON, as a tree."""

import io
import json
import threading

import pytest

from cosa.cli.progress import LiveTree, PlainLines, Recorder, shown, table
from cosa.core import events


def work():
    with events.step("build") as step:
        with events.step("fetch") as inner:
            inner.progress(1, 2, "packages")
            inner.size = 3 << 20
        with events.step("compose") as inner:
            inner.reuse("same as before")
        events.warn("old key")
        step.summary = "1.2.3"


def test_plain_lines():
    out = io.StringIO()
    with shown("plain", out):
        work()
    lines = out.getvalue().splitlines()
    assert lines[0] == "build ..."
    assert lines[1] == "  fetch ..."
    assert lines[2].startswith("  fetch: ")
    assert lines[2].endswith("3 MiB")
    assert any("compose: reused" in line and "same as before" in line for line in lines)
    assert "  warning: old key" in lines
    assert lines[-1].endswith("1.2.3")


def test_plain_is_chosen_where_there_is_no_terminal():
    out = io.StringIO()
    with shown("auto", out):
        work()
    assert "\x1b" not in out.getvalue()


def test_json_lines():
    out = io.StringIO()
    with shown("json", out):
        work()
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {"start", "progress", "warn", "end"} <= {record["kind"] for record in records}
    assert [r["outcome"] for r in records if r["kind"] == "end"] == ["ran", "reused", "ran"]


def test_tree_gives_the_terminal_back_and_keeps_what_ran(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    with shown("tree", out):
        work()
    text = out.getvalue()
    assert "fetch" in text
    assert "reused" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")


def test_failed_steps_are_said():
    out = io.StringIO()
    with shown("plain", out), pytest.raises(ValueError), events.step("solve"):
        raise ValueError
    assert "solve: failed" in out.getvalue()


def test_names_from_outside_cannot_steer_the_terminal():
    out = io.StringIO()
    with events.sink(PlainLines(out).take), events.step("install \x1b[2Jevil"):
        pass
    assert "\x1b" not in out.getvalue()


def test_closing_table_has_the_top_steps_in_order():
    recorder = Recorder()
    with events.sink(recorder.take):
        work()
    assert [(line.name, line.outcome) for line in recorder.lines] == [
        ("fetch", "ran"), ("compose", "reused"),
    ]  # fmt: skip
    text = table(recorder.lines, 12.3)
    assert "3 MiB" in text
    assert text.splitlines()[-1].split() == ["in", "all", "12.3", "s"]


def test_tree_and_refreshing_thread_never_wait_for_each_other(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(LiveTree, "REFRESH", 1000)
    done = threading.Event()

    def talk():
        with shown("tree", io.StringIO()), events.step("build"):
            for number in range(300):
                events.note(f"note {number}")
                with events.step(f"step {number}"):
                    pass
        done.set()

    threading.Thread(target=talk, daemon=True).start()
    assert done.wait(20)
