"""The real butane and ignition-validate: positions of what they find, and merging."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cosa.core.errors import CosaError
from cosa.kola import guestconfig
from cosa.tools import butane

pytestmark = pytest.mark.tool

GOOD = """variant: fcos
version: 1.4.0
storage:
  files:
    - path: /etc/x
      contents: {inline: hi}
"""


def findings(err: CosaError) -> list[tuple[str, str]]:
    if not err.problems:
        return [(str(err.where), err.what)]
    return [(str(problem.where), problem.what) for problem in err.problems]


def test_butane_becomes_ignition(tmp_path: Path) -> None:
    path = tmp_path / "good.bu"
    path.write_text(GOOD)
    checked = butane.load(path)
    assert checked.config["ignition"] == {"version": "3.3.0"}
    assert checked.warnings == ()


def test_local_files_are_looked_for_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("hello")
    path = tmp_path / "c.bu"
    path.write_text(GOOD.replace("inline: hi", "local: motd"))
    assert "hello" in json.dumps(butane.load(path).config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GOOD.replace("path: /etc/x", "path: etc/x"),
            [("c.bu:5:13", "$.storage.files.0.path: path not absolute")],
        ),
        (
            GOOD.replace("/etc/x\n", "x\n      mod: 1\n"),
            [
                ("c.bu:5:13", "$.storage.files.0.path: path not absolute"),
                ("c.bu:6:7", "$.storage.files.0.mod: unused key mod"),
            ],
        ),
        (
            "variant: fcos\nversion: 1.4.0\n passwd: [\n",
            [("c.bu:3:1", "mapping values are not allowed in this context")],
        ),
        (
            "variant: fcos\nversion: 9.9.9\n",
            [("c.bu", "c.bu: No translator exists for variant fcos with version 9.9.9")],
        ),
    ],
)
def test_butane_errors_have_positions(text: str, expected: list[tuple[str, str]]) -> None:
    with pytest.raises(CosaError) as caught:
        butane.from_butane(text, "c.bu")
    assert caught.value.code == "butane/invalid"
    assert findings(caught.value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"ignition": {"version": "3.3.0"},\n "storage": {"files": [{"path": "rel"}]}}',
            [("c.ign:2:33", "$.storage.files.0.path: path not absolute")],
        ),
        (
            '{"ignition": {"version": "3.3.0"}\n "x": 1}',
            [("c.ign:2:3", "invalid character '\"' after object key:value pair")],
        ),
        ('{"ignition": {"version": "4.0.0"}}', None),
    ],
)
def test_ignition_errors_have_positions(text: str, expected: list[tuple[str, str]] | None) -> None:
    with pytest.raises(CosaError) as caught:
        butane.from_ignition(text, "c.ign")
    assert caught.value.code == "ignition/invalid"
    if expected:
        assert findings(caught.value) == expected


def test_warnings_do_not_fail() -> None:
    checked = butane.from_butane(GOOD.replace("contents", "mode: 644\n      contents"), "c.bu")
    assert str(checked.warnings[0].where) == "c.bu:6:13"


def test_what_a_machine_gets_is_valid_and_the_users_words_come_last() -> None:
    user = butane.from_butane(GOOD, "c.bu").config
    whole = guestconfig.whole(user, "ssh-ed25519 AAAA test", autologin=True)
    assert butane.from_ignition(json.dumps(whole), "whole").warnings == ()
    merged = whole["ignition"]["config"]["merge"]  # type: ignore[index,call-overload]
    parts = [json.loads(base64.b64decode(one["source"].partition(",")[2])) for one in merged]
    assert parts[1] == user
    assert butane.from_ignition(json.dumps(parts[0]), "ours").warnings == ()
    assert parts[0]["passwd"]["users"][0]["sshAuthorizedKeys"] == ["ssh-ed25519 AAAA test"]
