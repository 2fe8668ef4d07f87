"""`cosa import`: the commit an image is, or one of its tree; and images nobody should import."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from test_archive import CAPS, make_tree, ostree

from cosa.container.archive import write_ociarchive
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline.importing import Wanted, import_image
from cosa.pipeline.workdir import Workdir, basearch

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners of objects need root"),
]

LABELS = {"com.coreos.osname": "testos", "org.opencontainers.image.version": "1.2"}
ROW = ("bash", "0", "5.2", "1", "x86_64")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A commit's checksum and its archive."""
    folder = tmp_path_factory.mktemp("import")
    make_tree(folder / "root")
    kernel = folder / "root/usr/lib/modules/6.1"
    kernel.mkdir(parents=True)
    (kernel / "vmlinuz").write_bytes(b"kernel")
    repo = folder / "repo"
    ostree(repo, "init", "--mode=bare-user")
    commit = ostree(
        repo, "commit", "--branch=test", "--timestamp=@1700000000", "--no-bindings",
        "--add-metadata-string=version=1.2", "--bootable",
        f"--add-metadata=rpmostree.rpmdb.pkglist=@a(sssss) [{ROW}]",
        f"--tree=dir={folder / 'root'}",
    )  # fmt: skip
    out = folder / "os.ociarchive"
    write_ociarchive(repo, commit, out, labels=LABELS, arch=basearch())
    return commit, out


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return Workdir(tmp_path / "w")


def layout(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}


def blob(data: bytes) -> tuple[str, dict[str, bytes]]:
    digest = hashlib.sha256(data).hexdigest()
    return f"sha256:{digest}", {f"blobs/sha256/{digest}": data}


