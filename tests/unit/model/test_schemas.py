"""The published JSON Schemas: current, and saying the same as what reads the files."""

import copy
import json
from pathlib import Path

import pytest

from cosa.model import jsonschema, schemas

PUBLISHED = Path(__file__).resolve().parents[3] / "docs/schemas"

# A build as a Fedora CoreOS pipeline of 2020 left it, and one of RHCOS, in their keys.
FCOS = {
    "ref": "fedora/x86_64/coreos/testing-devel", "ostree-commit": "9" * 64,
    "ostree-content-checksum": "a" * 64, "ostree-version": "31.20200310.20.0",
    "ostree-timestamp": "2020-03-12T00:16:04Z", "rpm-ostree-inputhash": "f" * 64,
    "pkgdiff": [["podman", 2, {
        "PreviousPackage": ["podman", "2:1.8.1-0.7.rc4.fc31", "x86_64"],
        "NewPackage": ["podman", "2:1.8.1-2.fc31", "x86_64"]}]],
    "buildid": "31.20200310.20.0", "coreos-assembler.image-genver": 0, "name": "fedora-coreos",
    "summary": "Fedora CoreOS testing-devel",
    "coreos-assembler.build-timestamp": "2020-03-12T00:18:45Z",
    "coreos-assembler.container-config-git": {
        "commit": "6" * 40, "origin": "https://example.org/config", "branch": "testing-devel",
        "dirty": "false"},
    "images": {
        "ostree": {"path": "f-ostree.x86_64.tar", "sha256": "9" * 64, "size": 662149120},
        "qemu": {"path": "f.qcow2.xz", "sha256": "8" * 64, "size": 1, "uncompressed-size": 2,
                 "uncompressed-sha256": "7" * 64, "skip-compression": False},
        "moonbase": {"path": "f.moon", "sha256": "8" * 64}},
    "fedora-coreos.parent-version": "31.20200309.20.1", "fedora-coreos.parent-commit": "f" * 64,
    "amis": [{"name": "us-east-1", "hvm": "ami-0", "snapshot": "snap-0"}],
}  # fmt: skip
RHCOS = {
    "build-url": "https://example.org/job/5/", "buildid": "44devel.81.202001151926.0",
    "name": "rhcos", "ostree-commit": "9" * 64, "ostree-timestamp": "2020-01-15T19:31:31Z",
    "ostree-version": "44devel.81.202001151926.0", "ostree-n-cache-hits": 19185,
    "oscontainer": {"digest": "sha256:0", "image": "example.org/machine-os-content"},
    "aliyun": [{"name": "us-west-1", "id": "m-rj0"}],
    "azure": {"image": "i.vhd", "url": "https://example.org/i.vhd"},
    "gcp": {"image": "rhcos-44", "url": "https://example.org/i.tar.gz"},
    "koji": {"build_id": 1, "token": "t", "release": "1"},
    "coreos-assembler.meta-stamp": 1579116739000000000.5,
    "base-oscontainer": {"image": "i", "additional-images": [{"image": "j", "digest": "d"}]},
}  # fmt: skip


def test_published_schemas_are_current():
    assert schemas.stale(PUBLISHED) == [], "run `cosa schema --write docs/schemas`"


def test_what_is_not_current_is_noticed(tmp_path):
    assert len(schemas.write(tmp_path)) == len(schemas.SCHEMAS)
    assert schemas.write(tmp_path) == []
    (tmp_path / "meta.json").write_text("{}")
    (tmp_path / "stray.json").write_text("{}")
    (tmp_path / "image.json").unlink()
    assert schemas.stale(tmp_path) == ["image.json", "meta.json", "stray.json"]
    schemas.write(tmp_path)
    assert schemas.stale(tmp_path) == []


@pytest.mark.parametrize("data", [FCOS, RHCOS], ids=["fcos", "rhcos"])
def test_builds_of_others_fit(data):
    assert jsonschema.findings(data, schemas.SCHEMAS["meta"]()) == []


@pytest.mark.parametrize(
    ("change", "place", "what"),
    [
        ({"surprise": 1}, "surprise", "not a key"),
        ({"buildid": 3}, "buildid", "must be string"),
        ({"name": None}, "name", "must be string"),
        ({"ostree-commit": "abc"}, "ostree-commit", "at least 64"),
        ({"ostree-timestamp": "yesterday"}, "ostree-timestamp", "look like"),
        ({"images": {}}, "images.ostree", "is missing"),
        ({"images": {"ostree": {"path": "x"}}}, "images.ostree.sha256", "is missing"),
        ({"amis": [{"name": "x"}]}, "amis.0.hvm", "is missing"),
        ({"coreos-assembler.image-genver": True}, "coreos-assembler.image-genver", "integer"),
        ({"coreos-assembler.oci-imported-labels": {"a": 1}},
         "coreos-assembler.oci-imported-labels.a", "string"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, place, what):
    found = jsonschema.findings(copy.deepcopy(FCOS) | change, schemas.SCHEMAS["meta"]())
    assert [one for one in found if one[0] == place and what in one[1]], found


def test_upstreams_list_of_optional_keys():
    made = schemas.SCHEMAS["meta"]()
    assert {"amis", "images", "coreos-assembler.oci-imported"} <= set(made["optional"])
    assert "buildid" not in made["optional"]
    assert made["additionalProperties"] is False


def test_lockfiles_fit(shared_fixture):
    lock = json.loads(shared_fixture("streams/manifest-lock.testing-devel.x86_64.json").read_text())
    schema = schemas.SCHEMAS["lockfile"]()
    assert jsonschema.findings(lock, schema) == []
    lock["packages"]["bash"]["digest"] = "md5:1"
    assert jsonschema.findings(lock, schema)


def test_the_definitions_here_fit():
    from cosa.model import document

    root = PUBLISHED.parents[1] / "manifests/standin"
    for name, files in (
        ("image", [root / "image.yaml", root / "image-base.yaml"]),
        ("treefile", [root / "manifest.yaml", *(root / "manifests").glob("*.yaml")]),
    ):
        schema = schemas.SCHEMAS[name]()
        for path in files:
            assert jsonschema.findings(document.load(path).value, schema) == [], path
    assert jsonschema.findings({"pakages": []}, schemas.SCHEMAS["treefile"]())
