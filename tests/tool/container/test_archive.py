"""An OCI archive of a commit: read by skopeo, by libostree as a repository, and as a tree."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from cosa.container.archive import Content, write_ociarchive
from cosa.core.errors import CosaError

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners of objects need root"),
]

CAPS = bytes.fromhex("0000000200200000" + "00" * 12)
REPO = "sysroot/ostree/repo"


def ostree(repo: Path, *args: str | Path) -> str:
    argv = ["ostree", f"--repo={repo}", *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_tree(root: Path) -> None:
    for folder in ("usr/etc/deep", "usr/bin", "usr/lib", "var", "sysroot/inner", "boot", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/tool").write_bytes(b"#!" * 100_000)
    (root / "usr/bin/twin").write_bytes(b"#!" * 100_000)
    (root / "usr/bin/su").write_bytes(b"setuid")
    (root / "usr/bin/su").chmod(0o4755)
    (root / "usr/bin/ping").write_bytes(b"raw")
    os.setxattr(root / "usr/bin/ping", "security.capability", CAPS)
    (root / "usr/bin/odd").symlink_to("../..//usr/bin/tool")
    (root / "usr/etc/deep/conf").write_text("x=1\n")
    (root / "usr/etc/empty").touch()
    (root / "usr/lib" / ("long" * 40)).write_text("long name")
    (root / "usr/lib/name with \u00fc and blank").write_text("ü")
    (root / "usr/lib/big").write_bytes(os.urandom(2_500_000))
    os.chown(root / "usr/lib/big", 3, 70000)
    (root / "tmp").chmod(0o1777)
    (root / "ostree").symlink_to("sysroot/ostree")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A bare-user repository, its commit, and the tree it came from."""
    folder = tmp_path_factory.mktemp("commit")
    make_tree(folder / "root")
    repo = folder / "repo"
    ostree(repo, "init", "--mode=bare-user")
    # No labels of the machine the test happens to run on.
    commit = ostree(
        repo, "commit", "--branch=test", "--timestamp=@1700000000", "--subject=A test",
        "--add-metadata-string=version=1.2", "--add-metadata=ostree.bootable=true",
        "--add-metadata-string=ostree.linux=6.1", "--add-detached-metadata-string=extra=1",
        f"--tree=dir={folder / 'root'}",
    )  # fmt: skip
    return repo, commit, folder / "root"


