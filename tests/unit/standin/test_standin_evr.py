import itertools

import pytest

from cosa.core.errors import CosaError
from cosa.standin import evr
from cosa.standin.evr import Evr

CASES = {
    "1.0-1": Evr(0, "1.0", "1"),
    "1:2.41-12+deb13u4": Evr(1, "2.41", "12+deb13u4"),
    "12.3": Evr(0, "12.3", "0"),
    "2.0-rc1-3": Evr(0, "2.0_rc1", "3"),
    "0~git20250503.587980c-2~bpo1": Evr(0, "0~git20250503.587980c", "2~bpo1"),
    "1:4.16.0-2+really2.41.5-0+deb13u1": Evr(1, "4.16.0_2+really2.41.5", "0+deb13u1"),
}


@pytest.mark.parametrize("text", CASES)
def test_mapping(text):
    assert evr.convert(text) == CASES[text]


@pytest.mark.parametrize("text", ["", "1:", ":1", "a b", "1.0-", "1.0(2)", "x:1", "1/2", "1_2"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(CosaError) as caught:
        evr.convert(text)
    assert caught.value.code == "standin/version"


# In dpkg's order, smallest first (deb-version(7)).
ORDERED = [
    "1.0~~", "1.0~~a", "1.0~", "1.0~beta1-1", "1.0", "1.0-1~exp1", "1.0-1", "1.0-1+b1", "1.0-2",
    "1.0-10", "1.0a-1", "1.0+dfsg-1", "1.0.1", "1.9", "1.10", "2.0", "1:0.1",
]  # fmt: skip


def test_dpkgs_order():
    for (i, one), (j, two) in itertools.product(enumerate(ORDERED), repeat=2):
        assert evr.dpkg_compare(one, two) == (i > j) - (i < j), (one, two)


def test_a_missing_revision_counts_as_zero():
    assert evr.dpkg_compare("1.0", "1.0-0") == 0
    assert evr.rpm_compare(evr.convert("1.0"), evr.convert("1.0-0")) == 0


def test_rpm_orders_the_mapped_versions_alike():
    pytest.importorskip("rpm")
    versions = [v for v in ORDERED if v != "1.0.1"]  # '+dfsg' and '.1' are the known difference
    for one, two in itertools.combinations(versions, 2):
        assert evr.rpm_compare(evr.convert(one), evr.convert(two)) == -1, (one, two)


def test_the_known_difference_is_seen():
    one, two = "1+16.1", "1.0.2"
    assert evr.dpkg_compare(one, two) < 0 < evr.rpm_compare(evr.convert(one), evr.convert(two))
