"""Where packaged paths go, and which are refused."""

import stat

import pytest

from cosa.compose.translate import Fate, committed, place, ref_name

DIR, FILE, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("path", "mode", "fate", "where"),
    [
        ("/usr/bin/x", FILE, Fate.KEEP, "usr/bin/x"),
        ("/lib/x.so", FILE, Fate.KEEP, "usr/lib/x.so"),
        ("/lib64", LINK, Fate.KEEP, "lib64"),
        ("/etc/x", FILE, Fate.KEEP, "etc/x"),
        ("/opt/a/b", FILE, Fate.KEEP, "usr/lib/opt/a/b"),
        ("/var/lib/alternatives/x", FILE, Fate.KEEP, "usr/lib/alternatives/x"),
        ("/var/lib/selinux/targeted/x", FILE, Fate.KEEP, "etc/selinux/targeted/x"),
        ("/run/x", DIR, Fate.TMPFILES, "run/x"),
        ("/run/x", FILE, Fate.SKIP, "run/x"),
        ("/home", DIR, Fate.SKIP, ""),
        ("/srv/data", FILE, Fate.REFUSE, ""),
        ("/odd", FILE, Fate.REFUSE, ""),
    ],
)
def test_place(path, mode, fate, where):
    found = place(path, mode, "pkg")
    assert (found.fate, found.path) == (fate, where)


def test_layout_packages_lose_what_has_no_place():
    assert place("/odd", FILE, "filesystem").fate is Fate.SKIP


def test_committed():
    assert committed("etc/x") == "usr/etc/x"
    assert committed("boot/vmlinuz") == "usr/lib/ostree-boot/vmlinuz"
    assert committed("etcetera") == "etcetera"


def test_ref_name_is_escaped_as_rpm_ostree_does():
    assert ref_name("a_b+", "1:2-3", "noarch") == "rpmostree/pkg/a__b_2B/1_3A2-3.noarch"
