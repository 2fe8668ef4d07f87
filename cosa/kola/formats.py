"""Reports as files: upstream's report.json, JUnit's XML, TAP."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from cosa.core import fs
from cosa.kola.judges import plain
from cosa.kola.outcome import Outcome, verdict

_KEPT = 200_000  # characters of a log that go into JUnit's file
# Characters XML 1.0 cannot carry, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(folder: Path, outcomes: Sequence[Outcome], version: str, tapfile: str = "") -> None:
    """All of them, each whole or not there."""
    for outcome in outcomes:
        outcome.folders = _folders(folder, outcome)
    reports = folder / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    fs.atomic_write(reports / "report.json", json.dumps(report(outcomes, version), indent=1) + "\n")
    fs.atomic_write(reports / "junit.xml", junit(outcomes))
    fs.atomic_write(folder / "test.tap", tap(outcomes))
    if tapfile:
        fs.atomic_write(Path(tapfile), tap(outcomes))


def _folders(folder: Path, outcome: Outcome) -> list[Path]:
    """The machines' folders; one that never came up is found by the test's own name."""
    own = folder / outcome.name
    found = [path for path in sorted(own.iterdir()) if path.is_dir()] if own.is_dir() else []
    return list(dict.fromkeys([*outcome.folders, *found]))


def report(outcomes: Sequence[Outcome], version: str) -> dict[str, object]:
    """report.json's content (mantle/harness/reporters/json.go): shared machines and their tests."""
    tests: list[dict[str, object]] = []
    for bucket in dict.fromkeys(outcome.bucket for outcome in outcomes if outcome.bucket):
        members = [outcome for outcome in outcomes if outcome.bucket == bucket]
        names = [member.full_name for member in members]
        seconds = sum(member.setup + member.seconds for member in members)
        tests.append(_test(bucket, verdict(members), seconds, subtests=names))
    for outcome in outcomes:
        seconds = outcome.setup + outcome.seconds
        text = "\n".join(outcome.output)
        tests.append(
            _test(outcome.full_name, outcome.result, seconds, output=text, machine=outcome.machine)
        )
    return {
        "tests": tests, "result": verdict(outcomes), "platform": "qemu", "version": version,
    }  # fmt: skip


def _test(
    name: str,
    result: str,
    seconds: float,
    *,
    subtests: list[str] | None = None,
    output: str = "",
    machine: str = "",
) -> dict[str, object]:
    return {
        "name": name, "subtests": subtests, "result": result, "duration": int(seconds * 1e9),
        "output": output, "machine": machine,
    }  # fmt: skip


def tap(outcomes: Sequence[Outcome]) -> str:
    """Test Anything Protocol, one line a test."""
    lines = [f"1..{len(outcomes)}"]
    for outcome in outcomes:
        good = "not ok" if outcome.result == "FAIL" else "ok"
        # A number sign starts a directive.
        remark = {
            "SKIP": f" # SKIP {outcome.reason}",
            "WARN": f" # TODO {outcome.warning}",
            "FLAKE": " # flaky: passed when run again",
        }.get(outcome.result, "")
        lines.append(f"{good} - {outcome.full_name.replace('#', '')}{remark}")
    return "\n".join(lines) + "\n"


def junit(outcomes: Sequence[Outcome], classname: str = "kola") -> bytes:
    """JUnit's XML. What failed carries its console (system-out) and journal (system-err)."""
    root = ET.Element("testsuites")
    results = [outcome.result for outcome in outcomes]
    seconds = sum(outcome.setup + outcome.seconds for outcome in outcomes)
    suite = ET.SubElement(
        root, "testsuite", name="kola", tests=str(len(outcomes)), errors="0",
        failures=str(results.count("FAIL")), skipped=str(results.count("SKIP")),
        time=f"{seconds:.3f}",
    )  # fmt: skip
    for outcome in outcomes:
        took = f"{outcome.setup + outcome.seconds:.3f}"
        case = ET.SubElement(
            suite, "testcase", classname=classname, name=_clean(outcome.full_name), time=took
        )
        text = _clean("\n".join(outcome.output))
        if outcome.result == "SKIP":
            ET.SubElement(case, "skipped", message=_clean(outcome.reason))
        elif outcome.result == "FAIL":
            ET.SubElement(case, "failure", message=_clean(outcome.reason)).text = text
            ET.SubElement(case, "system-out").text = log(outcome, "console.txt")
            ET.SubElement(case, "system-err").text = log(outcome, "journal.txt")
        elif text:
            ET.SubElement(case, "system-out").text = text
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def log(outcome: Outcome, name: str, limit: int = _KEPT) -> str:
    """The end of a log of the test's machines, as plain text."""
    texts = []
    for folder in outcome.folders:
        path = folder / name
        if path.is_file():
            texts.append("\n".join(map(plain, path.read_text("utf-8", "replace").split("\n"))))
    return _clean("\n".join(texts)[-limit:])


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)
