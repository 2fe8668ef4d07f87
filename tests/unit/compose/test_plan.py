"""The union of packages: what may be shared, what conflicts."""

import stat

import pytest

from cosa.compose.pkgindex import Entry, PackageIndex
from cosa.compose.plan import PlanOptions, plan_union
from cosa.core.errors import CosaError


def entry(path, csum="aa", mode=stat.S_IFREG | 0o644, color=0, target="", flags=0, user="root"):
    return Entry(path, mode, user, "root", flags, color, 1, "", csum, target)


def folder(path):
    return entry(path, "", stat.S_IFDIR | 0o755)


def link(path, target):
    return entry(path, "l" + target, stat.S_IFLNK | 0o777, target=target)


def package(name, *entries):
    return PackageIndex(name, f"{name}-1-1.noarch", "sha256:" + name, entries, (), (), ())


def union(*packages, **options):
    return plan_union(packages, PlanOptions(**options))


def test_identical_files_are_shared():
    assert set(union(package("a", entry("usr/x")), package("b", entry("usr/x"))).nodes) == {"usr/x"}


def test_all_conflicts_at_once():
    with pytest.raises(CosaError) as caught:
        union(
            package("a", entry("usr/x", "1"), entry("usr/y", "1")),
            package("b", entry("usr/x", "2"), entry("usr/y", "2")),
        )
    assert [p.what for p in caught.value.problems] == [
        "a and b both ship /usr/x, and differ",
        "a and b both ship /usr/y, and differ",
    ]


def test_64_bit_wins():
    plan = union(
        package("a", entry("usr/x", "1", color=2)), package("b", entry("usr/x", "2", color=1))
    )
    assert plan.nodes["usr/x"].package == "a"


def test_merged_sbin():
    plan = union(package("fs", link("usr/sbin", "bin")), package("a", entry("usr/sbin/x")))
    assert set(plan.nodes) == {"usr/sbin", "usr/bin/x"}


def test_link_loop_is_an_error():
    with pytest.raises(CosaError, match="circle"):
        union(package("a", link("usr/a", "b"), link("usr/b", "a")), package("b", entry("usr/a/x")))


def test_links_do_not_leave_the_root():
    plan = union(package("a", link("usr/up", "../../../..")), package("b", entry("usr/up/usr/x")))
    assert "usr/x" in plan.nodes


def test_documentation_and_removal():
    plan = union(
        package("a", entry("usr/doc", flags=2), entry("etc/a"), entry("usr/b")),
        documentation=False,
        remove=(("a", ("^/usr/etc/",)),),
    )
    assert set(plan.nodes) == {"usr/b"}


@pytest.mark.parametrize("rule", [("nobody", (".*",)), ("a", ("(",))])
def test_bad_removal_rules(rule):
    with pytest.raises(CosaError) as caught:
        union(package("a", entry("usr/x")), remove=(rule,))
    assert caught.value.code == "compose/remove-from-packages"


def test_run_becomes_tmpfiles():
    assert union(package("a", folder("run/a"))).tmpfiles == {"d /run/a 0755 root root - -"}
