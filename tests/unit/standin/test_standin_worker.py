import hashlib
import json

import pytest
from debmaker import Entry, control, deb

from cosa.core import events
from cosa.core.errors import CosaError, ExitClass
from cosa.standin import worker
from cosa.standin.openpgp import SigningKey

pytest.importorskip("createrepo_c")
KEY = SigningKey(bytes(range(32)), 1_600_000_000)


@pytest.fixture
def convert(tmp_path):
    def go(*packages):
        jobs = []
        for name, raw, nevra in packages:
            path = tmp_path / f"{name}.deb"
            path.write_bytes(raw)
            out = tmp_path / f"{name}.rpm"
            digest = hashlib.sha256(raw).hexdigest()
            jobs.append(worker.Job(name, nevra, path, digest, out, (), len(raw)))
        with events.step("test") as step:
            worker.convert_all(jobs, KEY, step)

    return go


def good(name):
    return name, deb(control(name)), f"{name}-1.0-1.x86_64"


def test_packages_are_converted_with_their_metadata_beside(tmp_path, convert):
    convert(*(good(f"p{i}") for i in range(5)))
    pieces = json.loads((tmp_path / "p3.json").read_text())
    assert 'href="Packages/p3-1.0-1.x86_64.rpm"' in pieces["primary"]
    assert "/usr/bin/tiny" in pieces["filelists"]
    assert (tmp_path / "p3.rpm").stat().st_size > 500


def test_every_bad_package_is_named_and_the_good_ones_are_kept(tmp_path, convert):
    with pytest.raises(CosaError) as caught:
        convert(
            good("fine"),
            ("cut", deb()[:-30], "tiny-1.0-1.x86_64"),
            ("lzma", deb(data_suffix=".lzma"), "tiny-1.0-1.x86_64"),
            ("evil", deb(entries=[Entry("../x", b"")]), "tiny-1.0-1.x86_64"),
            ("liar", deb(), "somebody-else-1.0-1.x86_64"),
        )
    assert caught.value.exit_class == ExitClass.UNTRUSTED
    found = {p.what.split(":")[0]: p.code for p in caught.value.problems}
    assert found == {
        "package cut": "standin/truncated", "package lzma": "standin/compression",
        "package evil": "untrusted/path", "package liar": "standin/identity",
    }  # fmt: skip
    assert {path.name for path in tmp_path.glob("*.rpm")} == {"fine.rpm"}
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_changed_since_it_was_signed_is_refused(tmp_path, convert):
    _, raw, nevra = good("p")
    message = {
        "deb": str(tmp_path / "p.deb"), "sha256": hashlib.sha256(raw).hexdigest(),
        "nevra": nevra, "out": str(tmp_path / "p.rpm"), "dropped": [],
    }  # fmt: skip
    (tmp_path / "p.deb").write_bytes(raw + b"\n")
    assert worker.work(message, KEY)["code"] == "standin/digest"
    assert not (tmp_path / "p.rpm").exists()


def test_a_full_disk_is_the_machines_fault_not_the_packages(tmp_path):
    raw = deb()
    (tmp_path / "p.deb").write_bytes(raw)
    message = {
        "deb": str(tmp_path / "p.deb"), "sha256": hashlib.sha256(raw).hexdigest(),
        "nevra": "tiny-1.0-1.x86_64", "out": str(tmp_path / "absent/p.rpm"), "dropped": [],
    }  # fmt: skip
    answer = worker.work(message, KEY)
    assert answer["errno"] == 2
    assert "absent" in answer["why"]
