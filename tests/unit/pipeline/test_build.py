"""The flow: what is made, what is taken over, what is refused, and dying in the middle."""

import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from quick import Steps, make_workdir

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.builds import Tag
from cosa.pipeline.build import Fetching, Options, build, fetch_only
from cosa.pipeline.workdir import basearch

ARCH = basearch()


@pytest.fixture
def workdir(tmp_path):
    return make_workdir(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    return Steps().install(monkeypatch.setattr)


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_a_build_has_everything(workdir, steps):
    outcome = build(workdir, Options())
    assert outcome.build == "1.dev.0"
    assert files(outcome.folder) == {
        "meta.json", "commitmeta.json", f"manifest-lock.generated.{ARCH}.json",
        f"testos-1.dev.0-ostree.{ARCH}-manifest.json",
        f"testos-1.dev.0-ostree.{ARCH}.ociarchive", f"testos-1.dev.0-qemu.{ARCH}.qcow2",
        "ostree-commit-object", "coreos-assembler-config.tar.gz",
        "coreos-assembler-config-git.json", "cosa-inputs.json",
    }  # fmt: skip
    meta = json.loads((outcome.folder / "meta.json").read_text())
    qemu = meta["images"]["qemu"]
    disk = outcome.folder / qemu["path"]
    assert qemu["sha256"] == fs.sha256_file(disk)
    assert qemu["size"] == disk.stat().st_size
    assert disk.stat().st_mode & 0o777 == 0o444
    assert disk.read_text() == f"disk {meta['ostree-commit']} 1 qemu"
    assert workdir.latest() == "1.dev.0"
    assert [path.name for path in workdir.tmp.iterdir() if "cosa-tmp" in path.name] == []


def test_nothing_changed_is_known_before_anything_is_fetched(workdir, steps):
    first = build(workdir, Options())
    steps.calls.clear()
    before = (workdir.builds / "latest").lstat().st_mtime_ns
    again = build(workdir, Options())
    assert not again.changed
    assert again.build == first.build
    assert steps.calls == []
    assert (workdir.builds / "latest").lstat().st_mtime_ns == before


def test_a_new_package_makes_a_new_build(workdir, steps):
    build(workdir, Options())
    steps.packages.append(steps.package("vim"))
    outcome = build(workdir, Options())
    assert outcome.build == "1.dev.1"
    assert outcome.why == ("package vim is new (5-1.noarch)",)


def test_other_tools_make_new_images_of_the_same_commit(workdir, steps):
    first = build(workdir, Options())
    steps.tool = "2"
    steps.calls.clear()
    second = build(workdir, Options())
    assert second.build == "1.dev.0-1"
    assert "compose" not in steps.calls
    assert "archive" not in steps.calls, "the same archive is linked"
    old, new = (
        next(folder.glob("*.ociarchive")).stat().st_ino for folder in (first.folder, second.folder)
    )
    assert old == new
    meta = workdir.meta("latest").to_json()
    assert meta["ostree-version"] == "1.dev.0"
    assert meta["coreos-assembler.image-genver"] == 1


def test_an_image_definition_counts(workdir, steps):
    build(workdir, Options())
    (workdir.config / "image.yaml").write_text("size: 12\nextra-kargs: []\n")
    assert build(workdir, Options()).build == "1.dev.1"


def test_force_builds_the_same_anew(workdir, steps):
    build(workdir, Options())
    outcome = build(workdir, Options(force=True))
    assert outcome.build == "1.dev.1"
    assert outcome.changed


def test_what_is_missing_is_added(workdir, steps):
    first = build(workdir, Options(targets=("ostree",)))
    assert set(workdir.meta().images) == {"ostree", "oci-manifest"}
    steps.calls.clear()
    second = build(workdir, Options(targets=("qemu", "metal")))
    assert second.build == first.build
    assert second.changed
    assert steps.calls == ["disk", "convert .qcow2", "convert .raw"]
    assert set(workdir.meta().images) == {"ostree", "oci-manifest", "qemu", "metal"}
    assert not build(workdir, Options()).changed


def test_given_version(workdir, steps):
    assert build(workdir, Options(version="42.1")).build == "42.1"
    steps.packages.append(steps.package("vim"))
    kept = build(workdir, Options(version="42.1"))
    assert not kept.changed, "as upstream: a version that exists stays as it is"
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(version="../x"))
    assert caught.value.code == "usage/version"


def test_old_builds_go_unless_kept(workdir, steps):
    def versions():
        return [entry.id for entry in workdir.read_builds().builds]

    for count in range(4):
        steps.packages = [steps.package("bash", f"6.{count}")]
        build(workdir, Options(skip_prune=True))
    found = workdir.read_builds()
    tags = [Tag(name="good", target="1.dev.0")]
    found.model_copy(update={"tags": tags}).with_build("elsewhere", "s390x").write(
        workdir.builds_json
    )
    steps.packages = [steps.package("bash", "7")]
    build(workdir, Options())
    assert versions() == ["1.dev.4", "elsewhere", "1.dev.3", "1.dev.2", "1.dev.0"]
    assert not (workdir.builds / "1.dev.1").exists()
    assert (workdir.builds / "1.dev.0").exists()


