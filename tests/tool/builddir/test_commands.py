"""Commands on the build directory, with real repositories, archives and disks in it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from cpiomaker import FILE, archive, entry

from cosa.cli.main import main
from cosa.container.archive import write_ociarchive
from cosa.core.errors import CosaError
from cosa.pipeline import diff, validate
from cosa.pipeline.synthesize import Wish, synthesize
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools import elf, gpt, ostree
from cosa.tools.ostree_read import Objects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners of objects need root")
ARCH = basearch()
MIB = 1 << 20
KIND = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **kwargs).stdout.strip()


def make_tree(root: Path, number: int) -> None:
    (root / "usr/bin").mkdir(parents=True)
    modules = root / "usr/lib/modules/6.1"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").write_bytes(b"kernel")
    early = archive(entry("kernel/ucode", FILE, b"early"))
    late = gzip.compress(archive(entry("init", FILE, b"init %d\n" % number)))
    (modules / "initramfs.img").write_bytes(early + late)
    (root / "usr/lib/version").write_text(f"{number}\n")
    for name in ("true", "false", "ls", "cat", "cp"):
        shutil.copy(f"/bin/{name}", root / "usr/bin")
    (root / "usr/bin/ls").chmod(0o4755)


def make_disk(root: Path, out: Path, checksum: str) -> None:
    """A GPT disk with boot and root, the deployment in a folder named by the commit."""
    deployed = root.parent / "sysroot" / f"ostree/deploy/os/deploy/{checksum}.0"
    shutil.copytree(root, deployed)
    objects = root.parent / "sysroot/ostree/repo/objects"
    objects.mkdir(parents=True)
    (objects / "aa").write_text("not to be seen")
    boot = root.parent / "boot"
    boot.mkdir()
    (boot / "grub.cfg").write_text("menu\n")
    parts = [
        gpt.Partition(3, "boot", KIND, MIB, 8 * MIB), gpt.Partition(4, "root", KIND, 9 * MIB, 24 * MIB)
    ]  # fmt: skip
    with out.open("wb") as file:
        file.truncate(34 * MIB)
    for part, source in zip(parts, (boot, root.parent / "sysroot"), strict=True):
        size = f"{part.size // 1024}k"
        run("mke2fs", "-q", "-t", "ext4", "-d", source, "-E", f"offset={part.start}", out, size)
    gpt.write(out, KIND, parts)


def add_build(workdir: Workdir, repo: Path, number: int) -> None:
    """A build with commit, archive, raw and qcow2 disk."""
    build = f"1.{number}"
    folder = workdir.builds / build / ARCH
    folder.mkdir(parents=True)
    root = workdir.root / f"trees/{number}/root"
    make_tree(root, number)
    row = ("app", "0", "1", str(number), "x86_64")
    commit = run(
        "ostree", f"--repo={repo}", "commit", "--branch=os/stable", "--owner-uid=0", "--owner-gid=0",
        "--no-bindings", "--bootable", f"--tree=dir={root}", f"--add-metadata-string=version={build}",
        f"--add-metadata=rpmostree.rpmdb.pkglist=@a(sssss) [{row}]",
    )  # fmt: skip
    write_ociarchive(repo, commit, folder / "os.ociarchive", labels={}, arch=ARCH)
    make_disk(root, folder / "os.raw", commit)
    run("qemu-img", "convert", "-O", "qcow2", folder / "os.raw", folder / "os.qcow2")
    names = {"ostree": "os.ociarchive", "metal": "os.raw", "qemu": "os.qcow2"}
    images = {}
    for name, file in names.items():
        content = (folder / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        images[name] = {"path": file, "sha256": digest, "size": len(content)}
    (folder / "commitmeta.json").write_text(
        json.dumps({"rpmostree.rpmdb.pkglist": [list(row)], "version": build})
    )
    meta = {
        "buildid": build, "name": "os", "ostree-commit": commit, "ref": "os/stable",
        "ostree-timestamp": "2026-11-22T12:00:00Z", "ostree-version": build, "images": images,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))
    workdir.read_builds().with_build(build, ARCH).write(workdir.builds_json)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two builds; tests get copies of the folder."""
    workdir = Workdir(tmp_path_factory.mktemp("builds"))
    for folder in (workdir.config, workdir.tmp, workdir.builds, workdir.cache):
        folder.mkdir(parents=True)
    run("ostree", f"--repo={workdir.repo}", "init", "--mode=bare-user")
    add_build(workdir, workdir.repo, 1)
    add_build(workdir, workdir.repo, 2)
    shutil.rmtree(workdir.root / "trees")
    return workdir


