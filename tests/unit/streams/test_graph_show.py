"""`cosa graph show` from its words to its output."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from cosa.cli.main import main

OLD, NEW = "44.20260101.3.0", "44.20260102.3.0"


@pytest.fixture
def words(tmp_path):
    index, updates = tmp_path / "releases.json", tmp_path / "updates.json"
    index.write_text(json.dumps({
        "stream": "stable",
        "releases": [
            {"version": one, "commits": [{"architecture": "x86_64", "checksum": one[-6:]}]}
            for one in (OLD, NEW)
        ],
    }))  # fmt: skip
    rollout = {"start_epoch": 1000, "start_percentage": 0.0, "duration_minutes": 100}
    updates.write_text(json.dumps({
        "stream": "stable", "releases": [{"version": NEW, "metadata": {"rollout": rollout}}],
    }))  # fmt: skip
    return ["graph", "show", "--releases", str(index), "--updates", str(updates),
            "--stream", "stable", "--basearch", "x86_64"]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ([], [[0, 1]]),
        (["--rollout-wariness", "0.5", "--at", "3999"], []),
        (["--rollout-wariness", "0.5", "--at", "4000"], [[0, 1]]),
        (["--rollout-wariness=0", "--at", "1970-01-01T00:00Z"], [[0, 1]]),
        (["--node-uuid", "", "--at", "2130"], []),  # 0.18848...
        (["--node-uuid", "", "--at", "1970-01-01T01:35:31+01:00"], [[0, 1]]),
        (["--rollout-wariness", "much", "--at", "2131"], [[0, 1]]),
    ],
)
def test_what_a_node_is_offered(capsys, words, options, edges):
    assert main([*words, *options]) == 0
    graph = json.loads(capsys.readouterr().out)
    assert graph["edges"] == edges
    assert [one["version"] for one in graph["nodes"]] == [OLD, NEW]


def test_text_and_picture(capsys, words):
    assert main([*words, "-o", "text", "--at", "4000"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{NEW}  rollout 50 %, ends 1970-01-01T01:56:40Z",
        "",
        f"{OLD} -> {NEW}",
        f"{NEW} -> nothing",
        "2 releases, 1 updates",
    ]
    assert main([*words, "-o", "svg"]) == 0
    drawn = ET.fromstring(capsys.readouterr().out)
    assert len(drawn.findall("{*}circle")) == 2
    assert len(drawn.findall("{*}path")) == 1


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (["--at", "tomorrow"], 2, "usage/time"),
        (["--at", "2026-11-24T14:00"], 2, "usage/time"),  # in which zone?
        (["-o", "yaml"], 2, "usage/option-value"),
        (["--stream", ""], 2, "usage/missing-argument"),
        (["--stream", "next"], 3, "streams/other-stream"),
        (["--updates", "/nowhere.json"], 3, "document/missing"),
    ],
)
def test_refusals(capsys, words, options, status, code):
    assert main([*words, *options]) == status
    assert code in capsys.readouterr().err