class Image:
    """A written archive, taken apart."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.members = tar.getmembers()
            self.files = {m.name: tar.extractfile(m).read() for m in self.members}
        self.index = json.loads(self.files["index.json"])
        self.manifest = json.loads(self.blob(self.index["manifests"][0]))
        self.config = json.loads(self.blob(self.manifest["config"]))

    def blob(self, descriptor: dict) -> bytes:
        data = self.files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        assert len(data) == descriptor["size"]
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == descriptor["digest"]
        return data

    def layers(self) -> list[bytes]:
        return [gzip.decompress(self.blob(layer)) for layer in self.manifest["layers"]]

    def unpack(self, folder: Path) -> Path:
        for data in self.layers():
            done = subprocess.run(
                ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpC", folder],
                input=data, capture_output=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        return folder


@pytest.fixture(scope="module")
def image(source: tuple[Path, str, Path], tmp_path_factory: pytest.TempPathFactory) -> Image:
    path = tmp_path_factory.mktemp("oci") / "test.ociarchive"
    write_ociarchive(source[0], source[1], path, labels={"our": "label"})
    assert os.listdir(path.parent) == [path.name]
    return Image(path)


def test_labels_and_configuration(image: Image, source: tuple[Path, str, Path]) -> None:
    last = hashlib.sha256(image.layers()[-1]).hexdigest()
    labels = image.config["config"]["Labels"]
    assert labels == {
        "ostree.commit": source[1], "ostree.final-diffid": f"sha256:{last}",
        "ostree.bootable": "true", "containers.bootc": "1", "ostree.linux": "6.1",
        "version": "1.2", "org.opencontainers.image.version": "1.2", "our": "label",
    }  # fmt: skip
    assert image.manifest["annotations"] == labels
    diffids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in image.layers()]
    assert image.config["rootfs"] == {"type": "layers", "diff_ids": diffids}
    assert [h["created_by"] for h in image.config["history"]] == ["A test", "files"]
    assert image.config["created"] == "2023-11-14T22:13:20Z"
    assert (image.config["architecture"], image.config["os"]) == ("amd64", "linux")


def test_archive_holds_nothing_of_the_machine(image: Image) -> None:
    for member in image.members:
        assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
    for data in image.layers():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = tar.getmembers()
        names = [os.path.normpath(member.name) for member in members]
        assert len(names) == len(set(names)), "a path twice in one layer"
        assert {member.mtime for member in members} == {0}
        assert {member.uname for member in members} == {""}


def test_order_importers_rely_on(image: Image, source: tuple[Path, str, Path]) -> None:
    first, second = image.layers()
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        files = [m.name for m in tar.getmembers() if not m.isdir() and "/objects/" in m.name]
        assert tar.getmembers()[0].name == "."
    assert files[0].endswith(f"{source[1][2:]}.commit")
    assert files[1].endswith(".commitmeta")
    assert {name.rpartition(".")[2] for name in files[2:]} == {"dirtree", "dirmeta"}
    with tarfile.open(fileobj=io.BytesIO(second)) as tar:
        members = tar.getmembers()
    for number, member in enumerate(members):
        if member.name.endswith(".file"):
            assert members[number - 1].name == f"{member.name}-xattrs-link"
    objects = [member.name for member in members if member.name.endswith(".file")]
    assert objects == sorted(objects)


def test_libostree_reads_the_layers_as_a_repository(
    image: Image, source: tuple[Path, str, Path], tmp_path: Path
) -> None:
    unpacked = image.unpack(tmp_path)
    ostree(unpacked / REPO, "fsck")
    target = tmp_path / "target"
    ostree(target, "init", "--mode=bare-user")
    ostree(target, "pull-local", unpacked / REPO, source[1])
    ostree(target, "fsck")
    assert ostree(target, "show", source[1]) == ostree(source[0], "show", source[1])


def test_container_engines_see_the_tree(
    image: Image, source: tuple[Path, str, Path], tmp_path: Path
) -> None:
    root, origin = image.unpack(tmp_path), source[2]
    assert not (root / "usr/etc").exists()
    assert not (root / "sysroot/inner").exists()
    assert (root / "etc/deep/conf").read_text() == "x=1\n"
    assert (root / "etc/empty").stat().st_nlink == 1
    assert (root / "usr/bin/tool").samefile(root / "usr/bin/twin")
    assert os.readlink(root / "usr/bin/odd") == "../..//usr/bin/tool"
    assert os.getxattr(root / "usr/bin/ping", "security.capability") == CAPS
    assert stat.S_IMODE((root / "var/tmp").stat().st_mode) == 0o1777
    for name in ("usr/bin/su", "usr/lib/big", "usr/lib/name with \u00fc and blank", "tmp"):
        here, there = (root / name).stat(), (origin / name).stat()
        assert (here.st_mode, here.st_uid, here.st_gid) == (
            there.st_mode,
            there.st_uid,
            there.st_gid,
        )
    assert (root / "usr/lib/big").read_bytes() == (origin / "usr/lib/big").read_bytes()


@pytest.mark.parametrize("mode", ["archive", "bare"])
def test_every_repository_mode_gives_the_same_bytes(
    source: tuple[Path, str, Path], tmp_path: Path, mode: str
) -> None:
    other = tmp_path / "repo"
    ostree(other, "init", f"--mode={mode}")
    ostree(other, "pull-local", source[0], source[1])
    digests = set()
    for repo, name in ((source[0], "a"), (other, "b")):
        out = tmp_path / f"{name}.ociarchive"
        write_ociarchive(repo, source[1], out, labels={})
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_skopeo_reads_and_copies(source: tuple[Path, str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.ociarchive"
    made = write_ociarchive(source[0], source[1], path, labels={})

    def skopeo(*args: str) -> str:
        argv = ["skopeo", *args]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    found = json.loads(skopeo("inspect", f"oci-archive:{path}"))
    assert found["Digest"] == f"sha256:{made.manifest_digest}"
    skopeo("--insecure-policy", "copy", f"oci-archive:{path}:latest", f"dir:{tmp_path / 'dir'}")
    assert (tmp_path / "dir/manifest.json").read_text() == made.manifest


def test_own_plan_of_layers(source: tuple[Path, str, Path], tmp_path: Path) -> None:
    repo, commit, _ = source
    listing = ostree(repo, "ls", "-RC", commit).splitlines()
    files = sorted({line.split()[4] for line in listing if line[0] in "-l"})
    plan = [
        Content("first half", frozenset(files[::2]), ("a", "b")),
        Content("second half", frozenset(files[1::2]), ("c",)),
        Content("Reserved for new packages", frozenset()),
    ]
    out = tmp_path / "x.ociarchive"
    write_ociarchive(repo, commit, out, labels={}, content=plan)
    image = Image(out)
    assert [layer.get("annotations") for layer in image.manifest["layers"]] == [
        None, {"ostree.components": "a,b"}, {"ostree.components": "c"}, None,
    ]  # fmt: skip
    (tmp_path / "x").mkdir()
    ostree(image.unpack(tmp_path / "x") / REPO, "fsck")
    with pytest.raises(CosaError, match="do not hold the commit's files"):
        write_ociarchive(repo, commit, out, labels={}, content=plan[:1])
    with pytest.raises(CosaError, match="repeats objects"):
        write_ociarchive(repo, commit, out, labels={}, content=[*plan, plan[0]])


def test_missing_object_leaves_nothing_behind(
    source: tuple[Path, str, Path], tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(source[0], repo)
    victim = max(repo.glob("objects/*/*.file"), key=lambda path: path.stat().st_size)
    victim.unlink()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(CosaError) as caught:
        write_ociarchive(repo, source[1], out / "x.ociarchive", labels={})
    assert caught.value.code == "ostree/missing-object"
    assert list(out.iterdir()) == []