@pytest.fixture
def workdir(made, tmp_path):
    run("cp", "-a", made.root, tmp_path / "w")
    return Workdir(tmp_path / "w")


def cosa(workdir, *words):
    return main(["--log-format", "plain", "--workdir", str(workdir.root), *words])


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--rpms", "  app 1-1 -> 1-2"),
        ("--ostree-ls", "M    /usr/lib/version"),
        ("--ostree", "+++ b/1.2/usr/lib/version"),
        ("--initrd", "+init 2"),
        ("--metal", "b/1.2/ostree/deploy/os/deploy/CHECKSUM.0/usr/lib/version"),
    ],
)
def test_differences(workdir, capfd, option, says):
    assert cosa(workdir, "diff", option) == 0
    out = capfd.readouterr().out
    assert says in out
    assert "not to be seen" not in out


@pytest.mark.parametrize("option", ["--metal-ls", "--metal-du", "--metal-part-table"])
def test_what_is_equal_is_not_shown(workdir, capfd, option):
    """Both builds have the same names and sizes, though commits name their folders."""
    assert cosa(workdir, "diff", option) == 0
    assert capfd.readouterr().out == ""


def test_a_commit_the_repository_lost_comes_out_of_the_archive(workdir, capfd):
    shutil.rmtree(workdir.repo)
    assert cosa(workdir, "diff", "--ostree-ls") == 0
    assert "M    /usr/lib/version" in capfd.readouterr().out
    run("ostree", f"--repo={workdir.repo}", "fsck", "-q")
    (workdir.build("1.1") / "os.ociarchive").unlink()
    shutil.rmtree(workdir.repo)
    with pytest.raises(CosaError) as caught:
        list(diff.compare(diff.sides(workdir, "", "", ""), ["ostree"], difftool=False))
    assert caught.value.code == "diff/no-commit"


def test_a_sound_build_is_found_sound(workdir):
    lines = "\n".join(validate.validate(workdir, validate.Wish()))
    assert lines.count("sums match") == 3
    assert "blobs match their digests" in lines
    assert lines.count("ext4 on 'boot' is clean") == 2
    assert "the clusters are consistent" in lines


def spoil(path: Path, at: int, data: bytes = b"\xff" * 64) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(
    ("file", "at", "sums", "says"),
    [
        ("os.raw", 9 * MIB, True, "its sha256 is"),
        ("os.raw", 9 * MIB + 4096, False, "the ext4 on 'root' has errors"),
        ("os.raw", 512, False, "it has no valid partition table"),
        ("os.ociarchive", 3000, False, "has the sha256"),
        ("os.qcow2", 65536, False, "os.qcow2 is not sound"),
    ],
)
def test_damage_is_found(workdir, file, at, sums, says):
    spoil(workdir.build() / file, at, b"\xff" * 4096)
    with pytest.raises(CosaError) as caught:
        validate.validate(workdir, validate.Wish(checksums=sums))
    text = " ".join(f"{p.what} {p.why}" for p in caught.value.problems)
    assert says in text
    assert len(caught.value.problems) == 1, "the others are sound"


