"""What changed between two sets of packages, as rpm-ostree would say it."""

import json

import pytest

from cosa.model.package import Package, split_evra
from cosa.pipeline import pkgdiff


def packages(*texts):
    """`name evra` lines as packages."""
    rows = (text.split() for text in texts)
    return [Package(name, *split_evra(evra)) for name, evra in rows]


def short(rows):
    return [
        (name, kind, *("/".join(parts[side][1:]) for side in sorted(parts)))
        for name, kind, parts in rows
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (["a 1-1.noarch"], ["a 1-1.noarch"], []),
        (["a 1-1.noarch"], ["a 0:1-1.noarch"], []),
        ([], ["a 1:1-1.noarch"], [("a", 0, "1:1-1/noarch")]),
        (["a 1-1.noarch"], [], [("a", 1, "1-1/noarch")]),
        (["a 1-9.noarch"], ["a 1-10.noarch"], [("a", 2, "1-10/noarch", "1-9/noarch")]),
        (["a 9-1.noarch"], ["a 1:1-1.noarch"], [("a", 2, "1:1-1/noarch", "9-1/noarch")]),
        (["a 1-1.noarch"], ["a 1~rc1-1.noarch"], [("a", 3, "1~rc1-1/noarch", "1-1/noarch")]),
        (["a 1-1.noarch"], ["a 1-1.x86_64"], [("a", 2, "1-1/x86_64", "1-1/noarch")]),
        (["a 1-1.i686", "a 1-1.x86_64"], ["a 2-1.i686", "a 2-1.x86_64"],
         [("a", 2, "2-1/i686", "1-1/i686"), ("a", 2, "2-1/x86_64", "1-1/x86_64")]),
        (["k 1-1.x86_64", "k 2-1.x86_64"], ["k 2-1.x86_64", "k 3-1.x86_64"],
         [("k", 2, "3-1/x86_64", "1-1/x86_64")]),
        (["b 1-1.noarch", "a 1-1.noarch"], [], [("a", 1, "1-1/noarch"), ("b", 1, "1-1/noarch")]),
    ],
)  # fmt: skip
def test_packages(old, new, expected):
    assert short(pkgdiff.packages(packages(*old), packages(*new))) == expected


def test_the_very_shape():
    (row,) = pkgdiff.packages(packages("podman 2:1.8-1.x86_64"), packages("podman 2:1.9-1.x86_64"))
    assert row == [
        "podman", 2,
        {"PreviousPackage": ["podman", "2:1.8-1", "x86_64"],
         "NewPackage": ["podman", "2:1.9-1", "x86_64"]},
    ]  # fmt: skip


def test_words():
    rows = pkgdiff.packages(
        packages("a 1-1.noarch", "b 1-1.noarch"), packages("b 2-1.noarch", "c 1-1.noarch")
    )
    assert pkgdiff.words(rows) == "1 added, 1 removed, 1 upgraded"
    assert pkgdiff.words([]) == ""


def test_advisories():
    old, new = (
        [["FEDORA-1", 1, 0, [], {}]],
        [["FEDORA-1", 1, 0, [], {}], ["FEDORA-2", 1, 4, [], {}]],
    )
    assert pkgdiff.advisories(old, new) == [["FEDORA-2", 1, 4, [], {}]]
    assert pkgdiff.advisories(None, new) is None
    assert pkgdiff.advisories(old, None) is None


def test_a_folder_that_says_little(tmp_path):
    assert pkgdiff.content_of(tmp_path) is None
    lock = {"packages": {"a": {"evra": "1-1.noarch"}, "b": {"evr": "1-1"}}}
    (tmp_path / "manifest-lock.generated.x86_64.json").write_text(json.dumps(lock))
    assert [p.nevra for p in pkgdiff.content_of(tmp_path).packages] == ["a-1-1.noarch"]
    (tmp_path / "commitmeta.json").write_text('{"version": "1"}')
    assert [p.nevra for p in pkgdiff.content_of(tmp_path).packages] == ["a-1-1.noarch"]
    rows = {"rpmostree.rpmdb.pkglist": [["c", "", "2", "1", "x86_64"]], "rpmostree.advisories": []}
    (tmp_path / "commitmeta.json").write_text(json.dumps(rows))
    found = pkgdiff.content_of(tmp_path)
    assert [p.nevra for p in found.packages] == ["c-2-1.x86_64"]
    assert found.advisories == []
