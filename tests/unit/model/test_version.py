"""Version numbers."""

import pytest

from cosa.core.errors import CosaError
from cosa.model.version import check_id, image_rebuild_id, next_version, scheme

NOON = 1795348800  # 2026-11-22T12:00:00Z


def base(monkeypatch, **changes):
    monkeypatch.setenv("COSA_FAKE_TIME", str(NOON))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    given = {
        "releasever": "13", "variables": {}, "prefix": None, "suffix": None, "lock_day": None,
    }  # fmt: skip
    return scheme(**(given | changes)).base()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"variables": {"stream": "stable"}}, "13.20261122.3.dev"),
        ({"variables": {"stream": "testing-devel"}}, "13.20261122.20.dev"),
        ({"variables": {"stream": "stable"}, "lock_day": "20250102"}, "13.20250102.3.dev"),
        ({"variables": {"stream": "dev"}, "prefix": "13.<date:%Y%m%d>.dev"}, "13.20261122.dev."),
        ({"prefix": "7.<date:%j>", "suffix": "-"}, "7.326-"),
        ({}, "13.20261122.0.dev"),
        ({"releasever": None}, "0.20261122.0.dev"),
    ],
)
def test_base(monkeypatch, changes, expected):
    assert base(monkeypatch, **changes) == expected


def test_source_date_epoch_is_the_day(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    found = scheme(releasever="1", variables={}, prefix=None, suffix=None, lock_day=None)
    assert found.base() == "1.19700101.0.dev"


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "1.dev0"),
        (["1.dev0"], "1.dev1"),
        (["1.dev9", "1.dev10", "1.dev2"], "1.dev11"),
        (["1.dev3-1", "1.dev3"], "1.dev4"),
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
