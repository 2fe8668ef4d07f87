"""Outcomes and the files made of them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cosa.kola import formats, htmlpage
from cosa.kola.console import KernelLog
from cosa.kola.history import Past
from cosa.kola.judges import JUDGES, Bench
from cosa.kola.outcome import Outcome, merged, verdict


def outcome(name: str, result: str = "PASS", **more) -> Outcome:
    return Outcome(name, result, setup=80.0, seconds=2.5, **more)


@pytest.mark.parametrize(
    ("results", "expected"),
    [(["PASS", "SKIP"], "PASS"), (["PASS", "FLAKE"], "PASS"), (["WARN", "PASS"], "WARN"),
     (["WARN", "FAIL"], "FAIL"), ([], "PASS")],
)  # fmt: skip
def test_verdicts(results: list[str], expected: str) -> None:
    assert verdict([outcome(str(n), result) for n, result in enumerate(results)]) == expected


def test_after_a_rerun_both_attempts_are_told() -> None:
    first = [outcome("a", "FAIL", output=["why"]), outcome("b"), outcome("c", "FAIL")]
    again = [outcome("a"), outcome("c", "SKIP")]
    after = merged(first, again)
    assert [one.result for one in after] == ["FLAKE", "PASS", "FAIL"]
    assert after[0].output == ["why", "at the rerun: PASS"]
    assert (after[0].setup, after[0].seconds) == (160.0, 5.0)


@pytest.fixture
def outcomes(tmp_path: Path) -> list[Outcome]:
    place = tmp_path / "it.bad/0123"
    place.mkdir(parents=True)
    (place / "console.txt").write_text("\x1b[0;32mOK\x1b[0m <b>& \x00bye\n")
    (place / "journal.txt").write_text("kernel: \x08hello\n")
    (place / "ignition.json").write_text("{}")
    (place / "ext.x.txt").write_text("own words")
    (place / "timeline.json").write_text(
        json.dumps([["kernel", 5.0], ["userspace", 20.0], ["login", 60.0]])
    )
    return [
        outcome("it.good"),
        outcome("it.bad", "FAIL", output=["it <broke>\nhere"], folders=[place], machine="booted"),
        outcome("it.skip", "SKIP", output=["not now"]),
        outcome("ext.a", bucket="non-exclusive-test-bucket-0"),
        outcome("ext.b", "WARN", bucket="non-exclusive-test-bucket-0", warning="T#1"),
    ]  # fmt: skip


def test_report_json_lists_machines_and_members(outcomes: list[Outcome]) -> None:
    report = formats.report(outcomes, "1.2")
    assert (report["result"], report["platform"], report["version"]) == ("FAIL", "qemu", "1.2")
    tests = {test["name"]: test for test in report["tests"]}
    bucket = tests["non-exclusive-test-bucket-0"]
    assert bucket["subtests"] == [
        "non-exclusive-test-bucket-0/ext.a", "non-exclusive-test-bucket-0/ext.b",
    ]  # fmt: skip
    assert bucket["result"] == "WARN"
    assert tests["it.good"]["duration"] == 82_500_000_000
    assert tests["it.good"]["subtests"] is None


def test_junit_carries_console_and_journal_without_control_characters(outcomes) -> None:
    root = ET.fromstring(formats.junit(outcomes))
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "1", "1")
    bad = suite.find("testcase[@name='it.bad']")
    assert bad.find("failure").get("message") == "it <broke>"
    assert bad.find("system-out").text == "OK <b>& bye\n"
    assert bad.find("system-err").text == "kernel: hello\n"
    assert suite.find("testcase[@name='it.skip']/skipped").get("message") == "not now"


def test_tap(outcomes: list[Outcome]) -> None:
    assert formats.tap(outcomes).splitlines() == [
        "1..5", "ok - it.good", "not ok - it.bad", "ok - it.skip # SKIP not now",
        "ok - non-exclusive-test-bucket-0/ext.a",
        "ok - non-exclusive-test-bucket-0/ext.b # TODO T#1",
    ]  # fmt: skip


class Page(HTMLParser):
    """Sees to it that every tag is closed, and remembers links and words."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_a_machine_that_never_came_up_is_found(tmp_path: Path) -> None:
    place = tmp_path / "it.bad/0123"
    place.mkdir(parents=True)
    (place / "console.txt").write_text("last words\n")
    formats.write(tmp_path, [outcome("it.bad", "FAIL", output=["no boot"])], "")
    assert "last words" in (tmp_path / "reports/junit.xml").read_text()


def test_the_pages_stand_alone(outcomes: list[Outcome], tmp_path: Path) -> None:
    past = [Past("b0", 1, {"it.bad": ("PASS", 3.0)}), Past('b"1', 2, {"it.bad": ("FAIL", 4.0)})]
    htmlpage.write(tmp_path, outcomes, "b1", past)
    index = Page((tmp_path / "index.html").read_text())
    assert "it <broke>" in index.words
    assert "1 warned" in index.words
    for link in index.links:
        page = Page((tmp_path / link).read_text())
        for inner in page.links:
            assert (tmp_path / "pages" / inner).resolve().exists(), inner
    bad = (tmp_path / "pages/it.bad.html").read_text()
    page = Page(bad)
    for words in ("OK <b>& bye", "hello", "own words", "it <broke>\nhere", "userspace", "15.0 s"):
        assert words in page.words
    assert "\x1b" not in bad
    assert bad.count("<i class='") == 2
    assert "<script" not in bad


def test_the_table_of_judges() -> None:
    flags = [judge.flag for judge in JUDGES]
    assert len(flags) == len(set(flags))
    assert {judge.severity for judge in JUDGES} == {"fatal", "error", "warning"}
    assert all(judge.meaning for judge in JUDGES)


def test_selinux_denials_are_heard_in_the_journal(tmp_path: Path) -> None:
    log = tmp_path / "journal.txt"
    denied = (
        'avc:  denied  { read } for  pid=1 comm="x" scontext=a tcontext=b tclass=file permissive='
    )
    log.write_text(
        f"[ 1.0] host kernel: audit: type=1400 audit(1.2:3): {denied}1\n"
        f"[ 1.1] host audit[12]: AVC {denied}0\n"
        f"[ 1.2] host sshd[1]: {denied}0\n"
    )
    found = KernelLog(log).read()
    assert [(f.judge.flag, f.judge.severity) for f in found] == [
        ("selinux-permissive", "warning"), ("selinux", "error"),
    ]  # fmt: skip
    assert Bench({"selinux"}).hear_all(f"{denied}0") == []
