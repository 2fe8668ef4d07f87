"""External tests: what is found in a folder, what it says about itself, who shares a machine."""

from __future__ import annotations

import datetime as dt
import io
import json
import tarfile
from pathlib import Path

import pytest

from cosa.core.errors import CosaError
from cosa.core.run import Result
from cosa.kola import extrun, metadata
from cosa.kola.external import ExternalTest, Root, buckets, discover
from cosa.kola.metadata import KEYS, Limit, Metadata


@pytest.fixture
def root(tmp_path: Path) -> Root:
    folder = tmp_path / "project/tests/kola"
    folder.mkdir(parents=True)
    return Root.of(tmp_path / "project")


def write(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def meta_of(*lines: str) -> Metadata | None:
    return metadata.from_test("\n".join(lines).encode(), "t")


def test_names_come_from_folders_and_a_lone_test_sh_has_none(root: Root) -> None:
    top = root.folder
    for name in ("a", "reboot/test.sh", "two/test.sh", "two/other", "deep/er/x.py", ".hid/test.sh"):
        write(top / name)
    write(top / "library.sh", "#!/bin/sh\n", 0o750)
    write(top / "notes.txt", "hi", 0o644)
    write(top / "data/looks-like-a-test")
    remarks: list[str] = []
    tests = discover([root], remarks)
    assert sorted(test.name for test in tests) == [
        "ext.project..hid", "ext.project.a", "ext.project.deep.er.x.py", "ext.project.reboot",
        "ext.project.two.other", "ext.project.two.test.sh",
    ]  # fmt: skip
    assert len(remarks) == 1
    assert "library.sh" in remarks[0]
    assert {test.data.name for test in tests if test.data} == {"data"}


def test_a_root_is_a_project_or_its_tests_and_may_be_missing(root: Root, tmp_path: Path) -> None:
    assert Root.of(root.folder) == root
    assert Root.of(tmp_path / "project", "ext.config").prefix == "ext.config"
    assert discover([Root.of(tmp_path / "nothing")]) == []
    write(root.folder / "a")
    assert len(discover([root, Root.of(root.folder)])) == 1


def test_links_are_followed_and_nothing_is_inherited(root: Root) -> None:
    top = root.folder
    write(top / "config.bu", "variant: fcos\nversion: 1.4.0\n", 0o644)
    write(top / "data/common.sh", mode=0o644)
    write(top / "a")
    write(top / "sub/b")
    (top / "linked").mkdir()
    (top / "linked/config.bu").symlink_to("../config.bu")
    (top / "linked/data").symlink_to("../data")
    (top / "linked/test.sh").symlink_to("../a")
    (top / "all").symlink_to("linked")
    found = {test.name: test for test in discover([root])}
    plain, linked = found["ext.project.sub.b"], found["ext.project.linked"]
    assert (plain.config, plain.data) == (None, None)
    assert linked.config
    assert linked.data
    assert "ext.project.all" in found


def test_a_bad_link_or_file_fails_the_tests_it_concerns_only(root: Root) -> None:
    top = root.folder
    write(top / "good/test.sh")
    write(top / "old/test.sh")
    write(top / "old/config.fcc", "", 0o644)
    write(top / "dangling/test.sh")
    (top / "dangling/data").symlink_to("nowhere")
    write(top / "unknown/test.sh", "#!/bin/sh\n## kola:\n##   exlusive: false\n#\n")
    write(top / "json/test.sh")
    write(top / "json/kola.json", "{", 0o644)
    write(top / "loop/test.sh")
    (top / "loop/again").symlink_to("..")
    found = {test.name.removeprefix("ext.project."): test for test in discover([root])}
    problems = {name: str(test.problem) for name, test in found.items() if test.problem}
    assert set(problems) == {"old", "dangling", "unknown", "json"}
    assert "unknown/test.sh:3:1: unknown key 'exlusive'" in problems["unknown"]
    assert not found["good"].problem


def test_config_ign_goes_before_config_bu(root: Root) -> None:
    write(root.folder / "a")
    for name in ("config.bu", "config.ign"):
        write(root.folder / name, "{}", 0o644)
    assert discover([root])[0].config == root.folder / "config.ign"


def test_two_tests_of_one_name(root: Root) -> None:
    write(root.folder / "a.b")
    write(root.folder / "a/b")
    first, second = sorted(discover([root]), key=lambda test: test.name)
    assert not first.problem
    assert second.name == "ext.project.a.b.duplicate-2"
    assert "is taken by" in str(second.problem)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["#!/bin/sh", "echo"], None),
        (['# kola: {"exclusive": false}', "x"], Metadata(exclusive=False)),
        (['# kola: {"TIMEOUTMIN": 3} and more'], Metadata(timeout_min=3)),
        ([' # kola: {"exclusive": false}'], None),
        (["## kola:", "##   tags: needs-internet  x", "set -e", "##   timeoutMin: 5"],
         Metadata(tags=("needs-internet", "x"))),
        (["## kola:", "##   timeoutMin: 5"], Metadata(timeout_min=5)),
        (["## kola:", "##", "##   timeoutMin: 5"], Metadata()),
        (["## kola:", "##   # a comment", "##   description: a b", "#"],
         Metadata(description="a b")),
        (["x" * 9000, "## kola:", "##   timeoutMin: 5", ""], None),
        (["#", "x" * 8000, "## kola:", "##   description: " + "y" * 300, "##   timeoutMin: 5", ""],
         Metadata(description="y" * 300, timeout_min=5)),
        (["## kola:", "##   creationDate: 2026-01-02", ""], Metadata(creation_date="2026-01-02")),
        (["## kola:", "##   exclusive: false", "##   conflicts: [a, b]", ""],
         Metadata(exclusive=False, conflicts=("a", "b"))),
    ],
)  # fmt: skip
def test_blocks(lines: list[str], expected: Metadata | None) -> None:
    assert meta_of(*lines) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("timeoutMin: '5'", "not a whole number"), ("timeoutMin: true", "not a whole number"),
        ("timeoutMin: -1", "not a whole number"), ("exclusive: 'no'", "true or false"),
        ("tags: [a]", "words in one string"), ("architectures: [x86_64]", "a string"),
        ("conflicts: [a]", "exclusive: false"), ("additionalDisks: 5G", "a list"),
        ("additionalDisks: ['5G:chanel=x']", "does not describe a disk"),
        ("additionalDisks: [':4k']", "no size"), ("exclusive: false, minMemory: 2", "minMemory"),
        ("creationDate: yesterday", "YYYY-MM-DD"), ("creationDate: '2026-13-01'", "month"),
        ("bootFrom: usb", "neither"), ("requiredHostPorts: [0]", "between"),
        ("requiredHostPorts: [x]", "whole number"), ("bindMountHostRO: [a]", "SOURCE"),
        ("firmware: uefi", "unknown key 'firmware'"), ("isolation: x", "unknown key"),
    ],
)  # fmt: skip
def test_bad_metadata(text: str, why: str) -> None:
    with pytest.raises(CosaError) as caught:
        meta_of("## kola:", *(f"##   {line}" for line in text.split(", ")), "")
    assert caught.value.code == "kola/metadata"
    assert why in caught.value.what
    assert caught.value.where


