"""Hostile input, a little of it each time: what was found once, and some made anew.

tests/fuzz/run.py gives the same readers a hundred thousand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis")

FUZZ = Path(__file__).resolve().parents[2] / "fuzz"
sys.path.insert(0, str(FUZZ))

import harness  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from targets import all_targets  # noqa: E402

from cosa.core.errors import CosaError  # noqa: E402

TARGETS = all_targets()
INPUTS = 120


@pytest.fixture(scope="module")
def box() -> Iterator[harness.Box]:
    made = harness.Box()
    yield made
    made.close()


@pytest.mark.parametrize("name", TARGETS)
def test_made_anew(name: str, box: harness.Box) -> None:
    target, tally = TARGETS[name], harness.Tally()

    @settings(
        max_examples=INPUTS, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.composite(target.make)())
    def check(data: bytes) -> None:
        harness.try_one(target, data, box, tally)

    check()
    assert tally.inputs >= INPUTS // 2
    # Inputs that are all refused at the door would test the door only.
    assert tally.accepted or len(tally.codes) > 1, tally.codes


def found() -> list[Path]:
    return sorted(path for path in (FUZZ / "corpus").glob("*/*") if path.parent.name in TARGETS)


@pytest.mark.parametrize("path", found(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_found_once(path: Path, box: harness.Box) -> None:
    harness.try_one(TARGETS[path.parent.name], path.read_bytes(), box, harness.Tally())


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda _, folder: folder.with_name("stray").write_text("x"), "outside"),
        (lambda *_: Path("/tmp/cosa-stray").write_text("x"), "outside"),
        (lambda *_: {}["x"], "KeyError"),
        (lambda *_: _say("env/disk-full", "x"), "env/disk-full"),
        (lambda *_: _say("a/b", " "), "says nothing"),
        (lambda *_: _say("a/b", "x", "y\n" * 100), "lines of"),
    ],
)
def test_the_judge_sees(run, words: str, box: harness.Box) -> None:
    target = harness.Target("x", run, lambda _: b"")
    try:
        with pytest.raises(harness.Finding, match=words):
            harness.try_one(target, b"", box, harness.Tally())
    finally:
        Path("/tmp/cosa-stray").unlink(missing_ok=True)
        (box.top / "stray").unlink(missing_ok=True)


def _say(code: str, what: str, why: str = "") -> None:
    raise CosaError(code, what, why=why)
