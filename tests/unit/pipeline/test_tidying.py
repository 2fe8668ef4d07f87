"""Prune, tag, update-variant: the list of builds and the links of a definition."""

import json
import os

import pytest
from folders import add_build, make_workdir

from cosa.core import fs, store
from cosa.core.errors import CosaError
from cosa.pipeline import prune, tags, variant


@pytest.fixture
def workdir(tmp_path):
    made = make_workdir(tmp_path)
    for name in ("1", "2", "3", "4", "5"):
        add_build(made, name)
    (made.builds / "latest").symlink_to("5")
    return made


def listed(workdir):
    return [entry.id for entry in workdir.read_builds().builds]


def here(workdir):
    return sorted(p.name for p in workdir.builds.iterdir() if p.is_dir() and not p.is_symlink())


@pytest.mark.parametrize(
    ("keep", "left"), [(3, ["3", "4", "5"]), (1, ["5"]), (9, ["1", "2", "3", "4", "5"])]
)
def test_the_newest_stay(workdir, keep, left):
    prune.remove(workdir, prune.choose(workdir, keep))
    assert here(workdir) == left
    assert listed(workdir) == left[::-1]


def test_keeping_none_keeps_all(workdir):
    assert prune.choose(workdir, 0).doomed == ()


def test_tagged_and_latest_stay(workdir):
    (workdir.builds / "latest").unlink()
    (workdir.builds / "latest").symlink_to("1")
    tags.update(workdir, "good", "2")
    choice = prune.choose(workdir, 1)
    assert choice.doomed == ("4", "3")
    assert choice.spared == {"2": "tagged good", "1": "the latest"}


def test_history_that_was_fetched_stays_listed(workdir):
    """Upstream makes the list anew from folders, and what another machine has vanishes."""
    found = workdir.read_builds().with_build("0", "s390x").with_build("2", "s390x")
    found.write(workdir.builds_json)
    before = listed(workdir)
    # Build 1 came from a bucket, which still has it.
    source = {"schema-version": "1.0.0", "builds": [{"id": "1", "arches": ["x86_64"]}]}
    workdir.source_json.write_text(json.dumps(source))
    prune.remove(workdir, prune.choose(workdir, 1))
    assert here(workdir) == ["5"]
    arches = {entry.id: entry.arches for entry in workdir.read_builds().builds}
    assert arches == {"0": ["s390x"], "5": ["x86_64"], "2": ["s390x"], "1": ["x86_64"]}
    assert [name for name in before if name in arches] == listed(workdir)


def test_when_the_source_list_cannot_be_read_nothing_leaves_the_list(workdir):
    workdir.source_json.write_text("{")
    before = listed(workdir)
    prune.remove(workdir, prune.choose(workdir, 1))
    assert here(workdir) == ["5"]
    assert listed(workdir) == before


def test_named_builds_go_and_latest_moves(workdir):
    prune.remove(workdir, prune.choose_named(workdir, ["5", "3"]))
    assert here(workdir) == ["1", "2", "4"]
    assert os.readlink(workdir.builds / "latest") == "4"
    prune.remove(workdir, prune.choose_named(workdir, ["1", "2", "4"]))
    assert listed(workdir) == []
    assert not (workdir.builds / "latest").is_symlink()


