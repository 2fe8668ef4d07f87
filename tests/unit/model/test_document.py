"""Documents: what YAML and JSON mean, where it stands, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from cosa.core.errors import CosaError, Where
from cosa.model import document


def findings(err: CosaError) -> list[tuple[str, int, int]]:
    return [(p.code, p.where.line, p.where.column) for p in err.problems or (err,) if p.where]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("yes", "no", "on", "off", "Yes", "y", "<<", "=")],
        *[("true", True), ("True", True), ("FALSE", False)],
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[("0", 0), ("-12", -12), ("+3", 3), ("0o17", 15), ("0x1F", 31)],
        *[
            (word, word)
            for word in ("0755", "08", "1_000", "12:30", "2020-01-01", "0b1", "1e", ".")
        ],
        *[("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-.inf", -math.inf)],
        *[('"1"', "1"), ("'true'", "true"), ("!!str 1", "1"), ("!!int 0x10", 16)],
        ("9" * 41, "9" * 41),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    result = document.parse(f"a: {text}\n", "f.yaml").value
    assert result == {"a": value}
    assert type(result["a"]) is type(value)


def test_positions_of_keys_and_values() -> None:
    text = "a:\n  - x\n  - b: {c: 1,\n      d: 2}\nanchor: &n\n  e: 5\nuse: *n\n"
    doc = document.parse(text, "f.yaml")
    assert doc.where() == Where("f.yaml", 1, 1)
    assert doc.where("a", 1, "b", "d") == Where("f.yaml", 4, 10)
    assert doc.where_key("a", 1, "b", "d") == Where("f.yaml", 4, 7)
    assert doc.where("use", "e") == Where("f.yaml", 6, 6)
    assert doc.where("a", 1, "nothing", "there") == Where("f.yaml", 3, 5)


def test_positions_in_json() -> None:
    text = '{"a": [1,\n  {"b": "x\\"]}", "c": {}}],\n\t"d": null}'
    doc = document.parse(text, "f.json", "json")
    assert doc.value == {"a": [1, {"b": 'x"]}', "c": {}}], "d": None}
    assert doc.where("a", 0) == Where("f.json", 1, 8)
    assert doc.where("a", 1, "c") == Where("f.json", 2, 23)
    assert doc.where_key("a", 1, "c") == Where("f.json", 2, 18)
    assert doc.where_key("d") == Where("f.json", 3, 2)


BOMB = "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in ("ab", "bc", "cd", "de", "ef")
)


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "document/duplicate-key", 3, 1),
        ("a: {b: 1, c: 2, b: 3}\n", "document/duplicate-key", 1, 17),
        ("1: x\n", "document/key-type", 1, 1),
        ("a:\n\t- b\n", "document/syntax", 2, 1),
        ("a: b: c\n", "document/syntax", 1, 5),
        ("a: 'x\n", "document/syntax", 2, 1),
        ("a: *b\n", "document/syntax", 1, 4),
        ("a: &a [*a]\n", "document/syntax", 1, 4),
        ("a: 1\n---\nb: 2\n", "document/syntax", 2, 1),
        ("a: x\x01\n", "document/syntax", 1, 5),
        ("a: !!python/name:os.system x\n", "document/syntax", 1, 4),
        ("[" * 100_000, "document/too-deep", 1, 64),
        (f"a: &a [{', '.join('x' * 20)}]\n{BOMB}\n", "document/too-big", 6, 4),
        (b"a: 1\nb: caf\xe9\n", "document/encoding", 2, 7),
    ],
)
def test_bad_yaml(text: str | bytes, code: str, line: int, column: int) -> None:
    with pytest.raises(CosaError) as caught:
        document.parse(text, "f.yaml")
    assert findings(caught.value) == [(code, line, column)]


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "document/syntax", 1, 1),
        ('{"a": 1,}', "document/syntax", 1, 8),
        ("{'a': 1}", "document/syntax", 1, 2),
        ('{"a": 1} x', "document/syntax", 1, 10),
        ('{"a": NaN}', "document/syntax", 1, 7),
        ('{"a": "x\ny"}', "document/syntax", 1, 9),
        ('{"a": 1,\n "b": {"c": 1, "c": 2}}', "document/duplicate-key", 2, 16),
        ("[" * 100_000, "document/too-deep", 1, 65),
        ('{"a": 1 # no\n}', "document/syntax", 1, 9),
    ],
)
def test_bad_json(text: str, code: str, line: int, column: int) -> None:
    with pytest.raises(CosaError) as caught:
        document.parse(text, "f.json", "json")
    assert findings(caught.value) == [(code, line, column)]


def test_all_duplicate_keys_come_out_together() -> None:
    with pytest.raises(CosaError) as caught:
        document.parse("a: {x: 1, x: 2}\nb: 1\nb: 2\n", "f.yaml")
    assert [p.where.line for p in caught.value.problems if p.where] == [1, 3]


def test_aliases_share_their_value() -> None:
    doc = document.parse("a: &x {k: [1]}\nb: *x\n", "f.yaml")
    assert doc.value == {"a": {"k": [1]}, "b": {"k": [1]}}


def test_load_chooses_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a":\t"\\ud83d\\ude00"}')
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: x\r\n")
    assert document.load(tmp_path / "a.json").value == {"a": "\U0001f600"}
    assert document.load(tmp_path / "a.yaml").value == {"a": "x"}


@pytest.mark.parametrize(("name", "code"), [("gone", "missing"), (".", "unreadable")])
def test_load_without_a_file(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(CosaError) as caught:
        document.load(tmp_path / name)
    assert caught.value.code == f"document/{code}"


def test_load_refuses_a_huge_file(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(document.MAX_BYTES + 1)
    with pytest.raises(CosaError) as caught:
        document.load(tmp_path / "a.yaml")
    assert caught.value.code == "document/too-big"


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    kind: Literal["raw", "qcow2"] = "raw"


class Outer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    packages: tuple[str, ...] = ()
    include: str | tuple[str, ...] | None = None
    selinux: bool = True
    disks: tuple[Inner, ...] = ()
    either: Inner | str | None = None
    path: Path | None = None
    boot: str = Field("", alias="boot-location")


def test_a_valid_document_becomes_a_model() -> None:
    text = "packages: [a, b]\ninclude: x\ndisks: [{size: 1}]\npath: /x\nboot-location: new\n"
    model = document.validate(Outer, document.parse(text, "f.yaml"), "test")
    assert model.packages == ("a", "b")
    assert model.disks == (Inner(size=1),)
    assert model.path == Path("/x")
    assert model.boot == "new"


@pytest.mark.parametrize(
    ("line", "code", "column", "what", "fix"),
    [
        ("pakages: []", "unknown-key", 1, "unknown key 'pakages'", "did you mean 'packages'?"),
        ("packages: [a, 1]", "wrong-type", 15, "packages[2]: must be a string", "quotes"),
        ("packages: a", "wrong-type", 11, "must be a list, not the string 'a'", ""),
        ("selinux: yes", "wrong-type", 10, "true or false", "write true"),
        ("selinux: 1", "wrong-type", 10, "not the number 1", ""),
        ("include: 5", "wrong-type", 10, "a string or a list, not the number 5", ""),
        ("include: [a, {}]", "wrong-type", 14, "include[2]: must be a string, not a mapp", ""),
        ("either: {size: x}", "wrong-type", 16, "either.size: must be a whole number", ""),
        ("either: [1]", "wrong-type", 9, "a mapping or a string, not a list", ""),
        ("disks: [{kind: raw}]", "missing-key", 9, "disks[1]: the key 'size' is missing", ""),
        ("disks: [{size: 1, kind: qcow}]", "wrong-value", 25, "'raw' or 'qcow2'", "'qcow2'?"),
        ("disks: [{size: 1, sise: 2}]", "unknown-key", 19, "unknown key 'sise'", "'size'?"),
        ("boot_location: x", "unknown-key", 1, "unknown key 'boot_location'", "'boot-location'?"),
    ],
)
def test_findings_in_plain_words(line: str, code: str, column: int, what: str, fix: str) -> None:
    with pytest.raises(CosaError) as caught:
        document.validate(Outer, document.parse(f"# first\n{line}\n", "f.yaml"), "test")
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == (f"test/{code}", Where("f.yaml", 2, column))
    assert what in problem.what
    assert fix in problem.fix


def test_every_finding_is_reported() -> None:
    text = "packages: 1\nselinux: no\ndisks: [{size: a}, {sise: 1}]\n"
    with pytest.raises(CosaError) as caught:
        document.validate(Outer, document.parse(text, "f.yaml"), "test")
    lines = [p.where.line for p in caught.value.problems if p.where]
    assert lines == [1, 2, 3, 3, 3]
