"""Probes of the machine, by the real programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosa.tools import facilities, probe


def test_the_probe_guest_boots_and_the_answer_is_kept(tmp_path: Path):
    found = probe.accelerators(tmp_path)
    assert found.tcg is not None  # TCG works wherever QEMU does
    assert found.best == ("kvm" if found.kvm is not None else "tcg")
    (kept,) = (tmp_path / "probes").iterdir()
    known = json.loads(kept.read_text())
    assert known["qemu"] == probe.qemu_version()
    # The next question is answered from there: a changed file shows.
    kept.write_text(json.dumps(known | {"kvm": 0.1}))
    assert probe.accelerator(tmp_path) == "kvm"
    kept.write_text("{ cut off")
    assert probe.accelerators(tmp_path).best == found.best


def test_a_guest_that_dies_or_hangs_is_no_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(probe, "TCG_SECONDS", 3.0)
    monkeypatch.setattr(probe, "_kvm_trouble", lambda: "not tried")
    # Halts for ever instead of saying it is done.
    hung = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"
    monkeypatch.setattr(probe, "BOOT_SECTOR", hung)
    found = probe.accelerators(tmp_path)
    assert found.tcg is None
    assert not (tmp_path / "probes").exists(), "a failure must be looked at anew"


def test_kernel_facilities_answer(tmp_path: Path):
    assert facilities.sandbox() == ""
    # Whether these work depends on the machine; that they end and tidy up does not.
    for look in (facilities.overlay, facilities.fuse, facilities.reflink):
        assert "\n" not in look(tmp_path)
    assert "\n" not in facilities.user_namespaces()
    assert list(tmp_path.iterdir()) == [], "probes leave nothing behind"