def rewritten(files: dict[str, bytes], out: Path, layers=(), config=None, swap=None) -> Path:
    """An archive with further layers (plain tars), other labels, or one layer exchanged."""
    index = json.loads(files["index.json"])
    manifest = json.loads(files["blobs/sha256/" + index["manifests"][0]["digest"][7:]])
    settings = json.loads(files["blobs/sha256/" + manifest["config"]["digest"][7:]])
    files = dict(files)
    for number, plain in [*enumerate(layers, len(manifest["layers"])), *(swap or [])]:
        digest, made = blob(gzip.compress(plain))
        files |= made
        row = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest,
               "size": len(next(iter(made.values())))}  # fmt: skip
        diffid = "sha256:" + hashlib.sha256(plain).hexdigest()
        if number < len(manifest["layers"]):
            manifest["layers"][number] = row
            old = settings["rootfs"]["diff_ids"][number]
            settings["rootfs"]["diff_ids"][number] = diffid
            labels = settings["config"]["Labels"]
            if labels["ostree.final-diffid"] == old:
                labels["ostree.final-diffid"] = diffid
        else:
            manifest["layers"].append(row)
            settings["rootfs"]["diff_ids"].append(diffid)
    if config:
        config(settings)
    digest, made = blob(json.dumps(settings).encode())
    files |= made
    manifest["config"] |= {"digest": digest, "size": len(next(iter(made.values())))}
    digest, made = blob(json.dumps(manifest).encode())
    files |= made
    index["manifests"][0] |= {"digest": digest, "size": len(next(iter(made.values())))}
    files["index.json"] = json.dumps(index).encode()
    with tarfile.open(out, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out


def tar_of(*entries: tuple[str, object]) -> bytes:
    """A layer: name and bytes (file), None (folder), or a TarInfo to take as it is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in entries:
            info = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if what is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            data = what if isinstance(what, bytes) else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def special(kind: bytes, target: str = "", **more) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    for key, value in more.items():
        setattr(info, key, value)
    return info


def derived(source: tuple[str, Path], out: Path, *layers: bytes) -> str:
    return str(rewritten(layout(source[1]), out, layers))


def test_the_commit_is_the_very_same(source: tuple[str, Path], workdir: Workdir) -> None:
    commit, archive = source
    build, folder = import_image(workdir, Wanted(str(archive)))
    assert build == "1.2"
    ostree(workdir.repo, "fsck")
    assert ostree(workdir.repo, "rev-parse", "1.2") == commit
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["ostree-commit"], meta["name"]) == (commit, "testos")
    assert meta["ostree-timestamp"] == "2023-11-14T22:13:20Z"
    assert meta["coreos-assembler.oci-imported"] is True
    assert meta["coreos-assembler.oci-imported-labels"]["containers.bootc"] == "1"
    image = meta["images"]["ostree"]
    assert image["path"] == f"testos-1.2-ostree.{basearch()}.ociarchive"
    assert image["skip-compression"] is True
    assert (folder / image["path"]).read_bytes() == archive.read_bytes()
    assert workdir.latest() == "1.2"
    lock = json.loads((folder / f"manifest-lock.generated.{basearch()}.json").read_text())
    assert lock["packages"] == {"bash": {"evra": "5.2-1.x86_64"}}
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(archive)))
    assert caught.value.code == "build/exists"


def test_through_skopeo(source: tuple[str, Path], workdir: Workdir, tmp_path: Path) -> None:
    commit, archive = source
    copy = ["skopeo", "copy", "-q", f"oci-archive:{archive}", f"oci:{tmp_path / 'oci'}:v1"]
    subprocess.run(copy, check=True)
    import_image(workdir, Wanted(f"oci:{tmp_path / 'oci'}:v1"))
    assert workdir.meta().ostree_commit == commit
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(f"oci:{tmp_path / 'none'}"))
    assert (caught.value.code, caught.value.exit_class) == ("import/fetch", ExitClass.NETWORK)


def test_layers_on_top_give_a_commit_of_the_tree(
    source: tuple[str, Path], workdir: Workdir, tmp_path: Path
) -> None:
    ping = special(tarfile.REGTYPE, pax_headers={
        "SCHILY.xattr.security.capability": CAPS.decode("utf-8", "surrogateescape")})  # fmt: skip
    layers = (
        tar_of(
            ("etc/added.conf", b"added\n"), ("usr/bin/.wh.su", b""), ("usr/bin/raw", ping),
            ("etc/deep/.wh..wh..opq", b""), ("etc/deep/fresh", b"new\n"), ("run/junk", b"x"),
            ("usr/lib/owned", special(tarfile.REGTYPE, uid=7, gid=8, mode=0o640)),
        ),
        tar_of(("etc/added.conf", b"changed\n"), ("etc/resolv.conf", b"")),
    )  # fmt: skip
    image = derived(source, tmp_path / "d.oci", *layers)
    _, folder = import_image(workdir, Wanted(image))
    meta = json.loads((folder / "meta.json").read_text())
    commit = meta["ostree-commit"]
    assert commit != source[0]
    ostree(workdir.repo, "fsck")
    assert ostree(workdir.repo, "cat", commit, "/usr/etc/added.conf") == "changed"
    names = set(ostree(workdir.repo, "ls", "-R", "--nul-filenames-only", commit).split("\0"))
    assert {"/usr/etc/deep/fresh", "/usr/bin/tool", "/sysroot", "/ostree", "/boot"} <= names
    gone = {"/usr/bin/su", "/usr/etc/deep/conf", "/run/junk", "/etc", "/usr/etc/resolv.conf",
            "/sysroot/ostree"}  # fmt: skip
    assert not gone & names
    assert "security.capability" in ostree(workdir.repo, "ls", "-X", commit, "/usr/bin/raw")
    assert " 7 8 " in ostree(workdir.repo, "ls", commit, "/usr/lib/owned")
    about = json.loads((folder / "commitmeta.json").read_text())
    again = Workdir(tmp_path / "again")
    import_image(again, Wanted(image))
    assert again.meta().ostree_commit == commit, "the same in another place"
    assert (about["synthetic"], about["ostree.linux"], about["ostree.bootable"]) == (
        True, "6.1", True,
    )  # fmt: skip


def test_disk_images_come_along(source: tuple[str, Path], workdir: Workdir, tmp_path: Path) -> None:
    files = layout(source[1])
    index = json.loads(files["index.json"])
    for platform, data in (("qemu", b"a disk"), ("aws", b"another")):
        digest, made = blob(data)
        row = {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}
        files |= made
        digest, made = blob(json.dumps({"schemaVersion": 2, "layers": [row]}).encode())
        files |= made
        index["manifests"].append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest,
                "size": 1, "artifactType": "application/vnd.diskimage.qcow2",
                "platform": {"os": platform, "architecture": "amd64"},
            }
        )  # fmt: skip
    files["index.json"] = json.dumps(index).encode()
    path = rewritten(files, tmp_path / "x.oci")
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(path), download=("gcp",)))
    assert (caught.value.code, caught.value.why) == ("import/no-disk", "it has: aws, qemu")
    _, folder = import_image(workdir, Wanted(str(path), download=("qemu",)))
    assert workdir.image_path("qemu").read_bytes() == b"a disk"
    assert workdir.image_path("qemu").name == f"testos-1.2-qemu.{basearch()}.qcow2"
    assert "aws" not in json.loads((folder / "meta.json").read_text())["images"]


def test_labels_say_what_it_is(source: tuple[str, Path], workdir: Workdir, tmp_path: Path) -> None:
    def strip(config: dict) -> None:
        config["config"]["Labels"] = {"containers.bootc": "yes"}

    path = rewritten(layout(source[1]), tmp_path / "x.oci", config=strip)
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(path)))
    text = "\n".join(f"{p.what} {p.why}" for p in caught.value.problems)
    assert caught.value.code == "import/labels"
    for part in ("containers.bootc", "'yes'", "org.opencontainers.image.version", "osname"):
        assert part in text
    assert workdir.read_builds().builds == []


@pytest.mark.parametrize(
    ("version", "code"), [("../../x", "usage/version"), ("a/b", "usage/version")]
)
def test_a_version_is_no_path(
    source: tuple[str, Path], workdir: Workdir, tmp_path: Path, version: str, code: str
) -> None:
    def rename(config: dict) -> None:
        config["config"]["Labels"]["org.opencontainers.image.version"] = version

    path = rewritten(layout(source[1]), tmp_path / "x.oci", config=rename)
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(path)))
    assert caught.value.code == code


def test_the_architecture_must_fit(source: tuple[str, Path], workdir: Workdir) -> None:
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(source[1]), arch="s390x"))
    assert caught.value.code == "import/wrong-arch"


@pytest.mark.parametrize("name", ["quay.example/os:1", "/nowhere/os.tar"])
def test_an_image_needs_a_transport(workdir: Workdir, name: str) -> None:
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(name))
    assert caught.value.code == "import/source"
    assert "docker://" in caught.value.fix


def test_no_kernel_is_no_system(source: tuple[str, Path], workdir: Workdir, tmp_path: Path) -> None:
    image = derived(source, tmp_path / "x.oci", tar_of(("usr/lib/modules/6.1/.wh.vmlinuz", b"")))
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(image))
    assert caught.value.code == "import/not-bootable"


def content_layer(files: dict[str, bytes]) -> tuple[int, bytes]:
    """The number and the plain tar of the last layer."""
    index = json.loads(files["index.json"])
    manifest = json.loads(files["blobs/sha256/" + index["manifests"][0]["digest"][7:]])
    digest = manifest["layers"][-1]["digest"][7:]
    return len(manifest["layers"]) - 1, gzip.decompress(files[f"blobs/sha256/{digest}"])


def edited(plain: bytes, edit) -> bytes:
    """A tar with `edit(member, data)` applied to each member; None drops it."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(plain)) as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            data = old.extractfile(member).read() if member.isreg() else b""
            result = edit(member, data)
            if result is not None:
                member.size = len(result)
                new.addfile(member, io.BytesIO(result))
    return out.getvalue()


def flip(member: tarfile.TarInfo, data: bytes) -> bytes:
    return b"!" + data[1:] if member.name.endswith(".file") and data else data


def drop(member: tarfile.TarInfo, data: bytes) -> bytes | None:
    if member.name.endswith(".file") and len(data) == 200_000:
        return None
    return None if member.islnk() else data


def become_root(member: tarfile.TarInfo, data: bytes) -> bytes:
    if member.name.endswith(".file"):
        member.uid = 0
        member.mode |= 0o4000
    return data


def no_xattrs(member: tarfile.TarInfo, data: bytes) -> bytes | None:
    return None if member.name.endswith("-link") else data


@pytest.mark.parametrize("edit", [flip, drop, become_root, no_xattrs])
def test_a_changed_commit_is_refused(
    source: tuple[str, Path], workdir: Workdir, tmp_path: Path, edit
) -> None:
    files = layout(source[1])
    number, plain = content_layer(files)
    path = rewritten(files, tmp_path / "x.oci", swap=[(number, edited(plain, edit))])
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(path)))
    assert (caught.value.code, caught.value.exit_class) == ("import/damaged", ExitClass.UNTRUSTED)
    assert workdir.read_builds().builds == []
    assert ostree(workdir.repo, "refs") == ""
    # The next one is not disturbed by what was left.
    import_image(workdir, Wanted(str(source[1])))
    ostree(workdir.repo, "fsck")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def blob_changed(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [cut, blob_changed, lambda _data: b"", lambda _data: b"\0" * 999]
)
def test_damaged_archives(
    source: tuple[str, Path], workdir: Workdir, tmp_path: Path, damage
) -> None:
    path = tmp_path / "x.oci"
    path.write_bytes(damage(source[1].read_bytes()))
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(path)))
    assert caught.value.exit_class is ExitClass.UNTRUSTED
    assert str(path.name) in str(caught.value) or "image.ociarchive" in str(caught.value)


