"""Steps, their parents, and work side by side."""

import threading

import pytest

from cosa.core import events, parallel
from cosa.core.errors import CosaError, ExitClass, Problem, Problems, Where


def recorded(work):
    seen = []
    with events.sink(seen.append):
        work()
    return seen


def test_steps_know_their_parents_across_threads():
    def work():
        with events.step("outer"):
            parallel.each(lambda n: events.note(f"item {n}"), [1, 2])
            parallel.side_by_side(lambda: inner("a"), lambda: inner("b"))

    def inner(name):
        with events.step(name):
            pass

    seen = recorded(work)
    outer = seen[0].step
    assert {e.parent for e in seen if e.kind == "start"} == {0, outer}
    assert {e.step for e in seen if e.kind == "note"} == {outer}


def test_outcomes():
    def work():
        with events.step("ran") as step:
            step.size = 3
        with events.step("reused") as step:
            step.reuse("why")
        with pytest.raises(ValueError), events.step("failed"):
            raise ValueError

    ends = {e.name: (e.outcome, e.size, e.text) for e in recorded(work) if e.kind == "end"}
    assert ends == {
        "ran": ("ran", 3, ""), "reused": ("reused", 0, "why"), "failed": ("failed", 0, ""),
    }  # fmt: skip


def test_results_in_order_and_first_failure_after_all_have_stopped():
    assert parallel.each(lambda n: n * n, [3, 1, 2], 2) == [9, 1, 4]
    begun, stopped = threading.Event(), threading.Event()

    def fail():
        begun.wait(5)
        raise CosaError("a/b", "first")

    def go_on():
        begun.set()
        stopped.wait(0.05)
        stopped.set()

    with pytest.raises(CosaError, match="first"):
        parallel.side_by_side(fail, go_on)
    assert stopped.is_set()


def test_jobs_can_be_set(monkeypatch):
    monkeypatch.setenv("COSA_JOBS", "7")
    assert parallel.jobs() == 7


def test_problems_come_all_at_once_in_file_order():
    problems = Problems()
    problems.add("a/late", "late", Where("f", 9, 1))
    with problems.collecting():
        raise CosaError("a/early", "early", Where("f", 2, 1), fix="mend")
    with pytest.raises(CosaError) as caught:
        problems.raise_if_any("the file is wrong", ExitClass.UNTRUSTED)
    assert [p.what for p in caught.value.problems] == ["early", "late"]
    assert caught.value.exit_class is ExitClass.UNTRUSTED


def test_a_lone_problem_speaks_itself():
    problems = Problems()
    problems.extend([Problem("a/b", "this", Where("f", 1, 2), fix="that")])
    with pytest.raises(CosaError, match="f:1:2: this") as caught:
        problems.raise_if_any("summary")
    assert caught.value.fix == "that"


def test_no_problem_raises_nothing():
    Problems().raise_if_any("x")
