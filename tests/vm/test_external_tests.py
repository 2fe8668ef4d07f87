"""A folder of external tests in upstream's form, run on the build `bin/test` has made.

Each test asserts what it was promised; those that must fail say here with which words.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "external"
BUCKET = "non-exclusive-test-bucket-0"
EXPECTED = {
    "ext.external.environment": ("PASS", ""),
    "ext.external.reboot": ("PASS", ""),
    "ext.external.config": ("PASS", ""),
    "ext.external.ignition": ("PASS", ""),
    f"{BUCKET}/ext.external.shared.one": ("PASS", ""),
    f"{BUCKET}/ext.external.shared.two": ("FAIL", "status 1"),
    f"{BUCKET}/ext.external.shared.three": ("PASS", ""),
    "ext.external.fails.exit-1": ("FAIL", "words of a failing test"),
    "ext.external.fails.exit-77": ("FAIL", "status 77"),
    "ext.external.fails.killed": ("FAIL", "killed by signal 15"),
    "ext.external.fails.breaks-a-unit": ("FAIL", "after the test: kola-broken.service (failed)"),
    "ext.external.badmeta": ("FAIL", "unknown key 'exlusive'"),
    "ext.external.badconfig": ("FAIL", "config.bu:5:13"),
}


@pytest.fixture
def workdir():
    named = os.environ.get("COSA_TEST_WORKDIR")
    if not named or not (Path(named) / "builds/latest").exists():
        pytest.skip("no build in COSA_TEST_WORKDIR; use bin/test vm")
    return Path(named)


def test_folder(workdir, tmp_path):
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "cosa.cli.main", "--workdir", str(workdir), "kola", "run"]
    # Running out of time costs minutes where there is no KVM. A soft reboot is for systems that
    # prepare one (/run/nextroot); on the stand-in /var is gone after it, and the login with it.
    leave = ["!*times-out", "!*softreboot"]
    words = ["-E", str(FOLDER), "--output", str(out), "ext.external.*", *leave]
    done = subprocess.run([*argv, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 8, done.stdout + done.stderr
    tests = json.loads((out / "reports/report.json").read_text())["tests"]
    found = {test["name"]: (test["result"], test["output"]) for test in tests}
    assert found.pop(BUCKET)[0] == "FAIL"
    assert {name: result for name, (result, _) in found.items()} == {
        name: result for name, (result, _) in EXPECTED.items()
    }, done.stdout
    for name, (_, words) in EXPECTED.items():
        assert words in found[name][1], name
    (log,) = out.glob("ext.external.reboot/*/ext.external.reboot.txt")
    assert "grep -qx" in log.read_text()
    assert not list(out.rglob("*.qcow2"))
