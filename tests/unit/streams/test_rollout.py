"""Rollouts from the command's words to the document and its audit log."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from cosa.cli.main import main
from cosa.core import clock
from cosa.core.errors import CosaError
from cosa.streams import documents, moment, publish
from cosa.streams.graph import Scope, build, throttle
from cosa.streams.simulate import outcomes, refuse

NOW = 1_800_000_000
# As in a real stream: 1 is of major 38, and 2 that follows it in the index of 37.
VERSIONS = (
    "37.20230217.1.0", "38.20230310.1.0", "37.20230303.1.1", "38.20230322.1.0", "38.20230408.1.1",
)  # fmt: skip
PAGE = ["--reason", "https://example.org/why"]
SOON = ["--start", str(NOW + 3600)]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """run(marks, "start", 3, options...) -> (status, output, the document's marks after)."""
    monkeypatch.setenv("COSA_FAKE_TIME", str(NOW))
    index, updates = tmp_path / "releases.json", tmp_path / "next.json"
    commits = [
        [{"architecture": arch, "checksum": f"{arch}{n}"} for arch in ("x86_64", "aarch64")]
        for n in range(len(VERSIONS))
    ]
    index.write_text(json.dumps({
        "stream": "next",
        "releases": [
            {"version": one, "commits": some} for one, some in zip(VERSIONS, commits, strict=True)
        ],
    }))  # fmt: skip

    def call(marks, verb, release, *options):
        updates.write_text(json.dumps({
            "stream": "next",
            "metadata": {"last-modified": "2020-01-01T00:00:00Z", "generator": "x"},
            "releases": [
                {"version": VERSIONS[n], "metadata": said} for n, said in sorted(marks.items())
            ],
        }))  # fmt: skip
        was = updates.read_bytes()
        version = VERSIONS[release] if isinstance(release, int) else release
        words = ["rollout", verb, str(updates), version, "--releases", str(index), *options]
        status = main(words)
        said = capsys.readouterr()
        after = json.loads(updates.read_text())
        if status or "--dry-run" in options:
            assert updates.read_bytes() == was
            assert not publish.audit_path(updates).exists() or not (
                publish.audit_path(updates).read_text()
            )
        places = {VERSIONS.index(one["version"]): one["metadata"] for one in after["releases"]}
        return status, said.out + said.err, places

    call.updates = updates
    return call


def barrier(**more):
    return {"barrier": {"reason": "https://example.org/b"}, **more}


def rolling(start=NOW - 60, share=0.0, minutes=2880):
    return {"start_epoch": start, "start_percentage": share, "duration_minutes": minutes}


DEAD = {"deadend": {"reason": "https://example.org/d"}}
FULL = {"start_percentage": 1.0}


def test_a_rollout_starts_and_old_ones_are_tidied_away(run):
    marks = {
        0: {"rollout": FULL},
        1: DEAD,
        2: barrier(rollout=FULL),
        3: {"rollout": rolling(start=1000), "note": "kept"},
    }
    status, said, after = run(marks, "start", 4, *SOON, "--hours", "72")
    assert status == 0, said
    assert after == {
        1: DEAD,
        2: barrier(),
        3: {"rollout": FULL, "note": "kept"},
        4: {"rollout": rolling(start=NOW + 3600, minutes=4320)},
    }
    assert "1.389 % per hour" in said
    line = f"{VERSIONS[2]} to {VERSIONS[3]} (2) -> {VERSIONS[4]}"
    assert said.count(f"  {VERSIONS[3]} -> {VERSIONS[4]}, before: nothing") == 2  # both arches
    assert line not in said  # they came from different places
    value = json.loads(run.updates.read_text())
    assert value["metadata"] == {"last-modified": clock.iso(NOW), "generator": "x"}
    noted = json.loads(publish.audit_path(run.updates).read_text())
    assert (noted["verb"], noted["version"]) == ("start", VERSIONS[4])
    digest = hashlib.sha256(run.updates.read_bytes()).hexdigest()
    assert noted["after"] == f"sha256:{digest}" != noted["before"]


BASE = {1: DEAD, 2: barrier(), 3: {"rollout": FULL}}


@pytest.mark.parametrize(
    ("marks", "words", "code"),
    [
        (BASE, ["start", 4, "--start", str(NOW - 1)], "rollout/past"),
        (BASE, ["start", 4, "--start", "tomorrow"], "usage/time"),
        (BASE, ["start", 4], "usage/missing-argument"),
        (BASE, ["start", 4, *SOON, "--hours", "23"], "rollout/window"),
        (BASE, ["start", 4, *SOON, "--hours", "0", "--short"], "rollout/window"),
        (BASE, ["start", 4, *SOON, "--share", "30"], "rollout/window"),
        (BASE, ["start", 4, *SOON, "--share", "nan"], "rollout/window"),
        (BASE, ["start", "38.20230408.9.9", *SOON], "rollout/unknown-version"),
        (BASE, ["start", 1, *SOON], "rollout/trap"),
        (BASE, ["start", 2, *SOON], "rollout/not-newest"),
        (BASE | {4: {"rollout": rolling()}}, ["start", 4, *SOON], "rollout/exists"),
        ({0: barrier()}, ["start", 2, *SOON], "rollout/downgrade"),
        (BASE, ["halt", 4], "rollout/no-rollout"),
        (BASE | {4: barrier(rollout=rolling())}, ["halt", 4], "rollout/barrier-opens"),
        (BASE | {4: {"rollout": rolling()}}, ["finish", 4], "rollout/not-ended"),
        (BASE, ["finish", 2], "rollout/no-rollout"),
        (BASE, ["barrier", 1, *PAGE], "rollout/trap"),
        (BASE, ["barrier", 2, *PAGE], "rollout/exists"),
        (BASE, ["barrier", 4, *PAGE], "rollout/at-once"),
        (BASE, ["barrier", 3], "usage/missing-argument"),
        (BASE, ["barrier", 3, "--reason", "because"], "usage/option-value"),
        # a late barrier that would send the newer major version back
        ({3: {"rollout": FULL}}, ["barrier", 2, *PAGE], "rollout/downgrade"),
        (BASE, ["dead-end", 2, *PAGE], "rollout/trap"),
        (BASE, ["dead-end", 3, *PAGE], "rollout/trap"),
        (BASE, ["dead-end", 1, *PAGE], "rollout/exists"),
    ],
)
def test_what_hurts_is_refused_and_nothing_is_written(run, marks, words, code):
    status, said, _ = run(marks, *words)
    assert status == (2 if code.startswith("usage") else 3)
    assert code in said


@pytest.mark.parametrize(
    ("marks", "words", "after"),
    [
        (BASE | {4: {"rollout": rolling()}}, ["halt", 4], BASE),
        (BASE | {4: barrier(rollout=rolling())}, ["halt", 4, "--with-barrier"], BASE),
        (BASE | {4: {"rollout": rolling()}}, ["finish", 4, "--early"],
         BASE | {4: {"rollout": FULL}}),
        (BASE | {4: {"rollout": rolling(start=1000)}}, ["finish", 4], BASE | {4: {"rollout": FULL}}),
        (BASE | {4: {"rollout": rolling()}}, ["start", 4, *SOON, "--replace"],
         BASE | {4: {"rollout": rolling(start=NOW + 3600)}}),
        (BASE, ["start", 4, *SOON, "--hours", "2", "--short", "--share", ".5"],
         BASE | {4: {"rollout": rolling(NOW + 3600, 0.5, 120)}}),
        (BASE, ["dead-end", 0, *PAGE], BASE | {0: {"deadend": {"reason": PAGE[1]}}}),
        ({1: DEAD, 3: {"rollout": FULL}}, ["barrier", 2, *PAGE],
         {1: DEAD, 2: {"barrier": {"reason": PAGE[1]}}, 3: {"rollout": FULL}}),
        ({3: {"rollout": FULL}}, ["barrier", 2, *PAGE, "--allow-downgrade"],
         {2: {"barrier": {"reason": PAGE[1]}}, 3: {"rollout": FULL}}),
        (BASE, ["start", 4, *SOON, "--dry-run"], BASE),
    ],
)  # fmt: skip
def test_changes(run, marks, words, after):
    status, said, places = run(marks, *words)
    assert status == 0, said
    assert places == after


def test_where_nodes_fall_back_to_is_told(run):
    status, said, _ = run(BASE, "halt", 3)
    assert status == 0
    assert f"{VERSIONS[2]} -> nothing, before: {VERSIONS[3]}" in said


def test_stranded_nodes_are_found():
    def updates(*marks):
        return documents.Updates.model_validate({
            "releases": [{"version": VERSIONS[n], "metadata": said} for n, said in marks]
        })  # fmt: skip

    index = documents.ReleaseIndex.model_validate({
        "releases": [
            {"version": one, "commits": [{"architecture": "x86_64", "checksum": one}]}
            for one in VERSIONS
        ],
    })  # fmt: skip
    before = updates((2, {"rollout": FULL}), (4, {"rollout": FULL}))
    after = updates((2, barrier() | DEAD), (4, {"rollout": FULL}))
    (found,) = outcomes(index, before, after)
    assert found.stranded() == list(VERSIONS[:3])
    with pytest.raises(CosaError) as err:
        refuse([found], dead_end=VERSIONS[2])
    assert err.value.code == "rollout/strands"
    assert VERSIONS[1] in err.value.what


def test_the_simulation_tells_what_the_graph_does(run):
    """The rows of the curve, held against the throttled graph of the document written."""
    _, said, _ = run(BASE, "start", 4, *SOON, "--share", "0.1")
    index, updates, _ = documents.read(run.updates.with_name("releases.json"), run.updates)
    graph = build(index, updates, Scope("x86_64"))
    rows = re.findall(r"^  (\d{4}-\S+Z) +([0-9.]+) %$", said, re.MULTILINE)
    assert len(rows) == 13
    for time, share in rows:
        seen = [
            (3, 4)
            in throttle(graph, min(float(share) / 100 + off, 1), moment.parse(time, "")).edges
            for off in (-0.001, 0.001)
        ]
        assert seen == [True, float(share) == 100]


def test_a_halted_rollout_goes_on_from_where_it_was(run, tmp_path, capsys):
    marks = BASE | {4: {"rollout": rolling(start=NOW - 12 * 3600)}}  # 25 % of two days
    assert run(marks, "halt", 4)[0] == 0
    halted = run.updates.read_bytes()
    words = [str(run.updates), VERSIONS[4], "--releases", str(tmp_path / "releases.json"), *SOON]
    assert main(["rollout", "resume", *words]) == 0
    assert "2.083 % per hour" in capsys.readouterr().out
    (*_, last) = json.loads(run.updates.read_text())["releases"]
    assert last["metadata"] == {"rollout": rolling(NOW + 3600, 0.25, 2160)}
    # Once resumed, it is no longer halted; a line cut short in the log is no matter.
    with publish.audit_path(run.updates).open("a") as log:
        log.write('{"verb": "ha')
    assert main(["rollout", "resume", *words]) == 3
    assert "rollout/not-halted" in capsys.readouterr().err
    assert run.updates.read_bytes() != halted
    assert main(["rollout", "halt", *words[:4]]) == 0
    assert main(["rollout", "resume", *words]) == 0
    (*_, last) = json.loads(run.updates.read_text())["releases"]
    assert (
        last["metadata"]["rollout"]["start_percentage"] == 0.25
    )  # not 0, though it had not begun again


def test_two_writers_and_a_document_changed_meanwhile(run, tmp_path):
    with publish.exclusive(publish.audit_path(run.updates)):
        status, said, _ = run(BASE, "start", 4, *SOON)
        assert (status, "busy/updates" in said) == (9, True)
    path = tmp_path / "x.json"
    path.write_text("{}")
    with publish.exclusive(tmp_path / "log") as log, pytest.raises(Exception, match="meanwhile"):
        publish.write(path, b"[]", {}, log, {})
    assert path.read_text() == "{}"
    assert (tmp_path / "log").read_text() == ""


def test_a_real_halt(shared_fixture, tmp_path, monkeypatch):
    monkeypatch.setenv("COSA_FAKE_TIME", "1752080000")
    path = tmp_path / "stable.json"
    name = "streams/halt-stable-42.20250623.3.0"
    path.write_bytes(shared_fixture(f"{name}.before.json").read_bytes())
    wanted = json.loads(shared_fixture(f"{name}.after.json").read_text())
    index = {"releases": [{"version": one["version"], "commits": [
        {"architecture": "x86_64", "checksum": one["version"]}]}
        for one in json.loads(path.read_text())["releases"]]}  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(index))
    words = [str(path), "42.20250623.3.0", "--releases", str(tmp_path / "r.json")]
    assert main(["rollout", "halt", *words]) == 0
    assert json.loads(path.read_text())["releases"] == wanted["releases"]


def test_real_streams_have_no_update_that_goes_back(shared_fixture):
    index, updates, _ = documents.read(
        shared_fixture("streams/releases-stable-20211102.json"),
        shared_fixture("streams/updates-stable-20211102.json"),
    )
    nothing = documents.Updates(releases=())
    for found in outcomes(index, nothing, updates):
        assert found.after.edges
        assert found.lowering() == []


def test_status(run, capsys):
    run(BASE | {4: {"rollout": rolling(start=NOW - 24 * 3600)}}, "start", 4, "--start", "1")
    releases = str(run.updates.with_name("releases.json"))
    assert main(["rollout", "status", str(run.updates), "--releases", releases]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"{VERSIONS[3]}  finished, 100 %"
    assert lines[3].startswith(f"{VERSIONS[4]}  running, 50 %, {clock.iso(NOW - 24 * 3600)} to")
    words = [
        "rollout",
        "status",
        str(run.updates),
        "--releases",
        releases,
        "--at",
        "5",
        "-o",
        "json",
    ]
    assert main(words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [one.get("state") for one in rows] == [None, None, "finished", "waiting"]
