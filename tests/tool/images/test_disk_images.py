"""The unbranded disk, judged by the programs whose formats it is made of."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from diskworld import (
    OSNAME,
    SPEC,
    Source,
    build,
    extract,
    images,
    inodes,
    program,
)

from cosa.core import fs
from cosa.core.errors import CosaError
from cosa.images import layout
from cosa.images.produce import Image
from cosa.tools import gpt

# What `os-init` lays below /var is tmpfiles' business here; the lock is made by whoever
# first writes to the repository.
NOT_OURS = {f"ostree/deploy/{OSNAME}/var/{name}" for name in ("lib", "lock", "log", "run", "tmp")}
NOT_OURS.add("ostree/repo/.lock")
NOT_THEIRS = {"lost+found", ".aleph-version.json"}


@pytest.fixture(scope="module")
def root(raw: Path, room: Path) -> Path:
    return extract(raw, gpt.read(raw).named("root").start, room / "ours")


@pytest.fixture(scope="module")
def boot(raw: Path, room: Path) -> Path:
    return extract(raw, gpt.read(raw).named("boot").start, room / "boot")


@pytest.fixture(scope="module")
def deployed(source: Source, room: Path) -> Path:
    """What the real ostree makes of the same commit."""
    sysroot = room / "theirs"
    sysroot.mkdir()
    at = f"--sysroot={sysroot}"
    program("ostree", "admin", "init-fs", "--modern", sysroot)
    program("ostree", "admin", "os-init", at, OSNAME)
    repo = f"--repo={sysroot}/ostree/repo"
    program("ostree", repo, "pull-local", source.repo, "small/x86_64/test")
    options = {"readonly": "true", "bootloader": "none",
               "bls-append-except-default": 'grub_users=""', "bootprefix": "true"}  # fmt: skip
    for key, value in options.items():
        program("ostree", repo, "config", "set", f"sysroot.{key}", value)
    kargs = [f"--karg={karg}" for karg in ("rw", "$ignition_firstboot", *SPEC.extra_kargs)]
    program("ostree", "admin", "deploy", at, f"--os={OSNAME}", *kargs, "small/x86_64/test")
    return sysroot


def facts(root: Path, *, labels_below: str = "") -> dict[str, tuple]:
    """Type, mode, owner, content and xattrs by path."""
    found = {}
    for path in root.rglob("*"):
        info = path.lstat()
        name = str(path.relative_to(root))
        body: object = None
        if path.is_symlink():
            body = os.readlink(path)
        elif path.is_file():
            body = hashlib.sha256(path.read_bytes()).hexdigest()
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if key != "security.selinux" or name.startswith(labels_below)
        }
        found[name] = (oct(info.st_mode), info.st_uid, info.st_gid, body, xattrs)
    return found


def same(ours: dict, theirs: dict) -> None:
    assert sorted(set(theirs) - set(ours)) == []
    assert sorted(set(ours) - set(theirs)) == []
    assert {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]} == {}


def test_the_root_is_what_ostree_deploys(root: Path, deployed: Path) -> None:
    # Outside of deployments ostree has no policy here to label with.
    labels = f"ostree/deploy/{OSNAME}/deploy/"
    ours, theirs = facts(root, labels_below=labels), facts(deployed, labels_below=labels)
    origin = next(name for name in ours if name.endswith(".origin"))
    assert ours[origin][4], "what is ours to label is labelled"
    ours[origin] = (*ours[origin][:4], {})
    for name in NOT_THEIRS:
        ours.pop(name)
    theirs = {
        name: value for name, value in theirs.items()
        if name not in NOT_OURS and (name == "boot" or not name.startswith("boot/"))
    }  # fmt: skip
    same(ours, theirs)
    assert any("security.capability" in each[4] for each in ours.values())


def test_boot_is_what_ostree_deploys_and_what_grub_needs(boot: Path, deployed: Path) -> None:
    ours, theirs = facts(boot, labels_below="-"), facts(deployed / "boot", labels_below="-")
    grub = {name for name in ours if name.startswith("grub2")}
    assert {"grub2/grub.cfg", "grub2/console.cfg", "grub2/i386-pc/linux.mod"} < grub
    for name in (*grub, "ignition.firstboot", "lost+found"):
        ours.pop(name)
    same(ours, theirs)
    entry = (boot / "loader/entries/ostree-1.conf").read_text()
    assert "options rw $ignition_firstboot lsm=selinux a.b=c ostree=/ostree/boot.1/small/" in entry


def test_ostree_is_content_with_it(root: Path, boot: Path, source: Source) -> None:
    os.rmdir(root / "boot")
    boot.rename(root / "boot")
    try:
        told = program("ostree", "admin", "status", f"--sysroot={root}")
        fsck = program("ostree", "fsck", f"--repo={root}/ostree/repo")
    finally:
        (root / "boot").rename(boot)
        (root / "boot").mkdir()
    assert f"{OSNAME} {source.commit}.0" in told
    assert "Version: 7.1" in told
    assert "origin refspec: small/x86_64/test" in told
    assert "fsck of 1 commits" in fsck or "object fsck" in fsck


def test_content_is_stored_once(raw: Path, root: Path, source: Source) -> None:
    """Files are links to their objects; empty files and /etc stand alone, as ostree has it."""
    deployment = f"/ostree/deploy/{OSNAME}/deploy/{source.commit}.0"
    names = ["usr/bin/tool", "usr/bin/twin", "usr/etc/twin", "etc/twin", "usr/bin/empty",
             "usr/bin/also-empty", ""]  # fmt: skip
    offset = gpt.read(raw).named("root").start
    found = inodes(raw, offset, [f"{deployment}/{name}".rstrip("/") for name in names])
    tool, twin, factory, own, empty, other, folder = found
    assert tool.number == twin.number
    assert tool.links == 3  # the two names and the object
    assert factory.links == 2  # another label is another object
    assert own.links == 1
    assert empty.number != other.number
    assert folder.flags & 0x10, "the deployment is immutable"
    assert not (root / "etc").exists()


def test_file_systems_and_tables_are_sound(raw: Path, room: Path) -> None:
    table = gpt.read(raw)
    for name, label, uuid in (
        ("boot", "boot", layout.BOOT_UUID),
        ("root", "root", layout.ROOT_UUID),
    ):
        part = table.named(name)
        piece = room / f"{name}.ext4"
        program("dd", f"if={raw}", f"of={piece}", "bs=1M", f"skip={part.start >> 20}",
                f"count={part.size >> 20}", "conv=sparse", "status=none")  # fmt: skip
        program("e2fsck", "-fn", piece)
        told = program("dumpe2fs", "-h", piece)
        assert f"volume name:   {label}" in told
        assert f"UUID:          {uuid}" in told
        assert "metadata_csum_seed" in told
        piece.unlink()
    dump = json.loads(program("sfdisk", "--json", raw))["partitiontable"]
    assert dump["id"].lower() == str(layout.DISK_GUID)
    assert [(p["name"], p["type"].lower(), p["start"] * 512) for p in dump["partitions"]] == [
        (p.name, str(p.kind), p.start) for p in table.partitions
    ]
    assert "No errors detected" in program("sfdisk", "--verify", raw)
    esp = f"{raw}@@{table.named('EFI-SYSTEM').start}"
    told = program("mdir", "-i", esp, "-b", "-/", "::", MTOOLS_SKIP_CHECK="1")
    assert "::/EFI/BOOT/BOOTX64.EFI" in told
    assert "::/EFI/debian/grub.cfg" in told
    offset = table.named("boot").start
    names = program("debugfs", "-R", "ls -l /ostree", f"{raw}?offset={offset}")
    assert f"{OSNAME}-" in names


def test_the_same_bits_elsewhere_and_otherwise(
    source: Source, raw: Path, made: dict[str, Image], room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder, other neighbours, another time zone; and disks lent out again and again."""
    monkeypatch.setenv("COSA_JOBS", "4")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    folder = room / "two/deep er"
    folder.mkdir(parents=True)
    other = build(source, folder / "disk.raw")
    assert fs.sha256_file(other) == fs.sha256_file(raw)
    names = ["qemu", "nutanix", "metal", "metal4k", "aws", "azure", "hyperv", "gcp", "kubevirt",
             "vmware", "virtualbox"]  # fmt: skip
    again = images(other, folder, names)
    assert {name: image.sha256 for name, image in again.items()} == {
        name: made[name].sha256 for name in names
    }
    for image in again.values():
        if image.size < 1 << 30:
            assert image.sha256 == fs.sha256_file(image.path)
        image.path.unlink()
    assert not any(path.is_file() for path in folder.rglob("*"))


