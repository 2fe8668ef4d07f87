"""Locks, versions and imports with the real programs, on an OS of six small packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from smallos import SmallOS, build_rpms

from cosa.pipeline.workdir import basearch

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(os.geteuid() != 0, reason="scripts of packages run as root"),
]
ARCH = basearch()


@pytest.fixture(scope="module")
def here() -> Iterator[Path]:
    """A folder that can hold overlays, as pytest's own may not."""
    top = Path(os.environ.get("COSA_TEST_WORKDIR") or os.environ.get("COSA_CACHE") or "/var/tmp")
    root = top / f"test-builds-{os.getpid()}"
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def small(here: Path) -> SmallOS:
    """Two versions of `app` in one repository."""
    made = SmallOS.make(here / "os")
    for path in build_rpms(here / "old", ["app"], "0.5"):
        shutil.move(path, made.repo / path.name)
    made.publish()
    return made


@pytest.fixture(scope="module")
def built(small: SmallOS, here: Path) -> Path:
    """A working directory with builds: 1 from locks, 2 without."""
    workdir = small.init(here / "w")
    small.cosa(workdir, "fetch", "--update-lockfile", "--dry-run")
    lock = small.config / f"manifest-lock.{ARCH}.json"
    data = json.loads(lock.read_text())
    assert data["packages"]["app"]["evra"] == f"1-1.{ARCH}"
    assert data["packages"]["app"]["digest"].startswith("sha256:")
    assert data["packages"]["app"]["metadata"]["location"].endswith(".rpm")
    entry = {"evra": f"0.5-1.{ARCH}"}
    lock.write_text(json.dumps(data | {"packages": data["packages"] | {"app": entry}}))
    small.cosa(workdir, "build", "--strict", "--version=1", "ostree", "--tag", "first")
    lock.unlink()
    small.cosa(workdir, "build", "--version=2", "--parent-build=1", "ostree")
    return workdir


def meta(workdir: Path, build: str) -> dict:
    return json.loads((workdir / f"builds/{build}/{ARCH}/meta.json").read_text())


def app(workdir: Path, build: str) -> str:
    commit = meta(workdir, build)["ostree-commit"]
    argv = ["ostree", f"--repo={workdir}/tmp/repo", "cat", commit, "/usr/share/app/version"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_a_lock_decides(built: Path) -> None:
    assert (app(built, "1"), app(built, "2")) == ("0.5", "1")
    found = meta(built, "2")
    assert found["parent-pkgdiff"] == found["pkgdiff"]
    assert [row[:2] for row in found["pkgdiff"]] == [["app", 2]]
    assert found["fedora-coreos.parent-version"] == "1"
    tags = json.loads((built / "builds/builds.json").read_text())["tags"]
    assert [(tag["name"], tag["target"]) for tag in tags] == [("first", "1")]


def test_the_commit_object_is_enough_to_compare(small: SmallOS, built: Path) -> None:
    (built / f"builds/2/{ARCH}/commitmeta.json").unlink()
    small.cosa(built, "build", "--version=3", "--skip-prune", "--autolock=1", "ostree", "--force")
    assert app(built, "3") == "0.5"
    assert [row[:2] for row in meta(built, "3")["pkgdiff"]] == [["app", 3]]


def test_strict_refuses_what_is_not_locked(small: SmallOS, built: Path) -> None:
    lock = small.config / f"manifest-lock.{ARCH}.json"
    lock.write_text(json.dumps({"packages": {"app": {"evra": f"1-1.{ARCH}"}}}))
    try:
        done = small.cosa(built, "build", "--strict", "ostree", check=False)
    finally:
        lock.unlink()
    assert done.returncode == 3
    assert "resolve/hidden" in done.stderr
    assert "not in the lockfile (strict)" in done.stderr


def test_a_local_rpm_beats_the_lock_for_as_long_as_it_is_there(
    small: SmallOS, built: Path, here: Path
) -> None:
    (rpm,) = build_rpms(here / "local", ["app"], "7")
    place = built / "overrides/rpm" / rpm.name
    shutil.copy(rpm, place)
    override = small.config / "manifest-lock.overrides.yaml"
    override.write_text(
        "packages: {app: {evr: 0.5-1, metadata: {type: pin, reason: 'https://example.org/1'}}}\n"
    )
    try:
        done = small.cosa(built, "build", "--version=4", "--skip-prune", "ostree")
        assert app(built, "4") == "7"
        assert f"override in use: rpm/{rpm.name}" in done.stderr
        assert meta(built, "4")["coreos-assembler.overrides"] == [f"rpm/{rpm.name}"]
        assert meta(built, "4")["coreos-assembler.overrides-active"] is True
        place.unlink()
        done = small.cosa(built, "build", "--version=5", "--skip-prune", "ostree")
        assert app(built, "5") == "0.5"
        assert "app locked to 0.5-1 (pin, https://example.org/1)" in done.stderr
        assert "coreos-assembler.overrides" not in meta(built, "5")
    finally:
        override.unlink()


def test_an_imported_build_is_compared_and_kept(small: SmallOS, built: Path, here: Path) -> None:
    source = built / f"builds/1/{ARCH}"
    (archive,) = source.glob("*.ociarchive")
    other = here / "other"
    other.mkdir()
    small.cosa(other, "import", str(archive))
    small.cosa(other, "import", str(next((built / f"builds/2/{ARCH}").glob("*.ociarchive"))))
    assert meta(other, "1")["ostree-commit"] == meta(built, "1")["ostree-commit"]
    assert [row[:2] for row in meta(other, "2")["pkgdiff"]] == [["app", 2]]
    assert "2  (latest)" in small.cosa(other, "list").stdout
    small.cosa(other, "osbuild", "metal")
    metal = meta(other, "2")["images"]["metal"]
    assert (other / f"builds/2/{ARCH}/{metal['path']}").stat().st_size == metal["size"]
    done = small.cosa(other, "build", check=False)
    assert "workdir/no-manifest" in done.stderr, "there is no definition, which is said"
    shown = small.cosa(other, "meta", "--get-value", "coreos-assembler.oci-imported")
    assert shown.stdout.strip() == "True"
    small.cosa(other, "meta", "--set", "summary=Imported")
    assert meta(other, "2")["summary"] == "Imported"
    done = small.cosa(other, "meta", "--set", "surprise=1", check=False)
    assert done.returncode == 3
    assert "meta/invalid" in done.stderr
