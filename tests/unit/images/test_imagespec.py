"""image.yaml and platforms.yaml: merging, old keys, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.model.imagespec import load_image_spec, load_platform_settings

CHECKOUT = Path(__file__).resolve().parents[3]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "image.yaml"


def test_includer_wins_for_values_and_comes_first_in_lists(tmp_path):
    path = write(
        tmp_path,
        image="include: base\nsize: 16\nextra-kargs: [a, b]\nplatform-compressor: {aws: zstd}\n",
    )
    (tmp_path / "base").write_text(
        "size: 10\ncompressor: xz\nextra-kargs: [b, c=1]\n"
        "platform-compressor: {aws: xz, metal: gzip}\n"
    )
    spec = load_image_spec(path)
    assert (spec.size, spec.compressor, spec.extra_kargs) == (16, "xz", ("a", "b", "c=1"))
    assert spec.platform_compressor == {"aws": "zstd", "metal": "gzip"}


def test_keys_of_former_years_are_accepted(tmp_path):
    path = write(
        tmp_path,
        image="extra-kargs: []\nbootfs: ext4\nrootfs: xfs\nostree-format: oci-chunked-v1\n"
        "ignition-network-kcmdline: [ip=dhcp]\nsquashfs-compression: zstd\n"
        "deploy-via-container: true\ncomposefs: false\nostree-remote: fedora\n",
    )
    spec = load_image_spec(path)
    assert spec.rootfs == "xfs"
    assert spec.to_json()["ostree-format"] == "oci-chunked-v1"


def test_stream_is_put_in_and_braces_are_halved(tmp_path):
    text = "extra-kargs: []\ncontainer-imgref: 'registry:x/y:{stream} {{z}}'\n"
    path = write(tmp_path, image=text)
    assert load_image_spec(path).container_imgref == "registry:x/y:{stream} {{z}}"
    assert load_image_spec(path, stream="next").container_imgref == "registry:x/y:next {z}"


def test_every_mistake_is_told_with_its_place(tmp_path):
    path = write(
        tmp_path,
        image="include: [base.yaml, gone.yaml]\nsize: ten\nextra-karg: []\n",
        base="compressor: brotli\nextra-kargs: ['a b', \"x;y\"]\n",
    )
    with pytest.raises(CosaError) as caught:
        load_image_spec(path)
    assert caught.value.exit_class is ExitClass.INPUT
    told = [(p.code, f"{Path(p.where.path).name}:{p.where.line}") for p in caught.value.problems]
    assert ("image-spec/wrong-type", "image.yaml:2") in told
    assert ("image-spec/unknown-key", "image.yaml:3") in told
    # An includer that is not valid is not followed; its own mistakes come first.
    path.write_text("include: [base.yaml, gone.yaml]\nsize: 10\n")
    with pytest.raises(CosaError) as caught:
        load_image_spec(path)
    told = sorted(f"{Path(p.where.path).name}:{p.where.line}" for p in caught.value.problems)
    assert told == ["base.yaml:1", "base.yaml:2", "base.yaml:2", "image.yaml:1"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("size: 10\n", "image-spec/missing-key"),
        ("size: [\n", "document/syntax"),
        ("size: 1\nsize: 2\n", "document/duplicate-key"),
        ("- size\n", "image-spec/wrong-type"),
        ("extra-kargs: []\nsize: 0\n", "image-spec/wrong-value"),
        ("extra-kargs: []\nrootfs: zfs\n", "image-spec/wrong-value"),
        ("include: image.yaml\nextra-kargs: []\n", "image-spec/cycle"),
    ],
)
def test_malformed_files(tmp_path, text, code):
    with pytest.raises(CosaError) as caught:
        load_image_spec(write(tmp_path, image=text))
    assert caught.value.code == code
    assert caught.value.where is not None


def test_the_stand_ins_own_files_are_valid():
    folder = CHECKOUT / "manifests" / "standin"
    spec = load_image_spec(folder / "image.yaml")
    assert spec.rootfs == "ext4"
    assert "selinux=1" in spec.extra_kargs
    table = load_platform_settings(folder / "platforms.yaml")
    assert "console=ttyS0,115200n8" in table["x86_64"]["qemu"].kernel_arguments


def test_mistakes_in_platforms_yaml(tmp_path):
    path = tmp_path / "platforms.yaml"
    path.write_text(
        "x86_64:\n  qemu:\n    kernel_argument: [a]\n    grub_commands: x\naarch64: 1\n"
    )
    with pytest.raises(CosaError) as caught:
        load_platform_settings(path)
    lines = sorted((p.where.line, p.code) for p in caught.value.problems)
    assert lines == [
        (3, "platforms/unknown-key"), (4, "platforms/wrong-type"), (5, "platforms/wrong-type")
    ]  # fmt: skip
