"""Compressing the images of a build and back; a run killed anywhere is continued."""

import json

import pytest
from folders import add_build, image, make_workdir

from cosa.core import fs
from cosa.core.errors import CosaError
from cosa.model.meta import Meta
from cosa.pipeline import compress as module
from cosa.pipeline.compress import Wish, compress, decompress

RAW = b"metal" * 50_000 + bytes(100_000)
QCOW = b"qemu" * 1000
SPEC = "size: 10\nextra-kargs: []\ncompressor: xz\nplatform-compressor: {qemu: zstd, hyperv: zip}\n"


@pytest.fixture
def workdir(tmp_path):
    made = make_workdir(tmp_path)
    (made.config / "image.yaml").write_text(SPEC)
    folder = add_build(made, "1")
    images = {
        "qemu": image(folder, "a.qcow2", QCOW), "metal": image(folder, "a.raw", RAW),
        "ostree": image(folder, "a.ociarchive", b"o"),
        "nutanix": image(folder, "n.qcow2", b"packed in itself"),
        "odd": image(folder, "odd", b"x") | {"skip-compression": True},
    }  # fmt: skip
    data = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(data | {"images": images, "amis": []}))
    return made


def images(workdir):
    return workdir.meta().images


def names(workdir):
    return {path.name for path in workdir.build().iterdir() if not path.name.startswith(".")}


def test_there_and_back(workdir):
    before = workdir.meta().to_json()["images"]
    assert sorted(compress(workdir, Wish())) == ["a.qcow2.zst", "a.raw.xz"]
    assert {"a.qcow2.zst", "a.raw.xz", "a.ociarchive", "n.qcow2", "odd"} < names(workdir)
    assert not {"a.qcow2", "a.raw"} & names(workdir)
    packed = images(workdir)["metal"]
    assert packed.uncompressed_sha256 == before["metal"]["sha256"]
    assert packed.uncompressed_size == len(RAW)
    assert packed.sha256 == fs.sha256_file(workdir.build() / "a.raw.xz")
    assert compress(workdir, Wish()) == []
    assert sorted(decompress(workdir, Wish())) == ["a.qcow2", "a.raw"]
    assert (workdir.build() / "a.raw").read_bytes() == RAW
    assert workdir.meta().to_json()["images"] == before
    assert workdir.meta().to_json()["amis"] == []
    assert decompress(workdir, Wish()) == []


def test_who_needs_the_plain_file_is_told(workdir):
    assert workdir.plain_image("qemu").name == "a.qcow2"
    compress(workdir, Wish(artefacts=("qemu",)))
    with pytest.raises(CosaError) as caught:
        workdir.plain_image("qemu")
    assert caught.value.code == "build/compressed"
    assert caught.value.fix == "cosa decompress --build 1 --artifact qemu"
    (workdir.build() / "a.raw").unlink()
    with pytest.raises(CosaError) as caught:
        workdir.plain_image("metal")
    assert "buildfetch" in caught.value.fix


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        (Wish(artefacts=("qemu",)), "a.qcow2.zst"),
        (Wish(artefacts=("qemu",), compressor="gzip"), "a.qcow2.gz"),
        (Wish(artefacts=("qemu",), compressor="zip"), "a.qcow2.zip"),
        (Wish(artefacts=("qemu",), fast=True), "a.qcow2.gz"),
        (Wish(artefacts=("qemu",), compressor="xz", fast=True), "a.qcow2.xz"),
    ],
)
def test_which_compressor(workdir, wish, name):
    assert compress(workdir, wish) == [name]
    assert "a.raw" in names(workdir), "the other image is left alone"
    first = (workdir.build() / name).read_bytes()
    decompress(workdir, Wish())
    compress(workdir, wish)
    assert (workdir.build() / name).read_bytes() == first, "same in, same out"


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (Wish(compressor="lzma"), "usage/compressor"),
        (Wish(artefacts=("aws",)), "build/no-image"),
        (Wish(build="9"), "build/unknown"),
    ],
)
def test_refusals(workdir, wish, code):
    with pytest.raises(CosaError) as caught:
        compress(workdir, wish)
    assert caught.value.code == code


def test_damage_is_not_packed(workdir):
    (workdir.build() / "a.raw").write_bytes(RAW[:-1] + b"x")
    with pytest.raises(CosaError) as caught:
        compress(workdir, Wish(artefacts=("metal",)))
    assert caught.value.code == "compress/damaged"
    assert names(workdir) >= {"a.raw"}
    assert images(workdir)["metal"].uncompressed_sha256 is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"uncompressed-sha256": "0" * 64}, "compress/damaged"),
        ({"uncompressed-size": 10}, "compress/too-big"),
    ],
)
def test_what_unfolds_otherwise_is_refused(workdir, change, code):
    compress(workdir, Wish(artefacts=("metal",)))
    data = workdir.meta().to_json()
    data["images"]["metal"] |= change
    Meta.of(data).write(workdir.build() / "meta.json")
    with pytest.raises(CosaError) as caught:
        decompress(workdir, Wish())
    assert caught.value.code == code
    assert names(workdir) >= {"a.raw.xz"}
    assert "a.raw" not in names(workdir)
    assert not list(workdir.build().glob(".*packing"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may clean up behind it."""


@pytest.mark.parametrize("work", [compress, decompress], ids=["compress", "decompress"])
@pytest.mark.parametrize("moment", ["publish", "meta", "unlink"])
def test_a_killed_run_is_continued(workdir, monkeypatch, work, moment):
    wish = Wish(artefacts=("metal",))
    if work is decompress:
        compress(workdir, wish)

    def die(*_args, **_kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "publish":
            patch.setattr(module, "_settle", die)
        elif moment == "meta":
            patch.setattr(Meta, "write", die)
        else:
            patch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: None)
        try:
            work(workdir, wish)
        except Killed:
            assert moment != "unlink"
    entry = images(workdir)["metal"]
    assert fs.sha256_file(workdir.build() / entry.path) == entry.sha256, "never a lie in between"
    (workdir.build() / ".a.raw.zst.packing").write_text("of another run")
    work(workdir, wish)
    assert not list(workdir.build().glob(".*packing"))
    entry = images(workdir)["metal"]
    assert fs.sha256_file(workdir.build() / entry.path) == entry.sha256
    assert {"a.raw", "a.raw.xz"} & names(workdir) == {entry.path}
