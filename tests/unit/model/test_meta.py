"""meta.json and builds.json: what others wrote survives, what is broken is said."""

import json

import pytest

from cosa.core.errors import CosaError
from cosa.model.builds import Builds
from cosa.model.meta import STAMP, Meta

PLAIN = {
    "buildid": "1.0", "name": "standin", "ostree-commit": "a" * 64,
    "ostree-timestamp": "2026-11-22T12:00:00Z", "ostree-version": "1.0",
    "images": {"ostree": {"path": "x.ociarchive", "sha256": "b" * 64, "size": 5}},
}  # fmt: skip
FOREIGN = PLAIN | {
    "amis": [{"name": "eu", "hvm": "ami-1", "snapshot": "snap"}],
    "azure": {"url": "u", "image": "i"},
    "coreos-assembler.config-gitrev": "abc",
    "koji": {"build_id": 1},
}


def test_unknown_keys_survive(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps(FOREIGN))
    Meta.read(path).write(path)
    data = json.loads(path.read_text())
    assert data.pop(STAMP) > 0
    assert data == FOREIGN


def test_written_as_upstream_writes(tmp_path):
    path = tmp_path / "meta.json"
    Meta.of(PLAIN).write(path)
    assert path.read_text().startswith('{\n    "buildid"')
    assert path.stat().st_mode & 0o777 == 0o644


def test_merge_adds_and_renews():
    mine = Meta.of(PLAIN | {"azure": {"url": "u"}})
    theirs = Meta.of(PLAIN | {"azure": {"image": "i"}, "gcp": {"image": "g", "url": "u"}})
    merged = mine.merge(theirs).to_json()
    assert merged["azure"] == {"url": "u", "image": "i"}
    assert merged["gcp"]["image"] == "g"


@pytest.mark.parametrize(
    ("disk", "memory", "expected"),
    [
        # read from this very state: what was removed stays removed
        ({"x": 1, "gone": 1, STAMP: 5}, {"x": 2, STAMP: 5}, {"x": 2, STAMP: 5}),
        # the disk is newer: it wins where both speak
        ({"x": 1, "a": 1, STAMP: 9}, {"x": 2, "b": 2, STAMP: 5},
         {"x": 1, "a": 1, "b": 2, STAMP: 9}),
        ({"x": 1, "a": 1, STAMP: 5}, {"x": 2, "b": 2, STAMP: 9},
         {"x": 2, "a": 1, "b": 2, STAMP: 9}),
        ({"o": {"a": [1], "b": 1}, STAMP: 5}, {"o": {"a": [2], "c": 2}, STAMP: 9},
         {"o": {"a": [2], "b": 1, "c": 2}, STAMP: 9}),
        ({"x": 1, "a": 1}, {"x": 2}, {"x": 2, "a": 1}),
    ],
)  # fmt: skip
def test_stamps_decide_a_merge(disk, memory, expected):
    merged = Meta.of(PLAIN | disk).merge(Meta.of(PLAIN | memory)).to_json()
    assert merged == PLAIN | expected


def test_stamps_grow_though_the_clock_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("COSA_FAKE_TIME", "1700000000")
    path = tmp_path / "meta.json"
    Meta.of(PLAIN).write(path)
    first = Meta.read(path)
    first.write(path)
    assert Meta.read(path).stamp > first.stamp


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ostree-commit", "c" * 64),
        ("ostree-content-checksum", "2"),
        ("coreos-assembler.image-config-checksum", "2"),
        ("coreos-assembler.container-config-git", {"commit": "2", "origin": ""}),
    ],
)
def test_merge_refuses_another_build(key, value):
    base = PLAIN | {
        "ostree-content-checksum": "1",
        "coreos-assembler.image-config-checksum": "1",
        "coreos-assembler.container-config-git": {"commit": "1", "origin": ""},
    }
    with pytest.raises(CosaError) as caught:
        Meta.of(base).merge(Meta.of(base | {key: value}))
    assert caught.value.code == "meta/conflict"
    assert key in caught.value.what


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "m.json:1:1"),
        ('{"buildid": "1",\n', "m.json:2:1"),
        ("[]", "m.json"),
        ("{}", "buildid"),
        (json.dumps(PLAIN | {"buildid": 3}), "buildid"),
        (json.dumps(PLAIN | {"images": {"qemu": {"path": "x"}}}), "images.qemu.sha256"),
        ("[" * 100000, "m.json"),
    ],
)
def test_broken_meta_says_where(text, place):
    with pytest.raises(CosaError) as caught:
        Meta.parse(text, "m.json")
    assert caught.value.code == "meta/malformed"
    assert place in f"{caught.value}{caught.value.why}"


