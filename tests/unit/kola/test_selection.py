"""Choosing tests: globs, tags, shards, denylists."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.kola import denylist
from cosa.kola.choice import Choice
from cosa.kola.denylist import CONSOLE, Decision, Denylist, Entry, Subject
from cosa.kola.external import ExternalTest
from cosa.kola.metadata import Limit, Metadata
from cosa.kola.selection import Selection, Shard, fnv1_64, glob_matches

TODAY = dt.date(2026, 5, 1)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "ext.a", True), ("*", "bucket/ext.a", False), ("*/*", "bucket/ext.a", True),
        ("ext.*", "ext.a.b", True), ("ext.?", "ext.a", True), ("ext.?", "ext/", False),
        ("[a-c]x", "bx", True), ("[^a-c]x", "bx", False), ("[^a-c]x", "dx", True),
        (r"a\*", "a*", True), (r"a\*", "ab", False), ("a.b", "axb", False), ("", "", True),
        ("[a[]x", "[x", True), (r"[\]]x", "]x", True), ("ext", "ext.a", False),
    ],
)  # fmt: skip
def test_globs(pattern: str, name: str, expected: bool) -> None:
    assert glob_matches(pattern, name) is expected


@pytest.mark.parametrize("pattern", ["[a", "a\\", "[]", "[b-a]"])
def test_bad_globs(pattern: str) -> None:
    with pytest.raises(CosaError) as caught:
        glob_matches(pattern, "x")
    assert caught.value.exit_class is ExitClass.USAGE


@pytest.mark.parametrize(
    ("globs", "tags", "have", "required", "expected"),
    [
        ((), (), (), "", True),
        (("a*",), (), (), "", True), (("b*",), (), (), "", False),
        (("b*",), ("t",), ("t",), "", True),
        ((), ("t",), ("t",), "", True), ((), ("t",), (), "", False),
        ((), ("!t",), ("t",), "", False), (("a*",), ("!t",), ("t",), "", False),
        (("!a*",), (), (), "", False), (("!b*",), (), (), "", True),
        ((), (), (), "r", False), (("abc",), (), (), "r", False), ((), ("r",), (), "r", True),
    ],
)  # fmt: skip
def test_selection(
    globs: tuple[str, ...], tags: tuple[str, ...], have: tuple[str, ...], required: str,
    expected: bool,
) -> None:  # fmt: skip
    assert Selection(globs, tags).takes("abc", have, required) is expected


def test_globs_that_name_nothing() -> None:
    assert Selection(("a*", "b*", "!c")).unmatched(["ax"]) == ["b*", "!c"]


def test_shards_deal_out_every_test_once() -> None:
    # Known answers of FNV-1 (64 bit), from the published test vectors.
    assert fnv1_64(b"") == 0xCBF29CE484222325
    assert fnv1_64(b"a") == 0xAF63BD4C8601B7BE
    assert fnv1_64(b"foobar") == 0x340D8765A4DDA9C2
    names = [f"ext.config.test-{n}" for n in range(40)]
    shards = [Shard.parse(f"hash:{m}/3") for m in (1, 2, 3)]
    assert all(sum(shard.takes(name) for shard in shards) == 1 for name in names)
    for text in ("hash:0/3", "hash:4/3", "1/3", "hash:1/0", "fast:1/2"):
        with pytest.raises(CosaError):
            Shard.parse(text)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry("a*"), "skip"), (Entry("b"), ""), (Entry("a*", warn=True), "warn"),
        (Entry("a*", arches=("s390x",)), ""), (Entry("a*", arches=("x86_64", "s390x")), "skip"),
        (Entry("a*", streams=("stable",)), "skip"), (Entry("a*", streams=("next",)), ""),
        (Entry("a*", platforms=("aws",)), ""), (Entry("a*", osversion=("41",)), ""),
        (Entry("a*", snooze=dt.date(2026, 5, 2)), "skip"),
        (Entry("a*", snooze=dt.date(2026, 5, 2), warn=True), "skip"),
        (Entry("a*", snooze=TODAY), ""), (Entry("a*", snooze=TODAY, warn=True), "warn"),
    ],
)  # fmt: skip
def test_denylist_entries(entry: Entry, expected: str) -> None:
    subject = Subject(stream="stable")
    assert Denylist([entry], subject, TODAY).decide("abc").action == expected


def test_an_unknown_stream_leaves_stream_entries_without_effect() -> None:
    entries = [Entry("a", streams=("stable",)), Entry("a", warn=True, tracker="T")]
    assert Denylist(entries, Subject(), TODAY).decide("a") == Decision("warn", "denylisted: T")
    assert Denylist([Entry(CONSOLE)], Subject(), TODAY).console_warns


def test_a_real_denylist(shared_fixture) -> None:
    entries = denylist.load(shared_fixture("treefiles/fedora-coreos/kola-denylist.yaml"))
    assert [entry.pattern for entry in entries] == [
        "fcos.internet", "podman.workflow", "coreos.boot-mirror*", "kdump.crash.nfs",
    ]  # fmt: skip
    assert entries[3].streams == ("rawhide", "next-devel", "next")
    assert entries[2].warn


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("pattern: x", 1), ("- 1", 1), ("- tracker: x", 1), ("- {pattern: x, until: y}", 1),
        ("- {pattern: x, snooze: tomorrow}", 1), ("- {pattern: x, streams: next}", 1),
        ("- {pattern: x, warn: 'yes'}\n- {pattern: 1}", 2), ("- [", 1),
    ],
)  # fmt: skip
def test_bad_denylists_say_where(tmp_path: Path, text: str, count: int) -> None:
    path = tmp_path / "kola-denylist.yaml"
    path.write_text(text)
    with pytest.raises(CosaError) as caught:
        denylist.load(path)
    assert caught.value.code == "kola/denylist"
    assert len(caught.value.problems) in (count, 0)
    assert str(path) in str(caught.value)


def test_choices_travel_as_one_word() -> None:
    choice = Choice(globs=("a", "!b"), multiply=3, no_net=True, today="2026-05-01")
    assert Choice.from_json(choice.to_json()) == choice
    assert Choice.from_json("") == Choice()


@pytest.mark.parametrize(
    ("meta", "settings", "expected"),
    [
        (Metadata(), {}, True),
        (Metadata(architectures=Limit(("s390x",))), {}, False),
        (Metadata(architectures=Limit(("s390x",), negated=True)), {}, True),
        (Metadata(platforms=Limit(("qemu",))), {}, True),
        (Metadata(platforms=Limit(("aws",))), {}, False),
        (Metadata(platforms=Limit(("qemu-iso",))), {}, False),
        (Metadata(platforms=Limit(("qemu",), negated=True)), {}, False),
        (Metadata(platforms=Limit(("aws",), negated=True)), {}, True),
        (Metadata(distros=Limit(("rhcos",))), {}, False),
        (Metadata(distros=Limit(("rhcos",))), {"distro": "rhcos"}, True),
        (Metadata(tags=("needs-internet",)), {"no_net": True}, False),
        (Metadata(), {"only": ("other",)}, False),
        (Metadata(required_tag="big"), {"globs": ("x",)}, False),
        (Metadata(required_tag="big"), {"tags": ("big",)}, True),
    ],
)
def test_who_runs(meta: Metadata, settings: dict, expected: bool) -> None:
    assert Choice(**settings).takes_external(ExternalTest("x", Path("x"), meta=meta)) is expected


def test_decisions_in_order(tmp_path: Path) -> None:
    path = tmp_path / "kola-denylist.yaml"
    path.write_text("- {pattern: 'a*', tracker: T, warn: true}\n")
    choice = Choice(denylists=(str(path),), denied=("ab",), today="2026-05-01")
    assert choice.decide("ab") == Decision("skip", "denylisted: --denylist-test ab")
    assert choice.decide("ac") == Decision("warn", "denylisted: T")
    assert choice.decide("x", Metadata(creation_date="2026-04-20")).action == "warn"
    assert choice.decide("x", Metadata(creation_date="2026-01-20")).action == ""
