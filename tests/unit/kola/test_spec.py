"""Disks, machines that may stand for each other, boot entries, words of `cosa kola`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosa.cli import kolawords
from cosa.core.errors import CosaError
from cosa.kola.request import from_marks, name_for
from cosa.kola.spec import GIB, DiskSpec, MachineSpec, parse_disk
from cosa.tools import bootentry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5G", DiskSpec(5 * GIB)),
        ("5", DiskSpec(5 * GIB)),
        ("512M:channel=nvme,4k", DiskSpec(1 << 29, "nvme", "", 4096, 4096)),
        (":512e", DiskSpec(0, "virtio", "", 512, 4096)),
        ("1T:channel=scsi,serial=a,wwn=17", DiskSpec(1 << 40, "scsi", "a", wwn=17)),
        ("5G:mpath,wwn=3", DiskSpec(5 * GIB, "scsi", wwn=3, multipath=True)),
    ],
)
def test_disks(text: str, expected: DiskSpec) -> None:
    assert parse_disk(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", None), ("0G", "no size"), ("-1G", "no size"), ("5X", "no size"), ("G", "no size"),
        ("5G:chanel=nvme", "unknown option"), ("5G:channel=ide", "none of"),
        ("5G:wwn=x", "decimal"), ("5G:wwn=5", "scsi"),
    ],
)  # fmt: skip
def test_bad_disks(text: str, why: str | None) -> None:
    if why is None:
        assert parse_disk(text) == DiskSpec()
        return
    with pytest.raises(CosaError) as caught:
        parse_disk(text)
    assert caught.value.code == "usage/disk"
    assert why in caught.value.why


def test_equal_machines_have_equal_keys() -> None:
    one = MachineSpec(Path("/i"), {"a": 1, "b": 2})
    assert one.key() == MachineSpec(Path("/i"), {"b": 2, "a": 1}).key()
    for changed in (
        replace(one, memory=2048), replace(one, kargs=("x",)), replace(one, ignition=None),
        replace(one, disks=(DiskSpec(1),)), replace(one, tolerate=frozenset({"oops"})),
    ):  # fmt: skip
        assert changed.key() != one.key()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("title x\noptions rw quiet \nlinux /v\n", "title x\noptions rw quiet a=1 b\nlinux /v\n"),
        ("title x\noptions\n", "title x\noptions a=1 b\n"),
        ("title x\nlinux /v", "title x\nlinux /v\noptions a=1 b\n"),
    ],
)
def test_kargs_go_to_the_end_of_the_options(entry: str, expected: str) -> None:
    assert bootentry.with_kargs(entry, ["a=1", "b"]) == expected


def test_the_nearest_marker_wins() -> None:
    request = from_marks([{"stage": 2, "tags": ["a"]}, {"stage": 1, "memory": 2048}], "t")
    assert (request.stage, request.memory, request.tags) == (2, 2048, ("a",))


def test_stage_and_tags_do_not_make_another_machine() -> None:
    assert from_marks([{"stage": 1}], "t").machine_key() == from_marks([], "t").machine_key()
    assert from_marks([{"memory": 9}], "t").machine_key() != from_marks([], "t").machine_key()


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ({"fimware": "uefi"}, "fimware"),
        ({"tolerate": ["ooops"]}, "ooops"),
        ({"firmware": "efi"}, "firmware"),
        ({"butane": "a", "ignition": "{}"}, "exclude"),
    ],
)
def test_bad_markers(mark: dict[str, object], words: str) -> None:
    with pytest.raises(CosaError) as caught:
        from_marks([mark], "a.test").spec(MachineSpec(Path("/i")), "a.test")
    assert "a.test" in caught.value.what
    assert words in caught.value.what


def test_names() -> None:
    assert name_for(Path("x/test_root_fs.py"), "test_is_grown", "") == "root-fs.is-grown"
    assert name_for(Path("x/test_a.py"), "test_b", "uefi") == "a.b.uefi"


GIVEN = {option.key: option.default for option in kolawords.OPTIONS}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ((), ())),
        (["--json"], ((), ())),
        (["basic.*", "--tag", "!slow", "x"], (("basic.*", "x"), ())),
        (["basic.*", "-k", "foo", "--tag", "x"], (("basic.*",), ("-k", "foo", "--tag", "x"))),
        (["--", "--tag"], ((), ("--tag",))),
        (["-j2", "-x"], ((), ("-x",))),
        (["--rerun", "a", "--rerun=false"], (("a",), ())),
    ],
)
def test_words_of_kola(words: list[str], expected: tuple[object, ...]) -> None:
    asked = kolawords.split(words, GIVEN)
    assert (asked.globs, asked.extra) == expected


def test_options_after_the_verb_count() -> None:
    words = ["--qemu-memory=4096", "-j", "3", "--tag=a", "--tag=b", "-E", "x", "-Ey", "--no-net"]
    values = kolawords.split(words, GIVEN).values
    assert (values["qemu_memory"], values["parallel"]) == (4096, "3")
    assert (values["tag"], values["exttest"]) == (["a", "b"], ["x", "y"])
    assert values["no_net"]
    assert kolawords.workers(values["parallel"]) == 3
    assert GIVEN["tag"] == [], "the table is not changed"


def test_the_systems_disk() -> None:
    assert kolawords.primary_disk(GIVEN) == ""
    values = kolawords.split(["--qemu-size", "20G", "--qemu-nvme", "--qemu-512e"], GIVEN).values
    assert kolawords.primary_disk(values) == "20G:channel=nvme,512e"
    assert kolawords.primary_disk({**GIVEN, "qemu_native_4k": True}) == ":4k"


@pytest.mark.parametrize("words", [["--qemu-memory", "lots"], ["--output"], ["--rerun=maybe"]])
def test_bad_words(words: list[str]) -> None:
    with pytest.raises(CosaError) as caught:
        kolawords.split(words, GIVEN)
    assert caught.value.exit_class == 2