def test_a_killed_removal_is_finished(workdir, steps):
    for count in range(2):
        steps.packages = [steps.package("bash", f"6.{count}")]
        build(workdir, Options())
    (workdir.builds / ".pruning.json").write_text('{"builds": ["1.dev.0"]}')
    assert not build(workdir, Options()).changed
    assert [entry.id for entry in workdir.read_builds().builds] == ["1.dev.1"]
    assert not (workdir.builds / "1.dev.0").exists()
    assert not (workdir.builds / ".pruning.json").exists()


def test_unknown_image(workdir, steps):
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(targets=("floppy",)))
    assert caught.value.exit_class is ExitClass.USAGE


def test_overrides_are_named(workdir, steps):
    (workdir.overrides / "rpm/vim-1.rpm").write_text("")
    (workdir.overrides / "rootfs/etc").mkdir()
    (workdir.overrides / "rootfs/etc/motd").write_text("hello")
    seen = []
    with events.sink(lambda event: seen.append(event.text)):
        build(workdir, Options())
    meta = workdir.meta().to_json()
    assert meta["coreos-assembler.overrides"] == ["rpm/vim-1.rpm", "rootfs/etc/motd"]
    assert "override in use: rootfs/etc/motd" in seen


def test_the_definition_is_kept_with_the_build(workdir, steps):
    (workdir.config / ".git").mkdir()
    (workdir.config / ".git/HEAD").write_text("x")
    outcome = build(workdir, Options())
    with tarfile.open(outcome.folder / "coreos-assembler-config.tar.gz") as tar:
        assert set(tar.getnames()) == {"manifest.yaml", "image.yaml"}


def test_second_build_is_told_to_wait(workdir, steps):
    with store.lock(workdir.lock_file, "a build"), pytest.raises(CosaError) as caught:
        build(workdir, Options())
    assert caught.value.exit_class is ExitClass.BUSY
    assert str(os.getpid()) in caught.value.what


def test_readers_are_not_disturbed(workdir, steps, monkeypatch):
    build(workdir, Options())
    ready, go = threading.Event(), threading.Event()

    def slow(job):
        ready.set()
        go.wait(10)
        return Steps.compose(steps, job)

    monkeypatch.setattr("cosa.pipeline.make.compose", slow)
    steps.packages.append(steps.package("vim"))
    thread = threading.Thread(target=build, args=(workdir, Options()))
    thread.start()
    assert ready.wait(10)
    assert workdir.latest() == "1.dev.0"
    assert workdir.image_path("qemu").is_file()
    go.set()
    thread.join()
    assert workdir.latest() == "1.dev.1"


def test_failed_step_leaves_the_builds_alone(workdir, steps, monkeypatch):
    build(workdir, Options())
    steps.packages.append(steps.package("vim"))

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cosa.pipeline.artefacts.produce", full)
        with pytest.raises(OSError, match="No space"):
            build(workdir, Options())
    assert workdir.latest() == "1.dev.0"
    assert len(workdir.read_builds().builds) == 1
    steps.calls.clear()
    outcome = build(workdir, Options())
    assert outcome.build == "1.dev.1"
    assert "compose" not in steps.calls, "the commit of the failed run is used"


def test_no_room_is_known_before_work(workdir, steps):
    steps.packages[0] = type(steps.packages[0])(**{**vars_of(steps.packages[0]), "size": 1 << 60})
    with pytest.raises(CosaError) as caught:
        build(workdir, Options())
    assert caught.value.code == "env/disk-full"
    assert steps.calls == []


def vars_of(package):
    from dataclasses import asdict

    return asdict(package)


def test_read_only_folder(workdir, steps, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != workdir.builds)
    with pytest.raises(CosaError) as caught:
        build(workdir, Options())
    assert caught.value.code == "env/not-writable"
    assert str(workdir.builds) in caught.value.what


def test_all_problems_of_a_definition_at_once(workdir, steps):
    (workdir.config / "manifest.yaml").write_text("ref: x\npakages: [a]\nselinux: maybe\n")
    (workdir.config / "image.yaml").write_text("sice: 10\n")
    with pytest.raises(CosaError) as caught:
        build(workdir, Options())
    text = "\n".join(f"{p.where} {p.what}" for p in caught.value.problems)
    for part in ("manifest.yaml:2", "manifest.yaml:3", "image.yaml:1"):
        assert part in text


def test_fetch_writes_a_lockfile(workdir, steps, tmp_path):
    found = fetch_only(workdir, Fetching(lockfile=tmp_path / "lock.json"))
    assert len(found.packages) == 1
    assert "bash" in json.loads((tmp_path / "lock.json").read_text())["packages"]
    assert steps.calls == ["fetch"]
    fetch_only(workdir, Fetching(dry_run=True))
    assert steps.calls == ["fetch"]


def test_killed_at_any_instant(tmp_path):
    """A build is killed at each of its operations on files in turn; see killing.py."""
    argv = [sys.executable, Path(__file__).with_name("killing.py"), tmp_path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["killed"] > 30
    assert report["troubles"] == []
    assert report["left"] == []
