import pytest

from cosa.core.errors import CosaError
from cosa.standin import meaning
from cosa.standin.control import Control


def closure(*packages):
    made = {}
    for name, version, fields in packages:
        made[name] = Control({"Package": name, "Version": version, **fields})
    return made


def test_an_ordinary_closure_needs_nothing():
    pytest.importorskip("rpm")
    packages = closure(
        ("a", "1.0-1", {"Depends": "b (>= 2.1~rc1), c | d (<< 3)", "Breaks": "b (<< 1:1)"}),
        ("b", "1:2.0-1+b1", {"Provides": "v (= 1)"}),
        ("c", "3", {"Depends": "v (<= 1)"}),
    )
    assert meaning.check(packages) == {}


def test_a_clause_the_two_order_differently_is_refused_with_all_others():
    packages = closure(
        ("a", "1", {"Depends": "b (<< 1.0.2)"}),
        ("b", "1+16.1", {}),
        ("c", "1", {"Breaks": "b (>> 1.0.2)"}),
    )
    with pytest.raises(CosaError) as caught:
        meaning.check(packages)
    assert caught.value.code == "standin/meaning"
    assert [problem.what.split(":")[0] for problem in caught.value.problems] == [
        "package a", "package c",
    ]  # fmt: skip


def test_a_conflict_that_meets_only_an_unversioned_provides_is_dropped():
    packages = closure(
        ("gpgconf", "2.4", {"Breaks": "gnupg-agent (<< 2.1.21-4), other (<< 9)"}),
        ("gpg-agent", "2.4", {"Provides": "gnupg-agent"}),
        ("other", "3", {}),
    )
    assert meaning.check(packages) == {"gpgconf": ("gnupg-agent (<< 2.1.21-4)",)}


def test_a_conflict_with_a_real_package_too_stays():
    packages = closure(
        ("x", "1", {"Conflicts": "y (<< 2)"}), ("y", "1", {}), ("z", "1", {"Provides": "y"})
    )
    assert meaning.check(packages) == {}


def test_a_requirement_met_only_by_an_unversioned_provides_is_refused():
    packages = closure(("x", "1", {"Depends": "v (>= 2)"}), ("y", "1", {"Provides": "v"}))
    with pytest.raises(CosaError, match="only by a Provides without version"):
        meaning.check(packages)
    packages["v"] = Control({"Package": "v", "Version": "2"})
    assert meaning.check(packages) == {}