def test_builds_newest_first_and_foreign_keys_kept(tmp_path):
    path = tmp_path / "builds.json"
    path.write_text(
        json.dumps(
            {
                "schema-version": "1.0.0",
                "builds": [{"id": "1", "arches": ["x86_64"], "policy-cleanup": ["images"]}],
                "tombstone-builds": ["0"],
                "timestamp": "2020-01-01T00:00:00Z",
            }
        )
    )
    Builds.read(path).with_build("2", "x86_64").with_build("1", "aarch64").write(path)
    data = json.loads(path.read_text())
    assert [b["id"] for b in data["builds"]] == ["2", "1"]
    assert data["builds"][1] == {
        "id": "1", "arches": ["x86_64", "aarch64"], "policy-cleanup": ["images"],
    }  # fmt: skip
    assert data["tombstone-builds"] == ["0"]
    assert data["timestamp"] != "2020-01-01T00:00:00Z"


def test_a_list_is_written_back_as_it_was(tmp_path):
    path = tmp_path / "builds.json"
    data = {
        "schema-version": "1.0.0",
        "builds": [
            {"id": "44.20260707.3.1", "arches": ["aarch64", "x86_64"],
             "policy-cleanup": {"cloud-uploads": True, "images": ["qemu"]}},
            {"id": "44.20260622.3.0", "arches": ["x86_64"], "x-note": None},
        ],
        "tags": [{"name": "good", "created": "2026-07-07T00:00:00Z", "target": "44.20260707.3.1",
                  "owner": "me"}],
        "tombstone-builds": [{"id": "1"}],
        "timestamp": "2026-07-07T00:00:00Z",
    }  # fmt: skip
    path.write_text(json.dumps(data))
    Builds.read(path).write(path)
    assert json.loads(path.read_text()) == data


def test_tags_move_and_go():
    found = Builds().with_build("1", "x86_64").with_build("2", "x86_64")
    tagged = found.with_tag("good", "1", "works").with_tag("new", "2")
    moved = tagged.with_tag("good", "2")
    assert [(t.name, t.target) for t in moved.tags] == [("good", "2"), ("new", "2")]
    assert moved.to_json()["tags"][0]["description"] == "works"
    assert "description" not in moved.to_json()["tags"][1]
    assert [t.name for t in moved.without_tag("good").tags] == ["new"]
    assert moved.without_tag("none") is moved
    with pytest.raises(CosaError) as caught:
        found.with_tag("x", "3")
    assert caught.value.code == "builds/unknown"
    assert "2, 1" in caught.value.fix


def test_no_builds_yet(tmp_path):
    assert Builds.read(tmp_path / "none.json").builds == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"builds": 1}', '{"builds": [{"id": 1}]}'])
def test_broken_builds(text):
    with pytest.raises(CosaError) as caught:
        Builds.parse(text, "builds.json")
    assert caught.value.code == "builds/malformed"


def test_other_schema():
    with pytest.raises(CosaError) as caught:
        Builds.parse('{"schema-version": "2.0.0"}', "b")
    assert caught.value.code == "builds/schema"
