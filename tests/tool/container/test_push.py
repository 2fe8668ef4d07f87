"""Containers of builds in a real registry, looked at with skopeo."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from cosa.cli.main import main
from cosa.model.imageref import parse_ref

BUILD = "41.20260101.dev.0"


def blob(tar: tarfile.TarFile, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    entry = tarfile.TarInfo(f"blobs/sha256/{digest}")
    entry.size = len(data)
    if entry.name not in tar.getnames():
        tar.addfile(entry, io.BytesIO(data))
    return {"digest": f"sha256:{digest}", "size": len(data)}


def write_archive(path: Path, arch: str, content: bytes) -> None:
    """An OCI archive of one image with one layer more than a shared one."""
    with tarfile.open(path, "w") as tar:
        layers, diffs = [], []
        for text in (b"shared" * 1000, content):
            raw = io.BytesIO()
            with tarfile.open(fileobj=raw, mode="w") as inner:
                entry = tarfile.TarInfo("file")
                entry.size = len(text)
                inner.addfile(entry, io.BytesIO(text))
            packed = gzip.compress(raw.getvalue(), mtime=0)
            diffs.append(f"sha256:{hashlib.sha256(raw.getvalue()).hexdigest()}")
            layers.append(
                blob(tar, packed) | {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
            )
        config = json.dumps({"architecture": arch, "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": diffs}})  # fmt: skip
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(tar, config.encode()) | {
                "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": layers,
        })  # fmt: skip
        index = json.dumps({"schemaVersion": 2, "manifests": [
            blob(tar, manifest.encode()) | {
                "mediaType": "application/vnd.oci.image.manifest.v1+json"}]})  # fmt: skip
        for name, text in (("index.json", index), ("oci-layout", '{"imageLayoutVersion":"1.0.0"}')):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture
def workdir(tmp_path):
    """A working directory with one build of two architectures that has an ociarchive each."""
    root = tmp_path / "work"
    (root / "src/config").mkdir(parents=True)
    for name in ("builds", "tmp", "cache", "overrides"):
        (root / name).mkdir()
    for arch, go in (("x86_64", "amd64"), ("aarch64", "arm64")):
        folder = root / "builds" / BUILD / arch
        folder.mkdir(parents=True)
        name = f"os-{BUILD}-ostree.{arch}.ociarchive"
        write_archive(folder / name, go, arch.encode() * 5000)
        data = (folder / name).read_bytes()
        meta = {
            "buildid": BUILD, "name": "os", "ostree-commit": "0" * 64, "ostree-version": BUILD,
            "ostree-timestamp": "2026-01-01T00:00:00Z", "summary": "x",
            "coreos-assembler.basearch": arch,
            "images": {"ostree": {"path": name, "sha256": hashlib.sha256(data).hexdigest(),
                                  "size": len(data)}},
        }  # fmt: skip
        (folder / "meta.json").write_text(json.dumps(meta))
    builds = {"schema-version": "1.0.0", "timestamp": "2026-01-01T00:00:00Z",
              "builds": [{"id": BUILD, "arches": ["x86_64", "aarch64"]}]}  # fmt: skip
    (root / "builds/builds.json").write_text(json.dumps(builds))
    (root / "builds/latest").symlink_to(BUILD)
    return root


def meta_of(workdir, arch="x86_64"):
    return json.loads((workdir / "builds" / BUILD / arch / "meta.json").read_text())


def inspect(name: str) -> dict[str, object]:
    argv = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_a_container_is_pushed_and_noted(workdir, registry, client, capsys, form, tmp_path):
    name = f"{registry}/push/os-{form}"
    words = ["--workdir", str(workdir), "push-container", name, "--format", form]
    assert main(words) == 0
    told = capsys.readouterr().out.strip()
    tagged, _, digest = told.partition("@")
    assert tagged == f"{name}:{BUILD}-x86_64"
    assert meta_of(workdir)["base-oscontainer"] == {"image": name, "digest": digest}
    kind = inspect(tagged)["mediaType"]
    assert ("docker" in kind) == (form == "v2s2")
    # What arrives can be unpacked, digests and all.
    subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", f"docker://{name}@{digest}",
         f"dir:{tmp_path / 'out'}"], check=True, capture_output=True,
    )  # fmt: skip
    assert main(words) == 0  # nothing is there to send
    assert "0 of 3 blobs were not there yet" in capsys.readouterr().err


def test_architectures_are_joined(workdir, registry, capsys, tmp_path):
    name = f"{registry}/push/list"
    words = ["--workdir", str(workdir), "push-container-manifest", "--artifact", "ostree",
             "--tag", "stable", "--tag", BUILD, "--write-digest-to-file", str(tmp_path / "d")]  # fmt: skip
    assert main([*words, "--repo", name]) == 0
    digest = (tmp_path / "d").read_text().strip()
    listed = inspect(f"{name}:stable")
    assert [one["platform"]["architecture"] for one in listed["manifests"]] == ["arm64", "amd64"]
    for arch, go in (("x86_64", "amd64"), ("aarch64", "arm64")):
        entry = meta_of(workdir, arch)["base-oscontainer"]
        assert entry["manifest-list-digest"] == digest
        assert entry["tags"] == ["stable", BUILD]
        mine = next(one for one in listed["manifests"] if one["platform"]["architecture"] == go)
        assert entry["digest"] == mine["digest"]
    assert main([*words, "--repo", name]) == 0
    assert "is that list already" in capsys.readouterr().err
    second = f"{registry}/push/second"
    assert main([*words, "--repo", second]) == 0
    entry = meta_of(workdir)["base-oscontainer"]
    assert entry["image"] == name
    assert [one["image"] for one in entry["additional-images"]] == [second]


def test_copies_keep_their_digests(workdir, registry, client, capsys):
    name, there = f"{registry}/push/copied", f"{registry}/push/there"
    assert main(["--workdir", str(workdir), "push-container-manifest", "--artifact", "ostree",
                 "--tag", "t", "--repo", name]) == 0  # fmt: skip
    assert main(["copy-container", name, there, "--tag", "t"]) == 0
    digests = {client.manifest(parse_ref(f"{place}:t")).digest for place in (name, there)}
    assert len(digests) == 1
    assert main(["copy-container", name, there, "--tag", "t", "--manifest-list-to-arch-tag"]) == 0
    assert not client.manifest(parse_ref(f"{there}:t-x86_64")).is_list


def test_what_cannot_be_pushed_is_said(workdir, registry, capsys):
    words = ["--workdir", str(workdir), "push-container"]
    assert main([*words, f"{registry}/x", "--image", "kubevirt"]) == 3
    assert "has no kubevirt for x86_64" in capsys.readouterr().err
    assert main([*words, "Not/An/Image"]) == 3
    assert "image/bad-reference" in capsys.readouterr().err
    archive = next((workdir / "builds" / BUILD / "x86_64").glob("*.ociarchive"))
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 0xFF
    archive.write_bytes(data)
    before = meta_of(workdir)
    assert main([*words, f"{registry}/damaged"]) != 0
    assert meta_of(workdir) == before


def test_the_os_of_a_build_goes_into_a_release(workdir, registry, images, capsys):
    """`oc-adm-release`, from an existing release of two images."""
    label = {"io.openshift.release.operator": "true"}
    references = json.dumps({
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "spec": {"tags": [
            {"name": "machine-os-content", "from": {"kind": "DockerImage", "name": "x.io/os"}}]},
    })  # fmt: skip
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  osImageURL: x.io/os\n"
    parts = {
        "cluster-version-operator": images.push("oc-cvo", {"x": "y"}),
        "machine-config-operator": images.push(
            "oc-mco",
            {"manifests/0000_80_mco_01.yaml": config, "manifests/image-references": references},
            labels=label,
        ),
        "machine-os-content": images.push("oc-os", {"x": "old"}),
    }  # fmt: skip
    target = f"{registry}/oc/release"
    words = [f"{name}={spec}" for name, spec in parts.items()]
    assert main(["payload", "new", *words, "--name", "4.20.0", "--to-image", f"{target}:one"]) == 0
    shortcut = ["--workdir", str(workdir), "oc-adm-release", "--from-url", target, "--from-tag", "one",
                "--to-url", target, "--to-tag", "two", "--name", "4.20.1"]  # fmt: skip
    assert main(shortcut) == 3
    assert "no container of build" in capsys.readouterr().err
    assert main(["--workdir", str(workdir), "push-container", f"{registry}/oc/os"]) == 0
    assert main(shortcut) == 0
    capsys.readouterr()
    assert main(["payload", "extract", f"{target}:two", "--file", "0000_80_mco_01.yaml"]) == 0
    digest = meta_of(workdir)["base-oscontainer"]["digest"]
    assert f"osImageURL: {registry}/oc/os@{digest}" in capsys.readouterr().out
