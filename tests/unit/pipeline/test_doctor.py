"""The doctor: what a finding says, and when cosa cannot work at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosa.cli.doctor import as_json, as_text
from cosa.pipeline import doctor
from cosa.pipeline.doctor import BROKEN, GIB, LACK, OK, Finding
from cosa.tools import facilities, probe, reach


@pytest.mark.parametrize(
    ("available", "state"), [(8 * GIB, OK), (2 * GIB, LACK), (GIB // 2, BROKEN)]
)
def test_memory(monkeypatch: pytest.MonkeyPatch, available: int, state: str):
    monkeypatch.setattr(facilities, "memory", lambda: (available, 16 * GIB))
    assert [one.state for one in doctor._memory()] == [state]


@pytest.mark.parametrize(("free", "state"), [(20 * GIB, OK), (5 * GIB, LACK), (GIB, BROKEN)])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, state: str):
    monkeypatch.setattr(facilities, "free_space", lambda _: free)
    assert doctor._disk("disk", tmp_path, 10).state == state


@pytest.mark.parametrize(
    ("kvm", "tcg", "state"), [(0.1, 0.6, OK), (None, 0.6, LACK), (None, None, BROKEN)]
)
def test_accelerator(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kvm: float | None,
    tcg: float | None,
    state: str,
):
    found = probe.Accelerators("10.0", kvm, tcg, "" if kvm else "it hangs")
    monkeypatch.setattr(probe, "accelerators", lambda _: found)
    (finding,) = doctor._accelerator(tmp_path)
    assert finding.state == state
    assert kvm or "it hangs" in finding.found


def test_every_lack_names_its_cost_and_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("user_namespaces", "sandbox"):
        monkeypatch.setattr(facilities, name, lambda: "not permitted")
    for name in ("overlay", "fuse", "reflink"):
        monkeypatch.setattr(facilities, name, lambda _: "not permitted")
    monkeypatch.setattr(facilities, "memory", lambda: (0, 0))
    monkeypatch.setattr(facilities, "free_space", lambda _: 0)
    monkeypatch.setattr(probe, "accelerators", lambda _: probe.Accelerators("10", None, None, "no"))
    monkeypatch.setattr(doctor, "TOOLS", ("no-such-program",))
    dead = [reach.Registry(kind, "r", "u") for kind in doctor._COSTS]
    monkeypatch.setattr(reach, "registries", lambda _: dead)
    monkeypatch.setattr(reach, "ask", lambda one: reach.Answer(one, "no route", 1.0))
    findings = doctor.examine(tmp_path / "not/yet", tmp_path)
    lacks = [one for one in findings if one.state != OK]
    assert {one.name for one in findings} - {one.name for one in lacks} == {"podman"}
    assert all(one.cost and one.fix for one in lacks)
    assert not doctor.verdict(findings)


def test_both_forms_of_the_report():
    findings = [Finding("overlay", LACK, "no", "slow", "mend it"), Finding("memory", OK, "much")]
    text = as_text(findings, good=True)
    assert "costs  slow" in text
    assert "fix    mend it" in text
    assert "1 lack" in text.splitlines()[-1]
    data = json.loads(as_json(findings, good=True))
    assert data["ok"] is True
    assert data["checks"][0] == {
        "name": "overlay", "state": "lack", "found": "no", "cost": "slow", "fix": "mend it",
        "seconds": 0.0,
    }  # fmt: skip
    assert "cannot work" in as_text([Finding("x", BROKEN, "no")], good=False)
