"""The pytest plugin on small test files: names, selection, order, verdicts, reports."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.kola import history, plugin, session
from cosa.kola.choice import Choice
from cosa.kola.items import listing
from cosa.kola.session import Run

TESTS = '''
import pytest
from cosa.core.errors import CosaError

kola = pytest.mark.kola

@kola(stage=2)
def test_last(machine): ...

@kola(stage=1, tags=["slow"])
def test_middle(machine): ...

@kola(memory=4096)
def test_big(machine): ...

def test_first(machine):
    """Comes before the staged ones."""

def test_alone(boot): ...

@pytest.mark.parametrize("kind", ["a", "b"])
def test_kinds(kind): ...
'''

VERDICTS = """
import pytest
from cosa.core import events
from cosa.core.errors import CosaError, ExitClass

def test_good():
    with events.step("boot") as step:
        step.note("kernel")
        step.summary = "up"

def test_bad():
    raise CosaError("kola/x", "the wizard is gone", why="he left", exit_class=ExitClass.TESTS)

def test_wrong():
    assert 1 == 2

def test_skipped():
    pytest.skip("no wizard here")

@pytest.mark.kola(fimware="uefi")
def test_marker(boot):
    boot()
"""


@pytest.fixture(autouse=True)
def fresh_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has its own test_it.py; Python would keep the first."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("test_it", "test_broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def wanted(tmp_path: Path) -> Run:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_it.py").write_text(TESTS)
    return Run(folder, tmp_path / "disk", tmp_path / "out", workers=1)


def select(wanted: Run, *globs: str, tags: tuple[str, ...] = ()) -> list[str]:
    run = Run(wanted.tests, wanted.image, wanted.output, globs=globs, tags=tags)
    return [plugin.name_of(item) for item in session.collect(run)]


def test_tests_of_one_machine_stand_together_by_stage(wanted: Run) -> None:
    items = session.collect(wanted)
    assert [plugin.name_of(item) for item in items] == [
        "it.first", "it.middle", "it.last", "it.big", "it.alone", "it.kinds.a", "it.kinds.b",
    ]  # fmt: skip
    groups = [plugin.group_of(item) for item in items]
    assert len(set(groups[:3])) == 1
    assert len(set(groups)) == 5
    assert session.workers_for(1024, items[:3]) == 1
    assert session.workers_for(1 << 40, items) == 1


@pytest.mark.parametrize(
    ("globs", "tags", "expected"),
    [
        (("it.kinds.*",), (), ["it.kinds.a", "it.kinds.b"]),
        (("it.a*", "it.b*"), (), ["it.big", "it.alone"]),
        ((), ("slow",), ["it.middle"]),
        (("it.big",), ("slow",), ["it.middle", "it.big"]),
        (("it.*",), ("!slow",), ["it.first", "it.last", "it.big", "it.alone", "it.kinds.a",
                                 "it.kinds.b"]),
    ],
)  # fmt: skip
def test_selection(
    wanted: Run, globs: tuple[str, ...], tags: tuple[str, ...], expected: list[str]
) -> None:
    assert select(wanted, *globs, tags=tags) == expected


def test_listing_says_what_a_test_is_about(wanted: Run) -> None:
    rows = listing(session.collect(wanted))
    assert rows[0]["Description"] == "Comes before the staged ones."
    assert rows[1]["Tags"] == ["slow"]


def test_a_glob_that_matches_nothing_is_an_error(wanted: Run) -> None:
    with pytest.raises(CosaError) as caught:
        session.run(Run(wanted.tests, wanted.image, wanted.output, globs=("nothing*",)))
    assert (caught.value.code, caught.value.exit_class) == ("kola/no-match", ExitClass.USAGE)
    assert not wanted.output.exists()


def test_a_broken_test_file_names_itself(wanted: Run) -> None:
    (wanted.tests / "test_broken.py").write_text("import nothing_of_the_kind\n")
    with pytest.raises(CosaError) as caught:
        session.run(wanted)
    assert caught.value.code == "kola/load"
    assert "nothing_of_the_kind" in caught.value.why


@pytest.mark.parametrize("workers", [1, 2])
def test_verdicts_and_reports(wanted: Run, capfd: pytest.CaptureFixture[str], workers: int) -> None:
    (wanted.tests / "test_it.py").write_text(VERDICTS)
    with pytest.raises(CosaError) as caught:
        session.run(Run(wanted.tests, wanted.image, wanted.output, workers=workers))
    assert (caught.value.code, caught.value.exit_class) == ("kola/failed", ExitClass.TESTS)
    shown = capfd.readouterr().out
    assert "=== RUN   it.good" in shown
    assert "it.good: kernel\n" in shown
    assert "it.good: up after 0 s\n" in shown
    assert "--- PASS: it.good (" in shown
    assert "the wizard is gone\n    he left" in shown
    assert "1 passed, 1 skipped, 3 failed in" in shown
    assert shown.rstrip().endswith(f"FAIL, output in {wanted.output}")
    report = json.loads((wanted.output / "reports/report.json").read_text())
    assert {test["name"]: test["result"] for test in report["tests"]} == {
        "it.good": "PASS", "it.bad": "FAIL", "it.wrong": "FAIL", "it.skipped": "SKIP",
        "it.marker": "FAIL",
    }  # fmt: skip
    assert (report["result"], report["platform"]) == ("FAIL", "qemu")
    outputs = {test["name"]: test["output"] for test in report["tests"]}
    assert "knows no fimware" in outputs["it.marker"]
    assert "assert 1 == 2" in outputs["it.wrong"]
    assert "ok - it.skipped # SKIP no wizard here\n" in (wanted.output / "test.tap").read_text()
    suite = ET.parse(wanted.output / "reports/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "3", "1")
    page = (wanted.output / "index.html").read_text()
    assert "the wizard is gone" in page
    assert "http" not in page
    assert "assert 1 == 2" in (wanted.output / "pages/it.wrong.html").read_text()


def test_tests_of_one_machine_go_to_one_worker(wanted: Run) -> None:
    fixture = "@pytest.fixture\ndef machine(): ...\n"
    note = "open(os.environ['SEEN'], 'a').write(os.environ['PYTEST_XDIST_WORKER'] + ' ')"
    tests = [f"def test_{n}(machine): time.sleep(0.2); {note}\n" for n in range(4)]
    alone = [f"def test_alone{n}(boot): time.sleep(0.4)\n" for n in range(2)]
    text = "import os, time, pytest\n" + fixture + "".join([*alone, *tests])
    (wanted.tests / "test_it.py").write_text(text)
    seen = wanted.tests / "seen"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEN", str(seen))
        session.run(Run(wanted.tests, wanted.image, wanted.output, workers=2))
    workers = seen.read_text().split()
    assert len(workers) == 4
    assert len(set(workers)) == 1


def test_an_earlier_runs_output_is_replaced_anything_else_is_not(wanted: Run) -> None:
    (wanted.tests / "test_it.py").write_text("def test_good(): ...")
    session.run(wanted)
    (wanted.output / "stale").touch()
    session.run(wanted)
    assert not (wanted.output / "stale").exists()
    (wanted.output / ".harness_temp").unlink()
    with pytest.raises(CosaError) as caught:
        session.run(wanted)
    assert caught.value.code == "kola/output"


def test_unknown_words_reach_pytest(wanted: Run) -> None:
    (wanted.tests / "test_it.py").write_text("def test_a(): ...\ndef test_b(): 1 / 0")
    session.run(Run(wanted.tests, wanted.image, wanted.output, workers=1, extra=("-k", "test_a")))
    with pytest.raises(CosaError) as caught:
        session.run(Run(wanted.tests, wanted.image, wanted.output, extra=("--no-such-word",)))
    assert caught.value.exit_class is ExitClass.USAGE


TWICE = """
import os, pathlib, pytest