@pytest.mark.parametrize(
    "index",
    [
        [], 5, {}, {"manifests": 5}, {"manifests": [5, None]}, {"manifests": [{}]},
        {"manifests": [{"digest": 5}]}, {"manifests": [{"digest": "sha256:" + "0" * 64}]},
        {"manifests": [{"digest": ["x"], "platform": 5, "artifactType": {}}]},
        {"manifests": [{"digest": "../../etc/passwd", "platform": {"architecture": []}}]},
    ],
)  # fmt: skip
def test_an_index_of_anything(
    source: tuple[str, Path], workdir: Workdir, tmp_path: Path, index: object
) -> None:
    files = layout(source[1]) | {"index.json": json.dumps(index).encode()}
    path = tmp_path / "x.oci"
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(CosaError) as caught:
        import_image(workdir, Wanted(str(path)))
    assert caught.value.code in ("import/damaged", "import/wrong-arch")


OUT = "outside"


@pytest.mark.parametrize(
    ("entries", "refused"),
    [
        ([("../outside/x", b"x")], True),
        ([("/outside/x", b"x")], True),
        ([("usr/esc", special(tarfile.SYMTYPE, "../../../../../outside")), ("usr/esc/x", b"x")], True),
        ([("usr/abs", special(tarfile.SYMTYPE, "{out}")), ("usr/abs/x", b"x")], True),
        ([("usr/loop", special(tarfile.SYMTYPE, "loop")), ("usr/loop/x", b"x")], True),
        ([("usr/hard", special(tarfile.LNKTYPE, "../outside/victim"))], True),
        ([("usr/hard", special(tarfile.LNKTYPE, "{out}/victim"))], True),
        ([("usr/abs", special(tarfile.SYMTYPE, "{out}")), ("usr/.wh.abs", b"")], False),
        ([("usr/.wh...", b"")], False),
        ([("usr/dev", special(tarfile.CHRTYPE, devmajor=1, devminor=3))], False),
        ([("usr/pipe", special(tarfile.FIFOTYPE))], False),
    ],
)  # fmt: skip
def test_nothing_outside_is_touched(
    source: tuple[str, Path], workdir: Workdir, tmp_path: Path, entries, *, refused: bool
) -> None:
    out = tmp_path / OUT
    out.mkdir()
    (out / "victim").write_text("whole")
    made = []
    for name, what in entries:
        entry = what
        if isinstance(what, tarfile.TarInfo):
            entry = copy.copy(what)
            entry.linkname = what.linkname.replace("{out}", str(out))
        made.append((name, entry))
    image = derived(source, tmp_path / "x.oci", tar_of(*made))
    if refused:
        with pytest.raises(CosaError) as caught:
            import_image(workdir, Wanted(image))
        assert caught.value.exit_class is ExitClass.UNTRUSTED
    else:
        import_image(workdir, Wanted(image))
    assert [path.name for path in out.iterdir()] == ["victim"]
    assert (out / "victim").read_text() == "whole"
    assert (out / "victim").stat().st_nlink == 1
    shutil.rmtree(workdir.root)
