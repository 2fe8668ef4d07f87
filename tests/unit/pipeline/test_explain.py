"""Why steps ran or were reused, of builds made with quick steps."""

import json

import pytest
from quick import Steps, make_workdir

from cosa.core import fs
from cosa.core.errors import CosaError
from cosa.pipeline import explain
from cosa.pipeline.build import Options, build


@pytest.fixture
def workdir(tmp_path):
    return make_workdir(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    return Steps().install(monkeypatch.setattr)


def fates(found):
    return {step.name: (step.outcome, step.why, *[c.text for c in step.changes])
            for step in found.steps}  # fmt: skip


def test_the_first_build(workdir, steps):
    found = explain.of_next(workdir)
    assert {step.outcome for step in found.steps} == {"will run"}
    build(workdir, Options())
    found = explain.of_build(workdir)
    assert found.before == ""
    assert {step.outcome for step in found.steps} == {"ran"}
    assert "first build" in found.note


def test_a_package_changes_everything(workdir, steps):
    first = build(workdir, Options()).build
    steps.packages = [steps.package("bash", "6")]
    coming = explain.of_next(workdir)
    text = "package bash 5-1.noarch -> 6-1.noarch"
    assert fates(coming) == {
        "compose": ("will run", "", text),
        "container": ("will run", "the commit will be another"),
        "qemu": ("will run", "the commit will be another"),
    }
    build(workdir, Options())
    found = explain.of_build(workdir)
    assert found.before == first
    assert fates(found) == {
        "compose": ("ran", "", text),
        "container": ("ran", "the commit is another"),
        "qemu": ("ran", "the commit is another"),
    }
    assert explain.text(explain.only(found, "commit"))[-1].strip() == text


def test_a_tool_changes_one_image(workdir, steps):
    build(workdir, Options())
    steps.tool = "2"
    assert [s.name for s in explain.of_next(workdir).steps if s.outcome == "will run"] == ["qemu"]
    build(workdir, Options())
    assert fates(explain.of_build(workdir)) == {
        "compose": ("reused", "nothing that decides it had changed"),
        "container": ("reused", "same commit and same inputs"),
        "qemu": ("ran", "", "tool 1 -> 2"),
    }


def test_force_has_no_reason(workdir, steps):
    build(workdir, Options())
    assert explain.of_next(workdir).note == "nothing changed: no build would be made"
    build(workdir, Options(force=True))
    outcome, why = fates(explain.of_build(workdir))["compose"]
    assert outcome == "ran"
    assert "asked for" in why


def test_another_image_added_later_keeps_the_reasons(workdir, steps):
    build(workdir, Options(targets=("ostree",)))
    steps.packages = [steps.package("bash", "6")]
    build(workdir, Options(targets=("ostree",)))
    build(workdir, Options(targets=("qemu",)))
    found = fates(explain.of_build(workdir))
    assert found["compose"][0] == "ran"
    assert "had none" in found["qemu"][1]


def test_the_build_before_is_gone(workdir, steps):
    first = build(workdir, Options()).build
    steps.packages = [steps.package("bash", "6")]
    build(workdir, Options())
    fs.remove_tree(workdir.builds / first)
    assert f"build {first}" in explain.of_build(workdir).note
    assert "no longer here" in explain.of_build(workdir).note


def test_many_changes_are_cut_unless_asked_for(workdir, steps):
    build(workdir, Options())
    steps.packages = [steps.package(f"p{n:02}") for n in range(40)]
    found = explain.of_next(workdir)
    lines = explain.text(found)
    assert "and 26 more: `cosa explain compose` lists them" in "\n".join(lines)
    assert len(explain.text(explain.only(found, "compose"))) == 2 + 41


def test_for_programs(workdir, steps):
    build(workdir, Options())
    steps.packages = [steps.package("bash", "6")]
    plain = json.loads(json.dumps(explain.to_json(explain.of_next(workdir))))
    assert plain["build"] is None
    change = plain["steps"][0]["changes"][0]
    assert (change["name"], change["old"], change["new"]) == (
        "package bash", "5-1.noarch", "6-1.noarch",
    )  # fmt: skip


def test_what_cannot_be_explained(workdir, steps):
    outcome = build(workdir, Options())
    with pytest.raises(CosaError) as caught:
        explain.only(explain.of_build(workdir), "aws")
    assert caught.value.code == "explain/no-step"
    assert "compose, container, qemu" in caught.value.fix
    (outcome.folder / "cosa-inputs.json").unlink()
    with pytest.raises(CosaError) as caught:
        explain.of_build(workdir)
    assert caught.value.code == "explain/no-record"
