"""The update graph: equal to the reference on its own answers, and by small cases of ours."""

from __future__ import annotations

import json

import pytest

from cosa.core.errors import CosaError
from cosa.model import document
from cosa.streams import documents, wariness
from cosa.streams.documents import ReleaseIndex, Rollout, Updates
from cosa.streams.graph import Scope, build, open_share, shortest, throttle

CASES = ("barrier-chain", "not-started", "parallel-rollouts")


def parsed(model, value):
    return document.validate(model, document.parse(json.dumps(value), "x.json", "json"), "streams")


def made(releases, updates, scope=None):
    return build(
        parsed(ReleaseIndex, {"releases": releases}),
        parsed(Updates, {"releases": updates}),
        scope or Scope("x86_64"),
    )


def releases(*arches):
    """A release per word; `x` x86_64, `a` aarch64, `o` an OCI image for x86_64."""
    return [
        {
            "version": f"44.2026010{n}.3.0",
            "commits": [
                {"architecture": {"x": "x86_64", "a": "aarch64"}[one], "checksum": f"{one}{n}"}
                for one in word
                if one in "xa"
            ],
            "oci-images": [
                {"architecture": "x86_64", "image": "r:t", "digest-ref": f"r@sha256:{n}"}
                for one in word
                if one == "o"
            ]
            or None,
        }
        for n, word in enumerate(arches)
    ]


def marks(**said):
    """v1={"rollout": {}} -> entries of the updates JSON."""
    return [
        {"version": f"44.2026010{name[1]}.3.0", "metadata": value} for name, value in said.items()
    ]


BARRIER, DEAD = {"barrier": {"reason": "b"}}, {"deadend": {"reason": ""}}
FULL = {"rollout": {"start_percentage": 1.0}}


@pytest.mark.parametrize("name", CASES)
def test_cases_of_the_reference(shared_fixture, name):
    case = json.loads(shared_fixture(f"streams/cases/{name}.json").read_text())
    scope = Scope(case["scope"]["basearch"], case["scope"]["oci"])
    whole = build(
        parsed(ReleaseIndex, {"releases": case["releases"]}),
        parsed(Updates, case["updates"]),
        scope,
    )
    assert case["expected"]
    for wanted in case["expected"]:
        wary = wanted["rollout_wariness"]
        got = whole if wary is None else throttle(whole, wary, 1_800_000_000)
        assert got.to_json() == wanted["graph"], wary


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_graph_of_a_real_stream(shared_fixture, arch):
    index, updates, doc = documents.read(
        shared_fixture("streams/releases-stable-20211102.json"),
        shared_fixture("streams/updates-stable-20211102.json"),
        "stable",
    )
    wanted = json.loads(shared_fixture(f"streams/graph-stable-20211102-{arch}.json").read_text())
    assert build(index, updates, Scope(arch)).to_json() == wanted
    assert list(documents.doubts(index, updates, doc)) == []


