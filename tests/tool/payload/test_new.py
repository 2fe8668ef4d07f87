"""Releases made of real images in a real registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from cosa.core.errors import CosaError
from cosa.model.imageref import parse_ref
from cosa.payload.assemble import Wanted
from cosa.payload.imagestream import Tag
from cosa.payload.new import Options, new
from cosa.payload.source import Source, override

OPERATOR = {"io.openshift.release.operator": "true"}
PROFILE = 'annotations: {include.release.openshift.io/self-managed-high-availability: "true"}'
CREATED = "2021-03-25T01:01:01Z"


def manifest(kind: str, name: str, more: str = "", version: str = "v1") -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  {PROFILE}\n{more}"


@pytest.fixture(scope="module")
def parts(images):
    """A base, an operator with references, one without, the OS, one nothing refers to."""
    references = json.dumps({
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "spec": {"tags": [
            {"name": "a-operator", "from": {"kind": "DockerImage", "name": "example.org/a"}},
            {"name": "machine-os-content", "from": {"kind": "DockerImage", "name": "example.org/os"}},
        ]},
    })  # fmt: skip
    return {
        "cluster-version-operator": images.push(
            "cvo", {"bin/sh": "x"}, {"manifests/": "", "manifests/0000_90_cvo.yaml": "a: {{.X}}"}
        ),
        "a-operator": images.push(
            "a", {"usr/": ""},
            {
                "manifests/": "",
                "manifests/0000_30_a_01.yaml": manifest(
                    "ConfigMap", "a",
                    'data: {image: "example.org/a:v1", os: "example.org/os",'
                    ' version: "0.0.1-snapshot", osv: "0.0.1-snapshot-machine-os"}',
                ),
                "manifests/plain.yaml": manifest("ConfigMap", "b", 'data: {x: "example.org/ab"}'),
                "manifests/image-references": references,
                "manifests/link.yaml": "->plain.yaml",
                "manifests/sub/deep.yaml": "x",
            },
            labels=OPERATOR | {"io.openshift.build.commit.id": "abc"},
        ),
        "b-operator": images.push(
            "b", {"manifests/plain.yaml": manifest("Secret", "c")}, labels=OPERATOR
        ),
        "machine-os-content": images.push(
            "os", {"pkglist.txt": "x"},
            labels={"io.openshift.build.versions": "machine-os=41.20260101.0"},
        ),
        "unused": images.push("unused", {"x": "y"}),
    }  # fmt: skip


def source(parts: dict[str, str]) -> Source:
    return Source(tuple(Tag(name, spec) for name, spec in parts.items()), {}, {})


def wanted(**more) -> Wanted:
    return Wanted(name="4.7.0-0.okd-1+x", created=CREATED, **more)


def test_a_release_is_what_readers_expect(parts, client, registry):
    target = f"{registry}/okd/release:4.7"
    made = new(source(parts), Options(wanted(), to_image=target), client)
    stored = client.manifest(parse_ref(target))
    assert stored.digest == made.digest
    assert stored.media_type.startswith("application/vnd.docker")
    base = client.manifest(parse_ref(parts["cluster-version-operator"]))
    assert [one["digest"] for one in stored.layers[:-1]] == [one["digest"] for one in base.layers]
    config = json.loads(client.blob(stored.ref, stored.config["digest"]))
    assert config["config"]["Labels"] == {
        "io.openshift.release": "4.7.0-0.okd-1+x",
        "io.openshift.release.base-image-digest": base.digest,
    }
    assert config["config"]["Entrypoint"] == ["/bin/run"]
    assert len(config["history"]) == len(stored.layers) == len(config["rootfs"]["diff_ids"])
    packed = client.blob(stored.ref, stored.layers[-1]["digest"])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        names = [member.name for member in tar]
        text = tar.extractfile("release-manifests/0000_30_a_01.yaml").read().decode()
        stream = json.load(tar.extractfile("release-manifests/image-references"))
        metadata = json.load(tar.extractfile("release-manifests/release-metadata"))
        assert {member.mode for member in tar if member.isfile()} == {0o444}
    assert names == [
        "release-manifests", "release-manifests/image-references",
        "release-manifests/release-metadata", "release-manifests/0000_30_a_01.yaml",
        "release-manifests/0000_50_a-operator_plain.yaml",
        "release-manifests/0000_50_b-operator_plain.yaml",
    ]  # fmt: skip
    assert f'"{parts["a-operator"]}"' in text
    assert f'"{parts["machine-os-content"]}"' in text
    assert 'version: "4.7.0-0.okd-1"' in text
    assert 'osv: "41.20260101.0"' in text
    assert [tag["name"] for tag in stream["spec"]["tags"]] == [
        "a-operator", "b-operator", "cluster-version-operator", "machine-os-content",
    ]  # fmt: skip
    assert stream["spec"]["tags"][0]["annotations"]["io.openshift.build.commit.id"] == "abc"
    assert metadata == {
        "kind": "cincinnati-metadata-v0", "version": "4.7.0-0.okd-1+x", "previous": [],
    }  # fmt: skip


def test_same_inputs_same_digest(parts, client):
    first, second = (
        new(source(dict(order)), Options(wanted(), dry_run=True), client).digest
        for order in (parts.items(), reversed(parts.items()))
    )
    assert first == second


def test_an_override_counts_all_layers_and_says_so(parts, client, images):
    split = images.push(
        "split", {"manifests/x.yaml": manifest("ConfigMap", "x")}, {"usr/": ""}, labels=OPERATOR
    )
    plain = new(source(parts | {"b-operator": split}), Options(wanted(), dry_run=True), client)
    assert not [file for file in plain.release.files if "b-operator" in file.name]
    put = override(source(parts), [f"b-operator={split}"], client)
    made = new(put, Options(wanted(), dry_run=True), client)
    assert [file.name for file in made.release.files if "b-operator" in file.name] == [
        "0000_50_b-operator_x.yaml"
    ]
    tag = made.release.stream.find("b-operator")
    assert tag is not None
    assert tag.annotations["io.openshift.release.override"] == "true"


@pytest.mark.parametrize(
    ("name", "files", "labels", "words"),
    [
        ("refs", {"manifests/image-references":
            '{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","spec":{"tags":'
            '[{"name":"nosuch","from":{"name":"x.org/y"}}]}}'}, {},
         'no input image tag named "nosuch"'),
        ("yaml", {"manifests/a.yaml": "a: [1,\nb: 2"}, {}, "invalid YAML/JSON"),
        ("kind", {"manifests/a.yaml": "a: 1"}, {},
         "manifests must contain Kubernetes API objects with 'kind' and 'apiVersion' set"),
        ("empty", {"manifests/a.yaml": ""}, {}, "not a valid YAML/JSON object"),
        ("key", {"manifests/a.yaml": manifest("A", "a", "data: 0.0.1-snapshot-foo")}, {},
         'unknown version reference "foo"'),
        ("empty-key", {"manifests/a.yaml": manifest("A", "a", "data: 0.0.1-snapshot-")}, {},
         "empty version references are not allowed"),
        ("climb", {"manifests/../../etc/x.yaml": "x"}, {}, "leaves the image's root"),
        ("label", {"manifests/a.yaml": manifest("A", "a")},
         {"io.openshift.build.versions": "machine-os=33.20210314.3.0"},
         "io.openshift.build.versions or"),
        ("foreign", {"manifests/a.yaml": manifest("A", "a")},
         {"io.openshift.build.versions": "shoes=1.2.3"}, "not in the allowed list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_ocs_words(parts, client, images, name, files, labels, words):
    bad = images.push(f"bad-{name}", files, labels=OPERATOR | labels)
    with pytest.raises(CosaError) as caught:
        new(source(parts | {"bad": bad}), Options(wanted(), dry_run=True), client)
    told = "\n".join([caught.value.what, *(problem.what for problem in caught.value.problems)])
    assert words in told


def test_every_problem_at_once(parts, client, images):
    bad = images.push(
        "bad-two", {"manifests/a.yaml": "a: 1", "manifests/b.yaml": "[1"}, labels=OPERATOR
    )
    with pytest.raises(CosaError) as caught:
        new(
            source(parts | {"bad": bad}),
            Options(Wanted(name="four", created=CREATED), dry_run=True), client,
        )  # fmt: skip
    assert {problem.code for problem in caught.value.problems} == {
        "payload/bad-manifest", "payload/bad-name",
    }  # fmt: skip
    assert len(caught.value.problems) == 3


def test_an_image_that_is_not_there(parts, client, registry):
    gone = f"{registry}/gone@sha256:{'0' * 64}"
    with pytest.raises(CosaError) as caught:
        new(source(parts | {"gone": gone}), Options(wanted(), dry_run=True), client)
    assert caught.value.code == "registry/no-image"
    made = new(
        source(parts | {"gone": gone}), Options(wanted(missing_ok=True), dry_run=True), client
    )
    assert made.digest
