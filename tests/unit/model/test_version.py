"""Version numbers."""

import pytest

from cosa.core.errors import CosaError
from cosa.model.version import Parts, check_id, image_rebuild_id, next_version, parse, scheme

NOON = 1795348800  # 2026-11-22T12:00:00Z


def made(monkeypatch, **changes):
    monkeypatch.setenv("COSA_FAKE_TIME", str(NOON))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    given = {
        "releasever": "13", "variables": {}, "prefix": None, "suffix": None, "locked": None,
    }  # fmt: skip
    return scheme(**(given | changes))


STABLE = {"variables": {"stream": "stable"}}
DATED = {"prefix": "414.92.<date:%Y%m%d%H%M>", "suffix": "-"}


@pytest.mark.parametrize(
    ("changes", "existing", "expected"),
    [
        (STABLE, [], "13.20261122.3.dev0"),
        ({"variables": {"stream": "testing-devel"}}, [], "13.20261122.20.dev0"),
        (STABLE, ["13.20261122.3.dev4", "13.20261122.3.9"], "13.20261122.3.dev5"),
        (STABLE | {"locked": 1735804800}, [], "13.20250102.3.dev0"),
        ({"variables": {"stream": "x"}, "prefix": "13.<date:%Y%m%d>.dev"}, [], "13.20261122.dev.0"),
        (DATED, [], "414.92.202611221200-0"),
        (DATED, ["414.92.202611221200-0", "414.92.202611221200-0-1"], "414.92.202611221200-1"),
        ({"prefix": "7"}, [], "7"),
        ({"prefix": "7"}, ["7"], "7.1"),
        ({"prefix": "7"}, ["7-1"], "7.1"),
        ({"prefix": "7"}, ["7.1", "7"], "7.2"),
        ({}, [], "13.20261122.0.dev0"),
        ({"releasever": None}, [], "0.20261122.0.dev0"),
    ],
)
def test_development(monkeypatch, changes, existing, expected):
    assert made(monkeypatch, **changes).development(existing) == expected


@pytest.mark.parametrize(
    ("existing", "commits", "expected"),
    [
        ([], 0, "13.20261122.3.0"),
        (["13.20261122.3.0"], 7, "13.20261122.3.7"),
        ([], None, "13.20261122.3.0"),
        (["13.20261122.3.4"], None, "13.20261122.3.5"),
        (["13.20261122.3.4-2", "13.20261122.3.9"], None, "13.20261122.3.5"),
        (["13.20261121.3.4"], None, "13.20261122.3.0"),
        (["12.20261122.3.4"], None, "13.20261122.3.0"),
        (["13.20261122.1.4"], None, "13.20261122.3.0"),
        (["13.99999999.3.4"], None, "13.20261122.3.0"),
        (["whatever"], None, "13.20261122.3.0"),
    ],
)
def test_production(monkeypatch, existing, commits, expected):
    assert made(monkeypatch, **STABLE).production(existing, commits) == expected


def test_production_needs_a_numbered_stream(monkeypatch):
    with pytest.raises(CosaError) as caught:
        made(monkeypatch, prefix="7").production([], 0)
    assert caught.value.code == "usage/version"
    assert "testing-devel" in caught.value.why


def test_source_date_epoch_is_the_day(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    found = scheme(releasever="1", variables={}, prefix=None, suffix=None, locked=None)
    assert found.development([]) == "1.19700101.0.dev0"


def test_taking_apart():
    assert parse("44.20260707.3.1") == Parts(44, "20260707", 3, 1, dev=False)
    assert parse("44.20260707.20.dev12-3") == Parts(44, "20260707", 20, 12, dev=True)
    assert parse("44.20260707.91.0").stream_name == "rawhide"
    assert parse("44.20260707.4.0").stream_name == ""
    for other in ("", "414.92.202307170903-0", "44.20261399.3.1", "1.dev.0", "44.20260707.3"):
        assert parse(other) is None


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "1.dev0"),
        (["1.dev0"], "1.dev1"),
        (["1.dev9", "1.dev10", "1.dev2"], "1.dev11"),
        (["1.dev3-1", "1.dev3"], "1.dev4"),
        (["1.dev3-1-x", "1.dev5x"], "1.dev4"),
        (["2.dev7", "1.devil", "1.dev"], "1.dev0"),
    ],
)
def test_next(existing, expected):
    assert next_version("1.dev", existing) == expected


def test_image_rebuilds_count_up():
    assert image_rebuild_id("1.0", []) == ("1.0", 0)
    assert image_rebuild_id("1.0", ["1.0"]) == ("1.0-1", 1)
    assert image_rebuild_id("1.0", ["1.0", "1.0-1"]) == ("1.0-2", 2)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "x" * 129, "a\n", "latest/.."])
def test_ids_that_would_leave_their_folder(name):
    with pytest.raises(CosaError) as caught:
        check_id(name)
    assert caught.value.code == "usage/version"


def test_good_id():
    assert check_id("414.92.202307170903-0") == "414.92.202307170903-0"