def test_flaky():
    seen = pathlib.Path(os.environ["SEEN"])
    if not seen.exists():
        seen.touch()
        pytest.fail("the first time")

@pytest.mark.kola(tags=["steady"])
def test_bad():
    assert False

def test_good(): ...
"""


def results(output: Path) -> dict[str, str]:
    report = json.loads((output / "reports/report.json").read_text())
    return {test["name"]: test["result"] for test in report["tests"]} | {"": report["result"]}


def test_a_rerun_keeps_both_attempts(
    wanted: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEEN", str(wanted.tests / "seen"))
    (wanted.tests / "test_it.py").write_text(TWICE)
    run = replace(wanted, rerun=True)
    with pytest.raises(CosaError) as caught:
        session.run(run)
    assert caught.value.code == "kola/failed"
    assert results(run.output) == {
        "it.flaky": "FLAKE", "it.bad": "FAIL", "it.good": "PASS", "": "FAIL",
    }  # fmt: skip
    assert results(run.output / "rerun") == {"it.flaky": "PASS", "it.bad": "FAIL", "": "FAIL"}
    report = json.loads((run.output / "reports/report.json").read_text())
    told = next(test["output"] for test in report["tests"] if test["name"] == "it.flaky")
    assert "the first time" in told
    assert "at the rerun: PASS" in told
    assert "1 passed, 1 flaky, 1 failed in" in capfd.readouterr().out
    assert session.failed_in(run.output) == ("it.bad",)
    (wanted.tests / "seen").unlink()
    assert session.run(replace(run, globs=("it.flaky",))) == 0
    (wanted.tests / "seen").unlink()
    with pytest.raises(CosaError):
        session.run(replace(run, globs=("it.flaky",), flaky_tags=("steady",)))
    past = history.add(run.output, "b", [])
    assert [one.results.get("it.flaky", ("", 0))[0] for one in past] == [
        "FLAKE",
        "FLAKE",
        "FAIL",
        "",
    ]


def test_denylists_skip_and_warn(wanted: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN", str(wanted.tests / "seen"))
    (wanted.tests / "test_it.py").write_text(TWICE)
    path = wanted.tests / "kola-denylist.yaml"
    path.write_text(
        "- {pattern: it.bad, tracker: T, warn: true}\n- {pattern: it.flaky, tracker: U}\n"
    )
    run = replace(wanted, choice=Choice(denylists=(str(path),)), warn_77=True)
    assert session.run(run) == 77
    assert results(run.output) == {
        "it.flaky": "SKIP", "it.bad": "WARN", "it.good": "PASS", "": "WARN",
    }  # fmt: skip
    text = (run.output / "test.tap").read_text()
    assert "ok - it.flaky # SKIP denylisted: U" in text
    assert "ok - it.bad # TODO denylisted: T" in text
    assert session.run(replace(run, warn_77=False)) == 0
    assert session.run(replace(run, globs=("it.flaky",))) == 0
    path.write_text("- {pattern: it.bad, patern: x}\n")
    with pytest.raises(CosaError, match="unknown key 'patern'"):
        session.run(run)


def test_copies_and_shards(wanted: Run) -> None:
    run = replace(wanted, choice=Choice(multiply=2), globs=("it.alone*", "it.kinds*"))
    names = [plugin.name_of(item) for item in session.collect(run)]
    assert sorted(names) == [
        "it.alone0", "it.alone1", "it.kinds.a0", "it.kinds.a1", "it.kinds.b0", "it.kinds.b1",
    ]  # fmt: skip
    everything = {plugin.name_of(item) for item in session.collect(wanted)}
    parts = [
        {plugin.name_of(i) for i in session.collect(replace(wanted, choice=Choice(sharding=s)))}
        for s in ("hash:1/2", "hash:2/2")
    ]
    assert parts[0] | parts[1] == everything
    assert not parts[0] & parts[1]


def external(folder: Path, name: str, block: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text("raise SystemExit('this is not ours to load')")
    path = folder / "tests/kola" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{block}\n")
    path.chmod(0o755)


def test_external_tests_are_pytests_too(wanted: Run, tmp_path: Path) -> None:
    project = tmp_path / "p"
    external(project, "one", "## kola:\n##   exclusive: false\n##   tags: quick")
    external(project, "two", "## kola:\n##   exclusive: false\n##   description: Second of all")
    external(project, "alone/test.sh", "## kola:\n##   architectures: s390x")
    external(project, "own", "## kola:\n##   minMemory: 4096")
    run = replace(wanted, choice=Choice(roots=(f"ext.p={project}/tests/kola",)), globs=("ext.*",))
    items = session.collect(run)
    groups = {plugin.name_of(item): plugin.group_of(item) for item in items}
    assert groups == {
        "ext.p.one": "non-exclusive-test-bucket-0", "ext.p.two": "non-exclusive-test-bucket-0",
        "ext.p.own": "ext.p.own",
    }  # fmt: skip
    rows = {row["Name"]: row for row in listing(items)}
    assert rows["ext.p.two"]["Description"] == "Second of all"
    assert rows["ext.p.one"]["Tags"] == ["external", "quick"]
    twice = replace(run, choice=replace(run.choice, multiply=2))
    assert len({item.test.unit for item in session.collect(twice)}) == 5
    picked = replace(run, extra=("-k", "two"))
    assert [plugin.group_of(item) for item in session.collect(picked)] == ["ext.p.two"]
    by_node = replace(wanted, choice=run.choice, extra=("--deselect", items[0].nodeid))
    assert plugin.name_of(items[0]) not in map(plugin.name_of, session.collect(by_node))
    assert "it.first" in map(plugin.name_of, session.collect(replace(run, globs=())))
    ident = f"{wanted.tests}/test_it.py::test_first"
    assert [plugin.name_of(i) for i in session.collect(replace(wanted, extra=(ident,)))] == [
        "it.first"
    ]
    with pytest.raises(CosaError, match=r"no test matches: ext\.p\.alone"):
        session.run(replace(run, globs=("ext.p.alone",)))


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_external_test_fails_itself_only(wanted: Run, tmp_path: Path, workers: int) -> None:
    (wanted.tests / "test_it.py").write_text("def test_good(): ...")
    project = tmp_path / "p"
    external(project, "meta", "## kola:\n##   exlusive: false")
    external(project, "config/test.sh")
    (project / "tests/kola/config/config.fcc").touch()
    run = replace(
        wanted, workers=workers, choice=Choice(roots=(f"ext.p={project}/tests/kola",)),
        globs=("ext.*", "it.*"),
    )  # fmt: skip
    with pytest.raises(CosaError):
        session.run(run)
    assert results(run.output) == {
        "it.good": "PASS", "ext.p.meta": "FAIL", "ext.p.config": "FAIL", "": "FAIL",
    }  # fmt: skip
    text = (run.output / "reports/report.json").read_text()
    assert "unknown key 'exlusive'" in text
    assert "meta:3:1" in text


def test_an_interrupted_run_reports_what_it_has(wanted: Run) -> None:
    (wanted.tests / "test_it.py").write_text(
        "def test_a(): ...\ndef test_b(): raise KeyboardInterrupt\ndef test_c(): ...\n"
    )
    with pytest.raises(KeyboardInterrupt):
        session.run(wanted)
    assert results(wanted.output) == {
        "it.a": "PASS", "it.b": "FAIL", "it.c": "SKIP", "": "FAIL",
    }  # fmt: skip
    assert "not run: the session was interrupted" in (wanted.output / "index.html").read_text()