@pytest.mark.parametrize(
    "text", ["## kola:\n##  a: [\n", "## kola:\n## - a\n", "# kola: [1]\n", "# kola: {x}\n",
             "## kola:\n##   timeoutMin: 1\n##   timeoutMin: 2\n", "## kola:\n## kola:\n"],
)  # fmt: skip
def test_blocks_that_are_no_metadata(text: str) -> None:
    with pytest.raises(CosaError, match="t:"):
        meta_of(text)


def test_all_keys_upstream_has() -> None:
    assert len(KEYS) == 25
    assert not {"firmware", "isolation"} & set(KEYS)


def test_kola_json_counts_only_without_a_block(root: Root) -> None:
    write(root.folder / "plain")
    write(root.folder / "own", '#!/bin/sh\n# kola: {"tags": "mine"}\n')
    write(root.folder / "kola.json", '{"tags": "beside", "exclusive": false}', 0o644)
    own, plain = discover([root])
    assert (own.meta.tags, own.meta.exclusive) == (("mine",), True)
    assert (plain.meta.tags, plain.meta.exclusive, plain.number) == (("beside",), False, 1)
    assert plain.tags == ("external", "beside")


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [("", "x", True), ("a b", "a", True), ("a b", "c", False), ("!a b", "b", False),
     ("! a", "a", False), ("!a", "c", True)],
)  # fmt: skip
def test_limits(text: str, name: str, allowed: bool) -> None:
    assert Limit.parse(text).allows(name) is allowed


def test_a_new_test_warns_for_thirty_days() -> None:
    meta = Metadata(creation_date="2026-01-01")
    assert meta.is_new(dt.date(2026, 1, 30))
    assert not meta.is_new(dt.date(2026, 1, 31))