def test_wariness_of_real_ids(shared_fixture):
    vectors = json.loads(shared_fixture("streams/wariness-vectors.json").read_text())
    for one in vectors:
        node = one["node_uuid"]
        assert f"{wariness.siphash13(node.encode() + bytes([255])):#018x}" == one["siphash13"]
        assert wariness.of(None, node) == one["wariness"]
        assert wariness.of("word", node) == one["wariness"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.5", 0.5), (".5", 0.5), ("5e-1", 0.5), ("1.", 1.0), ("+0.25", 0.25), ("-0.1", 0.0),
        ("7", 1.0), ("inf", 1.0), ("-Infinity", 0.0), ("NaN", 0.0), ("1e999", 1.0),
        ("", None), (" 0.5", None), ("0.5 ", None), ("0_5", None), ("0x1", None), (".", None),
        ("1e", None), ("e5", None), ("0,5", None), ("٠.٥", None), ("--1", None),
    ],
)  # fmt: skip
def test_wariness_is_read_as_rust_reads_numbers(text, wanted):
    by_id = 0.18848315746051456
    assert wariness.of(text, None) == (by_id if wanted is None else wanted)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.0, "1"), (0.3, "0.3"), (1e-7, "0.0000001"), (-0.0, "-0"),
        (1e21, "1000000000000000000000"), (0.1 + 0.2, "0.30000000000000004"), (100.0, "100"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_rust_writes_them(value, text):
    assert shortest(value) == text


@pytest.mark.parametrize(
    ("updates", "edges"),
    [
        ({}, []),
        ({"v2": FULL}, [(0, 2), (1, 2)]),
        ({"v0": FULL}, []),
        ({"v1": BARRIER, "v3": FULL}, [(1, 3), (2, 3), (0, 1)]),
        ({"v1": BARRIER | FULL, "v3": FULL}, [(1, 3), (2, 3), (0, 1)]),
        ({"v1": BARRIER, "v2": BARRIER}, [(0, 1), (1, 2)]),
        ({"v2": FULL, "v3": FULL}, [(0, 3), (1, 3), (2, 3), (0, 2), (1, 2)]),
        ({"v1": DEAD, "v3": FULL}, [(0, 3), (2, 3)]),
        ({"v2": DEAD | FULL, "v3": FULL}, [(0, 3), (1, 3), (0, 2), (1, 2)]),
        ({"v9": FULL}, []),  # not in the index
    ],
)
def test_edges(updates, edges):
    assert list(made(releases("x", "x", "x", "x"), marks(**updates)).edges) == edges


def test_positions_and_ages_differ_where_an_architecture_came_later():
    graph = made(releases("x", "xa", "x", "a"), marks(v1=BARRIER, v3=FULL), Scope("aarch64"))
    assert [(one.payload, one.age_index) for one in graph.nodes] == [("a1", 1), ("a3", 3)]
    assert graph.edges == ((0, 1),)


def test_oci_has_nodes_of_its_own():
    graph = made(releases("x", "xo", "o"), marks(v2=FULL), Scope("x86_64", oci=True))
    assert [one.payload for one in graph.nodes] == ["r@sha256:1", "r@sha256:2"]
    assert graph.nodes[0].metadata()["org.fedoraproject.coreos.scheme"] == "oci"


def test_repeated_entries_add_up_and_empty_checksums_are_none():
    many = releases("x", "x")
    many[0]["commits"][0]["checksum"] = ""
    many[1]["commits"].append({"architecture": "x86_64", "checksum": "later"})
    twice = marks(v1={"rollout": {"start_epoch": 5, "duration_minutes": 9}})
    twice += marks(v1={"rollout": {"start_epoch": 7}, "deadend": {"reason": ""}})
    (node,) = made(many, twice).nodes
    assert node.payload == "later"
    said = {key.rpartition(".")[2]: value for key, value in node.metadata().items()}
    assert said == {
        "age_index": "1", "scheme": "checksum", "rollout": "true", "start_epoch": "7",
        "duration_minutes": "9", "deadend": "true", "deadend_reason": "generic",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rollout", "now", "share"),
    [
        ((1000, 0.9, 10), 999, 0.0),  # before its start the value means nothing
        ((1000, 0.5, 10), 1000, 0.5),
        ((1000, 0.5, 10), 1300, 0.75),
        ((1000, 0.5, 10), 1600, 1.0),
        ((1000, 0.5, 10), 99999, 1.0),
        ((1000, 0.0, 0), 1060, 1.0),  # no minutes are one
        ((1000, 0.0, 0), 1030, 0.5),
        ((None, 0.3, None), 10**9, 0.3),
        ((None, None, None), 10**9, 0.0),
    ],
)
def test_a_rollout_opens(rollout, now, share):
    epoch, value, minutes = rollout
    opened = Rollout(start_epoch=epoch, start_percentage=value, duration_minutes=minutes)
    assert open_share(opened, now) == share


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ('{"releases": [\n{"version": 5}]}', "streams/wrong-type", 2),
        ('{"releases": [\n{"metadata": {}}]}', "streams/missing-key", 2),
        ('{"releases": [{"version":"a","metadata":{"rollout":\n{"start_epoch":1.5}}}]}',
         "streams/wrong-type", 2),
        ('{"releases": [{"version":"a","metadata":{"rollout":\n{"duration_minutes":-1}}}]}',
         "streams/wrong-value", 2),
        ('{"releases": [{"version":"a","metadata":{"rollout":\n{"start_percentage":1e999}}}]}',
         "streams/", 2),
        ('{"releases": [{"version":"a","metadata":{"barrier":\n{}}}]}', "streams/missing-key", 2),
        ('{"releases": [{"version":\n"a\\u001b[2J","metadata":{}}]}', "streams/wrong-value", 2),
        ('{"releases": [{"version":"a","metadata":{"rollout":\n{"start_percentage":true}}}]}',
         "streams/wrong-type", 2),
        ("{}", "streams/missing-key", 1),
        ('{"releases": [', "document/syntax", 1),
        ('{"releases": [],\n"releases": []}', "document/duplicate-key", 2),
        ("[" * 100_000, "document/too-deep", 1),
    ],
)  # fmt: skip
def test_a_bad_document_is_told_with_its_place(tmp_path, text, code, line):
    index, updates = tmp_path / "releases.json", tmp_path / "updates.json"
    index.write_text('{"releases": []}')
    updates.write_text(text)
    with pytest.raises(CosaError) as err:
        documents.read(index, updates)
    places = {(one.code, one.where.line) for one in err.value.problems or (err.value,)}
    assert any(found.startswith(code) and at == line for found, at in places), places


