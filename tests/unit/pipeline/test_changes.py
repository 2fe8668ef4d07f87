"""Inputs compared: what changed is named, with old and new value, and no digest."""

import pytest

from cosa.pipeline import changes
from cosa.pipeline.record import Record

SUM1, SUM2 = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ({"package vim": f"2:9.0-1.x86_64 sha256:{SUM1}"},
         {"package vim": f"2:9.1-1.x86_64 sha256:{SUM2}"},
         ["package vim 2:9.0-1.x86_64 -> 2:9.1-1.x86_64"]),
        ({"package vim": f"9-1 sha256:{SUM1}"}, {"package vim": f"9-1 sha256:{SUM2}"},
         ["package vim changed"]),
        ({}, {"package vim": f"9-1 sha256:{SUM1}"}, ["package vim is new (9-1)"]),
        ({"image.yaml": {"size": 10, "extra-kargs": ["a", "b"]}},
         {"image.yaml": {"size": 12, "extra-kargs": ["a", "c"]}},
         ["image.yaml: extra-kargs b is gone", "image.yaml: extra-kargs c is new",
          "image.yaml: size 10 -> 12"]),
        ({"image.yaml": {"extra-kargs": ["a", "b"]}}, {"image.yaml": {"extra-kargs": ["b", "a"]}},
         ["image.yaml: order of extra-kargs changed"]),
        ({"overlay.d/05core": {"usr/a": f"100644 {SUM1}", "usr/b": "100644 x"}},
         {"overlay.d/05core": {"usr/a": f"100644 {SUM2}", "usr/c": "120777 target"}},
         ["overlay.d/05core: usr/a changed", "overlay.d/05core: usr/b is gone (x)",
          "overlay.d/05core: usr/c is new (target)"]),
        ({"overlay.d/05core": {"usr/a": f"100644 {SUM1}"}},
         {"overlay.d/05core": {"usr/a": f"100755 {SUM1}"}},
         ["overlay.d/05core: usr/a 100644 -> 100755"]),
        ({}, {"overrides/rootfs": {"usr": "40755", "usr/bin": "40755", "usr/bin/x": f"100755 {SUM1}",
                                   "usr/empty": "40755"}},
         ["overrides/rootfs: usr/bin/x is new", "overrides/rootfs: usr/empty is new"]),
        ({"treefile": {"selinux": True, "postprocess": ["x\ny"]}},
         {"treefile": {"selinux": False, "postprocess": ["x\nz"]}},
         ["treefile: postprocess script 1 changed", "treefile: selinux yes -> no"]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": None}}, {"a": {}}, []),
    ],
)  # fmt: skip
def test_words(old, new, text):
    assert changes.texts({"compose": old}, {"compose": new}) == text


def test_a_change_in_two_areas_is_said_once():
    old, new = {"code": {"core/fs.py": SUM1}}, {"code": {"core/fs.py": SUM2}}
    found = changes.texts({"compose": old, "image": old}, {"compose": new, "image": new})
    assert found == ["code: core/fs.py changed"]


def test_kept_beside_the_build(tmp_path):
    made = Record({"image": {"image.yaml": {"size": 1}}}, {"qemu": "id"}, "1.0")
    made.write(tmp_path)
    assert Record.read(tmp_path) == made


def test_builds_of_other_tools_have_none(tmp_path):
    assert Record.read(tmp_path) is None
    (tmp_path / "cosa-inputs.json").write_text("[]")
    assert Record.read(tmp_path) is None