def sharing(*pairs: tuple[str, tuple[str, ...]]) -> list[ExternalTest]:
    return [
        ExternalTest(
            name, Path(name), meta=Metadata(exclusive=False, conflicts=conflicts), number=n
        )
        for n, (name, conflicts) in enumerate(pairs, 1)
    ]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("a", ()), ("b", ()), ("c", ())], [["a", "b", "c"]]),
        ([("a", ()), ("b", ("a",)), ("c", ()), ("d", ())], [["a", "c", "d"]]),
        ([("a", ("c",)), ("b", ()), ("c", ()), ("d", ("a", "b"))], [["a", "b"], ["c", "d"]]),
        ([("a", ())], []),
    ],
)
def test_buckets_first_fit_by_mutual_conflicts(
    pairs: list[tuple[str, tuple[str, ...]]], expected: list[list[str]]
) -> None:
    made = buckets(sharing(*pairs))
    assert [[test.name for test in bucket.members] for bucket in made] == expected
    assert [bucket.name for bucket in made] == [
        f"non-exclusive-test-bucket-{n}" for n in range(len(made))
    ]


def test_the_unit_is_upstreams_to_the_letter() -> None:
    text = extrun.unit_text(ExternalTest("ext.config.a", Path("/x/a")))
    lines = text.splitlines()
    assert lines[:4] == [
        "[Unit]", "[Service]", "RemainAfterExit=yes", "EnvironmentFile=-/run/kola-runext-env",
    ]  # fmt: skip
    assert {
        "Environment=KOLA_UNIT=kola-runext.service",
        "Environment=KOLA_TEST=ext.config.a",
        "Environment=KOLA_TEST_EXE=a",
        "Environment=KOLA_EXT_DATA=/var/opt/kola/extdata",
    } <= set(lines)
    assert lines[-1] == "ExecStart=/usr/local/bin/kola-runext-a"
    shared = extrun.unit_text(ExternalTest('e.x "y" 5%', Path('/x "y" 5%$'), number=7), "c.oci")
    assert "Environment=KOLA_UNIT=kola-runext-7.service" in shared
    assert "KOLA_EXT_DATA=/var/opt/kola/extdata-7" in shared
    assert r'Environment="KOLA_TEST=e.x \"y\" 5%%"' in shared
    assert 'ExecStart="/usr/local/bin/kola-runext-x \\"y\\" 5%%$$"' in shared
    assert "KOLA_EXT_OSTREE_OCIARCHIVE=/home/core/c.oci" in shared


def test_what_goes_into_the_guest(root: Root) -> None:
    top = root.folder
    program = write(top / "test.sh", "#!/bin/sh\necho hi\n")
    write(top / "shared/lib.sh", "x", 0o644)
    (top / "data").mkdir()
    (top / "data/lib.sh").symlink_to("../shared/lib.sh")
    (top / "data/tree").symlink_to("../shared")
    write(top / "data/tool")
    test = ExternalTest("n", program, data=top / "data")
    with tarfile.open(fileobj=io.BytesIO(extrun.cargo(test, "[Unit]\n"))) as archive:
        names = {info.name: (info.type, oct(info.mode)) for info in archive}
    assert names == {
        "usr/local/bin/kolet.partial": (b"0", "0o755"),
        "usr/local/bin/kola-runext-test.sh.partial": (b"0", "0o755"),
        "etc/systemd/system/kola-runext.service": (b"0", "0o644"),
        "var/opt/kola/extdata/lib.sh": (b"0", "0o644"),
        "var/opt/kola/extdata/tool": (b"0", "0o755"),
        "var/opt/kola/extdata/tree": (b"5", oct((top / "shared").stat().st_mode & 0o7777)),
        "var/opt/kola/extdata/tree/lib.sh": (b"0", "0o644"),
    }
    (top / "data/gone").symlink_to("nowhere")
    with pytest.raises(CosaError, match="leads nowhere: nowhere"):
        extrun.cargo(test)


def test_what_kolet_says() -> None:
    assert extrun.Asked.parse("\n") == extrun.Asked()
    said = json.dumps({"Reboot": "a \"b\" 'c' \\d", "SoftReboot": ""})
    assert extrun.Asked.parse(f"noise\n{said}\n").reboot == "a \"b\" 'c' \\d"
    with pytest.raises(CosaError) as caught:
        extrun.Asked.parse("what")
    assert caught.value.code == "kola/kolet"


def test_marks_survive_the_environment_file() -> None:
    assert extrun.mark_text("a b") == 'AUTOPKGTEST_REBOOT_MARK="a b"\n'
    assert (
        extrun.mark_text("""'"$x`\\""") == r'AUTOPKGTEST_REBOOT_MARK="' + "'" + r'\"\$x\`\\"' + "\n"
    )


def test_the_verdict_comes_first() -> None:
    err = "sudo: unable to resolve host x\nother\nkolet: u.service failed (exit-code, status 1)\n"
    assert extrun._reason(Result((), 1, "", err)) == (
        "u.service failed (exit-code, status 1)", "other",
    )  # fmt: skip
    assert extrun._reason(Result((), 2, "", "sudo: x")) == ("kolet ended with status 2", "")