def test_both_documents_are_told_at_once_and_another_stream_is_refused(tmp_path):
    index, updates = tmp_path / "releases.json", tmp_path / "updates.json"
    index.write_text('{"stream": "next", "releases": 5}')
    updates.write_text('{"stream": "next", "releases": [{}]}')
    with pytest.raises(CosaError) as err:
        documents.read(index, updates, "stable")
    assert {one.where.path for one in err.value.problems} == {str(index), str(updates)}
    index.write_text('{"stream": "next", "releases": []}')
    with pytest.raises(CosaError) as err:
        documents.read(index, index, "stable")
    assert err.value.code == "streams/other-stream"


def test_what_nobody_can_have_meant_is_doubted():
    index = parsed(ReleaseIndex, {"releases": releases("x", "x")})
    value = {
        "releases": marks(v0=DEAD | BARRIER, v1={"rollout": {"start_percentage": 30}}, v7=FULL)
    }
    doc = document.parse(json.dumps(value), "x.json", "json")
    updates = document.validate(Updates, doc, "streams")
    codes = [one.code for one in documents.doubts(index, updates, doc)]
    assert codes == ["streams/trap", "streams/share", "streams/unknown-version"]


def test_huge_documents_cost_a_bounded_amount():
    """Many entries take no time; a graph without bound is refused."""
    many = tuple(f"44.2026{n:04}.3.{n}" for n in range(20_000))
    index = ReleaseIndex.model_validate({
        "releases": [
            {"version": one, "commits": [{"architecture": "x86_64", "checksum": one}]}
            for one in many
        ],
    })  # fmt: skip
    barriers = {"releases": [{"version": one, "metadata": BARRIER} for one in many]}
    assert len(build(index, Updates.model_validate(barriers), Scope("x86_64")).edges) == 19_999
    rollouts = {"releases": [{"version": one, "metadata": FULL} for one in many]}
    with pytest.raises(CosaError) as err:
        build(index, Updates.model_validate(rollouts), Scope("x86_64"))
    assert err.value.code == "streams/too-big"
