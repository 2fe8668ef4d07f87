"""The rules of releases that need no registry, quirks of readers included."""

from __future__ import annotations

from contextlib import suppress

import pytest

from cosa.core.errors import CosaError
from cosa.model.imageref import parse_ref
from cosa.payload import documents, lint, taskgraph, versions
from cosa.payload.imagestream import ImageStream, Tag, parse_input
from cosa.payload.layer import File
from cosa.payload.rewrite import image_rewriter, version_rewriter
from cosa.payload.versions import Component

SPEC = f"reg.example/r@sha256:{'a' * 64}"


def rewriter(*sources):
    tags = tuple(Tag(f"t{n}", source) for n, source in enumerate(sources))
    return image_rewriter(
        ImageStream("", tags), {tag.name: f"{SPEC}#{tag.name}" for tag in tags}, "op"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("image: x.io/a", f"image: {SPEC}#t0"),
        ("image: x.io/a:v1.2", f"image: {SPEC}#t0"),
        (f"image: x.io/a@sha256:{'b' * 64}", f"image: {SPEC}#t0"),
        ('"x.io/a"', f'"{SPEC}#t0"'),
        ("image: x.io/ab", "image: x.io/ab"),  # another repository
        ("image: fx.io/a", "image: fx.io/a"),  # a word before it
        ("x.io/a", f"{SPEC}#t0"),  # the text's start and end
        ("[x.io/a,x]", "[x.io/a,x]"),  # a comma ends nothing
        ("x.io/a x.io/a", f"{SPEC}#t0 x.io/a"),  # what stands between was used up
        ("x.io/a  x.io/a", f"{SPEC}#t0  {SPEC}#t0"),
        ("--image=x.io/a\n", f"--image={SPEC}#t0\n"),
    ],
)
def test_references_are_replaced_as_oc_does(before, after):
    assert rewriter("x.io/a")(before.encode()).decode() == after


def test_a_placeholder_stands_for_one_image():
    with pytest.raises(CosaError, match="was defined more than once"):
        rewriter("x.io/a", "x.io/a")
    with pytest.raises(CosaError, match=r"no from\.name for the tag t0"):
        rewriter("")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("v: 0.0.1-snapshot", "v: 4.20.0"),
        ('"0.0.1-snapshot"', '"4.20.0"'),
        ("0.0.1-snapshotfoo", "0.0.1-snapshotfoo"),
        ("x0.0.1-snapshot", "x0.0.1-snapshot"),
        ("0.0.1-snapshot-kubernetes", "1.31.0"),
        ("a 0.0.1-snapshot, 0.0.1-snapshot.", "a 4.20.0, 4.20.0."),
    ],
)
def test_versions_are_put_in_without_build_metadata(before, after):
    known = {"kubernetes": [Component("t", "kubernetes", "1.31.0+x")]}
    assert version_rewriter("4.20.0+y", known, "op")(before.encode()).decode() == after


def test_a_version_declared_twice_is_ambiguous_once_it_is_used():
    twice = {"kernel": [Component("a", "kernel", "1.2.3"), Component("b", "kernel", "1.2.3")]}
    rewrite = version_rewriter("4.20.0", twice, "op")
    assert rewrite(b"0.0.1-snapshot") == b"4.20.0"
    with pytest.raises(CosaError, match="multiple versions defined for version kernel"):
        rewrite(b"0.0.1-snapshot-kernel")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("4.20.0", True), ("4.20.0-0.okd-2026-01-01", True), ("4.20.0+b.1", True),
        ("4.20", False), ("33.20210314.3.0", False), ("04.1.1", False), ("4.1.1-01", False),
        ("4.1.1-", False), ("v4.1.1", False), ("4.1.1\n", False),
    ],
)  # fmt: skip
def test_semantic_versions_are_strict(text, good):
    assert versions.is_semver(text) is good


def test_os_versions_keep_their_order_when_mapped():
    real = ["41.20260101.3.9", "41.20260101.3.10", "41.20260115.3.0", "42.20260101.0.1"]
    mapped = [versions.map_os_version(version) for version in real]
    assert mapped[0] == "41.20260101.3-9"
    assert sorted(mapped, key=versions.sort_key) == mapped
    assert versions.map_os_version("47.83.202103251640-0") == "47.83.202103251640-0"


def test_an_input_stream_needs_digests():
    digest = f"sha256:{'c' * 64}"
    data = {
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "in"},
        "spec": {"tags": [
            {"name": "a", "from": {"kind": "DockerImage", "name": f"src.io/a@{digest}"},
             "annotations": {"k": "v"}},
            {"name": "b", "from": {"kind": "DockerImage", "name": "src.io/b:latest"},
             "annotations": {"k": "v"}},
            {"name": "c", "generation": 2, "annotations": {"k": "v"},
             "from": {"kind": "DockerImage", "name": f"src.io/c@sha256:{'d' * 64}"}},
        ]},
        "status": {"publicDockerImageRepository": "pub.io/r", "tags": [
            {"tag": name, "items": [{"image": digest, "dockerImageReference": f"in.io/{name}:x"}]}
            for name in "bc"
        ]},
    }  # fmt: skip
    public = {tag.name: tag for tag in parse_input(data, "f", public=True).tags}
    assert {tag.pullspec for tag in public.values()} == {f"pub.io/r@{digest}"}
    assert public["a"].annotations == public["b"].annotations == {"k": "v"}
    assert public["c"].annotations == {}  # the status is the truth, and has none
    source = {tag.name: tag.pullspec for tag in parse_input(data, "f", public=False).tags}
    assert source == {n: f"{'src' if n == 'a' else 'in'}.io/{n}@{digest}" for n in "abc"}
    del data["status"]["tags"]
    with pytest.raises(CosaError) as caught:
        parse_input(data, "f", public=True)
    assert len(caught.value.problems) == 2
    assert "has not been imported yet" in caught.value.problems[0].what