@pytest.fixture
def small_disk(room: Path):
    """A file system of its own with 24 MiB."""
    folder = room / "full"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_is_one_clear_error(source: Source, small_disk: Path) -> None:
    """Both when it is known beforehand and when it happens on the way."""
    with pytest.raises(CosaError) as caught:
        build(source, small_disk / "disk.raw")
    assert caught.value.code == "env/disk-full"
    assert "MiB" in caught.value.what
    assert not list(small_disk.rglob("*.raw*"))


@pytest.mark.parametrize("fill_mib", [23, 22, 20])
def test_a_disk_that_fills_up_on_the_way(
    source: Source, small_disk: Path, fill_mib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "need_space", lambda *_: None)
    (small_disk / "other").write_bytes(bytes(fill_mib << 20))
    with pytest.raises((CosaError, OSError)) as caught:
        build(source, small_disk / "disk.raw")
    if isinstance(caught.value, CosaError):
        assert caught.value.code == "env/disk-full", caught.value.why
    left = [path for path in small_disk.rglob("*") if path.is_file()]
    assert left == [small_disk / "other"]


def test_a_damaged_repository_names_the_object(source: Source, room: Path) -> None:
    repo = room / "damaged"
    program("cp", "-a", source.repo, repo)
    victim = max((repo / "objects").rglob("*.file"), key=lambda path: path.stat().st_size)
    victim.unlink()
    with pytest.raises(CosaError) as caught:
        build(Source(repo, source.commit), room / "damaged.raw")
    assert caught.value.code == "ostree/missing-object"
    assert victim.stem in caught.value.what
    tree = next((repo / "objects").rglob("*.dirtree"))
    tree.write_bytes(b"\xff" * 40)
    with pytest.raises(CosaError) as caught:
        build(Source(repo, source.commit), room / "damaged.raw")
    assert caught.value.code == "ostree/object"
    assert not (room / "damaged.raw").exists()
