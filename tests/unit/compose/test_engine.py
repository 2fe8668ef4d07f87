"""Which engine is taken, why, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosa.compose import engine
from cosa.compose.engine import Engine
from cosa.compose.rpmostree_result import check_lock
from cosa.core import events
from cosa.core.errors import CosaError, ExitClass
from cosa.model.lockfile import LockedPackage, from_packages
from cosa.model.package import Package
from cosa.model.treefile import Treefile

TREE = Treefile(Path("manifest.yaml"), (), {}, "x86_64", ())


@pytest.mark.parametrize(
    ("tree", "flag", "env", "wanted", "said"),
    [
        ({}, "", "", Engine.NATIVE, ""),
        ({}, "auto", "rpm-ostree", Engine.NATIVE, ""),
        ({}, "rpm-ostree", "native", Engine.RPM_OSTREE, "--engine says so"),
        ({}, "", "rpm-ostree", Engine.RPM_OSTREE, "COSA_ENGINE says so"),
        ({"metadata": {"cosa-engine": "rpm-ostree"}}, "", "", Engine.RPM_OSTREE, "metadata says so"),
        ({"metadata": {"cosa-engine": "rpm-ostree"}}, "native", "", Engine.NATIVE, ""),
        ({"gpg_key": "0123"}, "", "", Engine.RPM_OSTREE, "uses gpg-key, which native does not know"),
        ({"gpg_key": "0123", "cliwrap": True}, "", "native", Engine.NATIVE, "alone: gpg-key, cliwrap"),
        ({"repo_metadata": "detached"}, "", "auto", Engine.RPM_OSTREE, "repo-metadata: detached"),
        ({"cliwrap_binaries": ("rpm",)}, "", "", Engine.RPM_OSTREE, "cliwrap-binaries"),
    ],
)  # fmt: skip
def test_choice(tree, flag, env, wanted, said, monkeypatch):
    monkeypatch.setenv("COSA_ENGINE", env)
    texts = []
    with events.sink(lambda event: texts.append(event.text)):
        choice = engine.choose(replace(TREE, **tree), flag)
    assert choice.engine is wanted
    assert said in " ".join(texts)
    assert bool(texts) == bool(said)


@pytest.mark.parametrize(
    ("flag", "metadata", "status", "words"),
    [
        ("rpmostree", {}, ExitClass.USAGE, "--engine"),
        ("", {"cosa-engine": "fast"}, ExitClass.INPUT, "metadata"),
        ("", {"cosa-engine": ["native"]}, ExitClass.INPUT, "metadata"),
    ],
)
def test_unknown(flag, metadata, status, words, monkeypatch):
    monkeypatch.delenv("COSA_ENGINE", raising=False)
    with pytest.raises(CosaError) as caught:
        engine.choose(replace(TREE, metadata=metadata), flag)
    assert caught.value.code == "engine/unknown"
    assert caught.value.exit_class is status
    assert words in caught.value.why


def test_lock_is_compared_package_by_package(tmp_path):
    def package(name, version="1", arch="noarch", digest="0"):
        return Package(name, "0", version, "1", arch, "r", "x", f"sha256:{digest * 64}", 1)

    both = [package("glib", arch="i686"), package("glib", arch="x86_64", digest="1")]
    packages = [package("bash"), package("vim"), *both]
    path = tmp_path / "lock.json"
    lock = from_packages(packages, 0, {})
    lock.write(path)
    check_lock(packages, path)
    changed = dict(lock.locked)
    changed["bash"] = LockedPackage(evra="2-1.noarch")
    changed["vim"] = LockedPackage(evra="1-1.noarch", digest=f"sha256:{'f' * 64}")
    changed["extra"] = LockedPackage(evra="1-1.noarch")
    del changed["glib"]
    lock.model_copy(update={"packages": changed}).write(path)
    with pytest.raises(CosaError) as caught:
        check_lock(packages, path)
    assert [problem.what for problem in caught.value.problems] == [
        "rpm-ostree took bash 2-1.noarch, not 1-1.noarch",
        "rpm-ostree took extra",
        "rpm-ostree left out glib",
        "rpm-ostree took vim 1-1.noarch, not 1-1.noarch",
    ]
    assert "f" * 64 in caught.value.problems[3].why