@pytest.mark.parametrize(
    ("name", "code"), [("9", "unknown"), ("../1", "unknown"), ("2", "tagged"), ("0", "unknown")]
)
def test_named_builds_that_cannot_go(workdir, name, code):
    tags.update(workdir, "good", "2")
    workdir.read_builds().with_build("0", "s390x").write(workdir.builds_json)
    with pytest.raises(CosaError) as caught:
        prune.choose_named(workdir, [name])
    assert caught.value.code == f"prune/{code}"


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("moment", range(6))
def test_killed_while_pruning(workdir, monkeypatch, moment):
    found = workdir.read_builds().with_build("2", "s390x")
    found.write(workdir.builds_json)
    calls = iter(range(100))

    def dying(real):
        def call(*args, **kwargs):
            if next(calls) == moment:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(fs, "atomic_write", dying(fs.atomic_write))
        patch.setattr(os, "rename", dying(os.rename))
        patch.setattr("pathlib.Path.unlink", dying(type(workdir.root).unlink))
        with pytest.raises(Killed):
            prune.remove(workdir, prune.choose(workdir, 2))
    prune.remove(workdir, prune.choose(workdir, 2))
    assert here(workdir) == ["4", "5"]
    assert listed(workdir) == ["5", "4", "2"]
    assert not list(workdir.builds.glob(".*"))


def test_pruning_waits_for_no_build(workdir):
    with store.lock(workdir.lock_file, "a build"), pytest.raises(CosaError) as caught:
        prune.remove(workdir, prune.choose(workdir, 1))
    assert caught.value.code == "busy/locked"


def test_tags_move_and_go(workdir):
    data = json.loads(workdir.builds_json.read_text())
    data |= {"other-tool": 1, "tags": [{"name": "old", "created": "", "target": "1", "by": "me"}]}
    workdir.builds_json.write_text(json.dumps(data))
    tags.update(workdir, "good", "latest", description="why")
    tags.update(workdir, "old", "3")
    found = json.loads(workdir.builds_json.read_text())
    assert [(t["name"], t["target"]) for t in found["tags"]] == [("old", "3"), ("good", "5")]
    assert found["tags"][0]["by"] == "me"
    assert found["other-tool"] == 1
    tags.delete(workdir, "old")
    assert tags.delete_all(workdir) == ["good"]
    assert json.loads(workdir.builds_json.read_text())["tags"] == []


def test_a_tag_wants_a_build_unless_forced(workdir):
    before = listed(workdir)
    with pytest.raises(CosaError) as caught:
        tags.update(workdir, "good", "9")
    assert caught.value.code == "builds/unknown"
    assert tags.update(workdir, "good", "9", force=True).target == "9"
    assert listed(workdir) == before
    with pytest.raises(CosaError) as caught:
        tags.delete(workdir, "bad")
    assert "good" in caught.value.fix


def test_update_variant(workdir):
    config = workdir.config
    for name in ("manifest-9.2", "image-9.2", "extensions-9.2", "manifest-9.4", "image-9.4"):
        (config / f"{name}.yaml").write_text("{}\n")
    variant.update(workdir, "el9", "9.2")
    assert os.readlink(config / "manifest-el9.yaml") == "manifest-9.2.yaml"
    assert os.readlink(config / "extensions-el9.yaml") == "extensions-9.2.yaml"
    done = variant.update(workdir, "el9", "9.4")
    assert done == ["manifest-el9.yaml -> manifest-9.4.yaml", "image-el9.yaml -> image-9.4.yaml"]
    for name in ("manifest", "image"):
        (config / f"{name}.yaml").unlink()
    variant.update(workdir, "default", "el9")
    assert os.readlink(config / "image.yaml") == "image-el9.yaml"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("el9", "9.9"), "variant/no-version", "9.2"),
        (("default", "9.2"), "variant/not-a-link", "move it"),
        (("9.2", "9.2"), "variant/name", ""),
        (("../x", "9.2"), "variant/name", ""),
    ],
)
def test_update_variant_refusals_change_nothing(workdir, words, code, says):
    for name in ("manifest-9.2", "image-9.2"):
        (workdir.config / f"{name}.yaml").write_text("{}\n")
    before = sorted(p.name for p in workdir.config.iterdir())
    with pytest.raises(CosaError) as caught:
        variant.update(workdir, *words)
    assert caught.value.code == code
    assert says in str(caught.value.problems) + caught.value.fix
    assert sorted(p.name for p in workdir.config.iterdir()) == before