def test_everything_wrong_is_said_at_once(workdir):
    (workdir.build() / "os.raw").unlink()
    spoil(workdir.build() / "os.qcow2", 0)
    with pytest.raises(CosaError) as caught:
        validate.validate(workdir, validate.Wish())
    assert {p.code for p in caught.value.problems} == {"validate/missing", "validate/damaged"}


def test_a_made_up_update(workdir):
    before = ostree.Repo(workdir.repo).resolve("os/stable")
    lines = synthesize(workdir, Wish(percentage=50))
    assert lines[0].startswith("/usr/bin: 2 of 4 programs")  # ls is set-uid
    after = ostree.Repo(workdir.repo).resolve("os/stable")
    assert after != before
    changed = run("ostree", f"--repo={workdir.repo}", "diff", before, after).splitlines()
    assert len(changed) == 2
    objects = Objects(workdir.repo)
    for line in changed:
        path = line.split()[1]
        kept = run("ostree", f"--repo={workdir.repo}", "ls", after, path).split()[:3]
        assert kept == ["-00755", "0", "0"]
        tree = objects.commit_root(after)[0]
        for part in path.strip("/").split("/")[:-1]:
            tree = {row[0]: row[1] for row in objects.folder(tree).folders}[part]
        content = objects.content(dict(objects.folder(tree).files)[Path(path).name])
        assert elf.sections(objects.read(content))[-1][0] == ".note.coreos-synthetic"
    again = synthesize(workdir, Wish(source=before, ref="again", percentage=50))
    assert again[0] == lines[0]
    root = "ostree", f"--repo={workdir.repo}", "ls", "-C", "-d"
    assert run(*root, "again", "/").split()[-2] == run(*root, after, "/").split()[-2]
    run("ostree", f"--repo={workdir.repo}", "fsck", "-q")


def add_live(workdir: Workdir, build: str, fstype: str) -> None:
    """Live artefacts of a build: an ISO, and a rootfs image with a file system inside."""
    folder = workdir.build(build)
    work = workdir.root / f"live-{build}"
    for name, text in (("etc/id", build), ("ostree/deploy/x/a", "hidden"), ("ostree/repo/objects/b", "hidden")):  # fmt: skip
        path = work / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    inner = work / f"root.{fstype}"
    if fstype == "squashfs":
        run("mksquashfs", work / "root", inner, "-quiet", "-no-progress")
    else:
        run("mkfs.erofs", inner, work / "root")
    (folder / "rootfs.img").write_bytes(archive(entry(inner.name, FILE, inner.read_bytes())))
    (work / "iso").mkdir()
    (work / "iso/version").write_text(build)
    (work / f"iso/only-in-{build}").touch()
    run("bsdtar", "-c", "--format=iso9660", "-f", folder / "live.iso", "-C", work / "iso", ".")
    data = json.loads((folder / "meta.json").read_text())
    for name, file in (("live-rootfs", "rootfs.img"), ("live-iso", "live.iso")):
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        data["images"][name] = {"path": file, "sha256": digest}
    (folder / "meta.json").write_text(json.dumps(data))


@pytest.mark.parametrize("fstype", ["squashfs", "erofs"])
def test_live_media(workdir, capfd, fstype):
    for build in ("1.1", "1.2"):
        add_live(workdir, build, fstype)
    for option, says in (
        ("--live-iso", "-1.1"), ("--live-iso-ls", "only-in-1.2"), ("--live-sysroot", "b/1.2/etc/id"),
        ("--live-rootfs-img", f"root.{fstype}"),
    ):  # fmt: skip
        assert cosa(workdir, "diff", option) == 0
        assert says in capfd.readouterr().out, option
    assert cosa(workdir, "diff", "--live-sysroot-ls") == 0
    assert capfd.readouterr().out == "", "names and sizes are equal"
    kept = workdir.tmp / "diff-cache/live-sysroot/1.2"
    assert (kept / "etc/id").read_text() == "1.2"
    assert not (kept / "ostree/deploy").exists()
    assert cosa(workdir, "diff", "--gc") == 0
    assert not kept.exists()
