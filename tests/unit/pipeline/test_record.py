"""Inputs compared: what changed is named."""

from cosa.pipeline.record import Record, differences

OLD = {"compose": {"package bash": "1", "treefile": "t"}, "image": {"image.yaml": "i"}}


def test_nothing_changed():
    assert differences(OLD, {area: dict(names) for area, names in OLD.items()}) == []


def test_changes_are_named():
    new = {
        "compose": {"package bash": "2", "package vim": "1"},
        "image": {"image.yaml": "i"},
        "container": {"cosa": "c"},
    }
    assert differences(OLD, new) == [
        "compose: package bash changed",
        "compose: package vim is new",
        "compose: treefile is gone",
        "container: cosa is new",
    ]


def test_kept_beside_the_build(tmp_path):
    made = Record(OLD, {"qemu": "id"})
    made.write(tmp_path)
    assert Record.read(tmp_path) == made


def test_builds_of_other_tools_have_none(tmp_path):
    assert Record.read(tmp_path) is None
    (tmp_path / "cosa-inputs.json").write_text("[]")
    assert Record.read(tmp_path) is None