@pytest.mark.parametrize(
    "text",
    ["", "UPPER/case", "a b", "reg.io/x@sha256:1234", "reg.io/x:", "reg.io/../x", "reg.io//x",
     "http://reg.io/x", "reg.io:99999999/x", f"reg.io/x@sha256:{'g' * 64}"],
)  # fmt: skip
def test_names_of_images_are_checked(text):
    with pytest.raises(CosaError):
        parse_ref(text)


def obj(kind, name, notes=None, **more):
    import json

    notes = {"include.release.openshift.io/self-managed-high-availability": "true"} | (notes or {})
    return json.dumps(
        {"apiVersion": more.pop("version", "v1"), "kind": kind,
         "metadata": {"name": name, "annotations": notes}, **more}
    ).encode()  # fmt: skip


def files(**data):
    return {f"{name}.yaml": File(f"{name}.yaml", text, 0) for name, text in data.items()}


def shape(found):
    return [(stage.level, [[task.object.name for task in chain] for chain in stage.chains])
            for stage in found.stages]  # fmt: skip


def test_components_of_one_level_run_side_by_side_and_jobs_are_barriers():
    found = taskgraph.graph(
        files(**{
            "0000_10_a_01": obj("A", "a1"), "0000_10_a_02": obj("A", "a2"),
            "0000_10_b-c_01": obj("B", "b1"),
            "0000_20_a_01": obj("Job", "j", version="batch/v1"), "0000_20_b_01": obj("B", "b2"),
            "plain": obj("P", "p"),
        }),
        taskgraph.Cluster(),
    )  # fmt: skip
    assert shape(found) == [
        (10, [["a1", "a2"], ["b1"]]), (20, [["j"]]), (20, [["b2"]]), (-1, [["p"]]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("notes", "cluster", "why"),
    [
        ({}, {}, ""),
        ({}, {"profile": "hypershift"}, "not for the profile hypershift"),
        ({"release.openshift.io/feature-set": "Default,OKD"}, {}, ""),
        ({"release.openshift.io/feature-set": "OKD"}, {}, "for the feature set OKD"),
        ({"release.openshift.io/feature-set": "Shoes"}, {}, "unknown feature set 'Shoes'"),
        ({"release.openshift.io/feature-gate": "X"}, {}, "feature gate X is not met"),
        ({"release.openshift.io/feature-gate": "X,-Y"}, {"gates": frozenset("X")}, ""),
        ({"release.openshift.io/feature-gate": "-X"}, {"gates": frozenset("X")},
         "feature gate -X is not met"),
        ({"capability.openshift.io/name": "A+B"}, {"capabilities": frozenset("A")},
         "capability B is not enabled"),
        ({"exclude.release.openshift.io/me": "true"}, {"exclude_id": "me"}, "excluded for me"),
    ],
)  # fmt: skip
def test_what_a_cluster_does_not_get(notes, cluster, why):
    (one,) = documents.objects(obj("A", "a", notes), "f.yaml")
    assert taskgraph.exclusion(one, taskgraph.Cluster(**cluster)) == why


def test_without_annotations_nothing_is_applied():
    (one,) = documents.objects(b"kind: A\napiVersion: v1\nmetadata: {name: a}", "f")
    assert "no annotations" in taskgraph.exclusion(one, taskgraph.Cluster())


def test_duplicates_for_different_clusters_are_none():
    gate = {"release.openshift.io/feature-set": "Default"}
    other = {"release.openshift.io/feature-set": "DevPreviewNoUpgrade"}
    assert lint.of_files(files(a=obj("A", "x", gate), b=obj("A", "x", other))) == []
    (found,) = lint.of_files(files(a=obj("A", "x", gate), b=obj("A", "x", gate)))
    assert found.code == "payload/duplicate-object"
    assert not found.fatal


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [(b"a: 1\n---\nb: [1,\n", 4, 1), (b"---\n- x", 2, 1), (b"a:\t- b: c\n  d", 1, 4)],
)
def test_faults_have_a_place(data, line, column):
    with pytest.raises(CosaError) as caught:
        documents.objects(data, "m.yaml")
    where = caught.value.where
    assert where is not None
    assert (where.path, where.line) == ("m.yaml", line)
    assert where.column >= column


@pytest.mark.parametrize(
    "data",
    [b"[" * 100000, b"a: " + b"{a: " * 5000, b"- " * 3000 + b"x", b"\xff\xfe", b"\0", b"%YAML 9.9\n---\na",
     b"a: &a [x]\nb: [" + b"*a," * 500 + b"]", b"!!python/object:os.system {}", b"a: *nope"],
)  # fmt: skip
def test_hostile_yaml_is_refused_or_harmless(data):
    with suppress(CosaError):
        documents.objects(data, "m.yaml")
