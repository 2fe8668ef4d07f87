"""`cosa osbuild`: images of a build that is published already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from diskworld import EPOCH, OSNAME, Source, boot_file, program

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.model.imagespec import ImageSpec
from cosa.model.meta import Meta
from cosa.pipeline import osbuild
from cosa.pipeline.osbuild import Wish
from cosa.pipeline.workdir import Workdir

BUILD = "7.1"
SPEC = ImageSpec.model_validate({"size": 1, "extra-kargs": ["quiet"]})
TABLE = {"x86_64": {"metal": {"kernel_arguments": ["console=ttyS0"], "grub_commands": []}}}


@pytest.fixture
def workdir(source: Source, room: Path, request: pytest.FixtureRequest) -> Workdir:
    """A working directory with one build, whose commit carries image.json and platforms.json."""
    root = room / f"workdir {request.node.name[:40]}"
    for name in ("src/config", "tmp", "cache", f"builds/{BUILD}/x86_64"):
        (root / name).mkdir(parents=True)
    repo = root / "tmp/repo"
    program("cp", "-a", source.repo, repo)
    share = root / "share/usr/share/coreos-assembler"
    share.mkdir(parents=True)
    (share / "image.json").write_text(json.dumps(SPEC.to_json()))
    (share / "platforms.json").write_text(json.dumps(TABLE))
    commit = program(
        "ostree", f"--repo={repo}", "commit", "--branch=small/x86_64/test",
        f"--timestamp=@{EPOCH}", f"--tree=ref={source.commit}", f"--tree=dir={root / 'share'}",
    ).strip()  # fmt: skip
    Meta.of({
        "buildid": BUILD, "name": OSNAME, "ostree-commit": commit, "ostree-version": BUILD,
        "ostree-timestamp": clock.iso(EPOCH), "images": {},
    }).write(root / f"builds/{BUILD}/x86_64/meta.json")  # fmt: skip
    (root / "builds/latest").symlink_to(BUILD)
    yield Workdir(root)
    fs.remove_tree(root)


def images(workdir: Workdir) -> dict:
    return json.loads((workdir.build() / "meta.json").read_text())["images"]


def test_images_are_named_listed_and_left_alone_afterwards(workdir: Workdir) -> None:
    made = osbuild.osbuild(workdir, Wish(["metal", "gcp"]))
    assert {name: path.name for name, path in made.made.items()} == {
        "metal": "small-7.1-metal.x86_64.raw",
        "gcp": "small-7.1-gcp.x86_64.tar.gz",
    }
    listed = images(workdir)
    for name, path in made.made.items():
        entry = listed[name]
        assert entry["path"] == path.name
        assert entry["sha256"] == fs.sha256_file(path)
        assert entry["size"] == path.stat().st_size
        assert path.stat().st_mode & 0o777 == 0o444
    assert listed["gcp"]["skip-compression"] is True
    assert "skip-compression" not in listed["metal"]
    entry = boot_file(made.made["metal"], "/loader/entries/ostree-1.conf")
    assert " quiet ostree=" in entry
    assert entry.count("ignition.platform.id=metal console=ttyS0\n") == 1
    again = osbuild.osbuild(workdir, Wish(["metal", "qemu"]))
    assert (list(again.made), again.there) == (["qemu"], ["metal"])
    assert images(workdir)["metal"] == listed["metal"]
    assert sorted(path.name for path in workdir.tmp.iterdir()) == ["locks", "repo"]


def test_force_makes_the_same_again(workdir: Workdir) -> None:
    osbuild.osbuild(workdir, Wish(["aws"]))
    before, inode = images(workdir)["aws"], os.stat(workdir.image_path("aws")).st_ino
    osbuild.osbuild(workdir, Wish(["aws"], force=True))
    assert images(workdir)["aws"] == before
    assert os.stat(workdir.image_path("aws")).st_ino != inode


def test_two_at_once_make_each_image_once(workdir: Workdir) -> None:
    with ThreadPoolExecutor(3) as pool:
        names = [["metal", "aws"], ["aws", "metal"], ["hyperv"]]
        outcomes = list(pool.map(lambda each: osbuild.osbuild(workdir, Wish(each)), names))
    assert sorted(name for each in outcomes for name in each.made) == ["aws", "hyperv", "metal"]
    assert sorted(images(workdir)) == ["aws", "hyperv", "metal"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["qmeu"], "platform/unknown"),
        (["metal", "live"], "platform/not-yet"),
        (["powervs"], "platform/unknown"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is_done(
    workdir: Workdir, words: list[str], code: str
) -> None:
    with pytest.raises(CosaError) as caught:
        osbuild.osbuild(workdir, Wish(words))
    assert caught.value.code == code
    assert caught.value.exit_class is ExitClass.USAGE
    assert images(workdir) == {}


def test_without_its_commit_a_build_has_no_disks(workdir: Workdir) -> None:
    fs.remove_tree(workdir.repo)
    program("ostree", f"--repo={workdir.repo}", "init", "--mode=bare-user")
    with pytest.raises(CosaError) as caught:
        osbuild.osbuild(workdir, Wish(["metal"]))
    assert caught.value.code == "build/no-commit"


def test_the_command_line(workdir: Workdir) -> None:
    argv = [sys.executable, "-m", "cosa.cli.main", "--workdir", str(workdir.root)]

    def cosa(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([*argv, *words], capture_output=True, text=True, check=False)

    done = cosa("buildextend-kubevirt")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"kubevirt: {workdir.image_path('kubevirt')}\n"
    assert cosa("osbuild", "kubevirt").stdout == "kubevirt: there already\n"
    assert cosa("osbuild").returncode == ExitClass.USAGE
    lines = cosa("osbuild", "--supported-platforms").stdout.splitlines()
    assert "azurestack" in lines
    assert any(line.startswith("live  (not yet: ") for line in lines)
