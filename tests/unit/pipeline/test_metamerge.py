"""Changing a published build's meta.json: merged, refused, delayed, checked."""

import json

import pytest

from cosa.core.errors import CosaError
from cosa.model.meta import DELAYED, Meta
from cosa.pipeline import metamerge

PLAIN = {
    "buildid": "1.0", "name": "os", "ostree-commit": "a" * 64, "ostree-version": "1.0",
    "ostree-timestamp": "2026-11-22T12:00:00Z",
    "images": {"ostree": {"path": "x.ociarchive", "sha256": "b" * 64}},
}  # fmt: skip
DISK = {"path": "x.qcow2", "sha256": "c" * 64}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("COSA_META_SCHEMA", raising=False)
    Meta.of(PLAIN).write(tmp_path / "meta.json")
    return tmp_path


def data(folder):
    return json.loads((folder / "meta.json").read_text())


def with_image(name, image):
    return lambda found: found["images"].update({name: image})


def test_two_writers_who_read_the_same_state(folder):
    first, second = Meta.read(folder / "meta.json"), Meta.read(folder / "meta.json")
    one = first.to_json() | {"images": first.to_json()["images"] | {"qemu": DISK}}
    two = second.to_json() | {"amis": [{"name": "r", "hvm": "h", "snapshot": "s"}]}
    metamerge.save(folder, Meta.of(one))
    metamerge.save(folder, Meta.of(two))
    assert set(data(folder)["images"]) == {"ostree", "qemu"}
    assert data(folder)["amis"]


def test_a_key_can_be_removed(folder):
    metamerge.change(folder, lambda found: found.update({"summary": "x"}))
    metamerge.change(folder, lambda found: found.pop("summary"))
    assert "summary" not in data(folder)


def test_another_build_is_refused(folder):
    other = Meta.of(PLAIN | {"ostree-commit": "d" * 64})
    with pytest.raises(CosaError) as caught:
        metamerge.save(folder, other)
    assert caught.value.code == "meta/conflict"
    assert data(folder)["ostree-commit"] == "a" * 64


def test_delayed_until_finalized(folder):
    metamerge.change(folder, lambda found: found.update({DELAYED: True}))
    for name in ("qemu", "metal"):
        metamerge.change(folder, with_image(name, DISK | {"path": name}), name)
    assert set(data(folder)["images"]) == {"ostree"}
    assert sorted(path.name for path in folder.glob("meta.*.json")) == [
        "meta.metal.json", "meta.qemu.json",
    ]  # fmt: skip
    assert set(metamerge.read(folder, "qemu").images) == {"ostree", "qemu"}
    assert metamerge.finalize(folder) == ["meta.qemu.json", "meta.metal.json"]
    assert set(data(folder)["images"]) == {"ostree", "qemu", "metal"}
    assert data(folder)[DELAYED] is False
    assert list(folder.glob("meta.*.json")) == []
    assert metamerge.finalize(folder) == []
    metamerge.change(folder, with_image("aws", DISK), "aws")
    assert "aws" in data(folder)["images"], "no longer delayed"


def test_what_is_noted_of_an_artefact_can_change_again(folder):
    metamerge.change(folder, lambda found: found.update({DELAYED: True}))
    first = Meta.read(folder / "meta.json")
    metamerge.change(folder, with_image("qemu", DISK | {"extra": 1}), "qemu")
    metamerge.change(folder, with_image("qemu", DISK | {"path": "new"}), "qemu")
    assert metamerge.read(folder, "qemu").to_json()["images"]["qemu"] == DISK | {"path": "new"}
    # A writer who read before either of them.
    data = first.to_json()
    data["images"]["qemu"] = DISK | {"path": "newer"}
    metamerge.save(folder, Meta.of(data), "qemu")
    metamerge.finalize(folder, keep=True)
    assert metamerge.read(folder, "qemu").images["qemu"].path == "newer"
    metamerge.change(folder, with_image("qemu", DISK | {"path": "last"}), "qemu")
    assert metamerge.read(folder, "qemu").images["qemu"].path == "last", "kept files are history"


def test_finalize_refuses_parts_of_another_build_and_keeps_all(folder):
    metamerge.change(folder, lambda found: found.update({DELAYED: True}))
    metamerge.change(folder, with_image("qemu", DISK), "qemu")
    Meta.of(PLAIN | {"ostree-commit": "d" * 64}).write(folder / "meta.metal.json")
    with pytest.raises(CosaError) as caught:
        metamerge.finalize(folder)
    assert "meta.metal.json" in str(caught.value)
    assert set(data(folder)["images"]) == {"ostree"}
    assert len(list(folder.glob("meta.*.json"))) == 2


def test_artefact_names_are_file_names(folder):
    with pytest.raises(CosaError) as caught:
        metamerge.artefact_file(folder, "../x")
    assert caught.value.code == "usage/artefact"


def test_the_schema_is_kept_to(folder, monkeypatch):
    def surprise(found):
        found["surprise"] = 1

    with pytest.raises(CosaError) as caught:
        metamerge.change(folder, surprise)
    assert caught.value.code == "meta/invalid"
    assert "surprise" in caught.value.what
    assert "surprise" not in data(folder)
    metamerge.change(folder, surprise, validate=False)
    # What another tool put there does not stand in the way of an honest change.
    metamerge.change(folder, lambda found: found.update({"summary": "words"}))
    assert data(folder)["surprise"] == 1
    monkeypatch.setenv("COSA_META_SCHEMA", "none")
    metamerge.change(folder, lambda found: found.update({"more": 1}))


def test_a_schema_of_ones_own(folder, monkeypatch):
    path = folder / "schema"
    path.write_text('{"properties": {"summary": {"enum": ["yes"]}}}')
    monkeypatch.setenv("COSA_META_SCHEMA", str(path))
    metamerge.change(folder, lambda found: found.update({"surprise": 1, "summary": "yes"}))
    with pytest.raises(CosaError, match="summary"):
        metamerge.change(folder, lambda found: found.update({"summary": "no"}))
    path.write_text("[")
    with pytest.raises(CosaError) as caught:
        metamerge.change(folder, lambda found: found.update({"summary": "yes"}))
    assert caught.value.code == "schema/unreadable"
