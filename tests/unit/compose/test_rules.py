"""Small pure rules: accounts, scripts, tmpfiles, SELinux equivalences, initramfs tail."""

import gzip

import pytest

from cosa.compose import closure, finalize, initramfs, passwd, skips, tmpfiles, triggers
from cosa.compose.pkgindex import PackageIndex
from cosa.core.errors import CosaError
from cosa.tools.rpmheader import Scriptlet


def test_split_keeps_root_and_named_groups():
    text = "root:x:0:\nwheel:x:10:\nbin:x:1:\n"
    parts = passwd.split(text, "group", ["wheel"])
    assert parts.etc == "root:x:0:\nwheel:x:10:\n"
    assert parts.lib == "wheel:x:10:\nbin:x:1:\n"


def test_changed_and_vanished_ids_are_all_told():
    found = passwd.Accounts({"a": (5, 5)}, {})
    want = [passwd.Expected("a", (6, 6)), passwd.Expected("b", (7, 7))]
    with pytest.raises(CosaError) as caught:
        passwd.check("passwd", want, found, owned=lambda _: "/usr/x")
    assert {p.code for p in caught.value.problems} == {"passwd/changed", "passwd/vanished"}


def test_vanished_without_files_or_ignored_is_fine():
    want = [passwd.Expected("b", (7, 7))]
    passwd.check("passwd", want, passwd.Accounts())
    passwd.check("passwd", want, passwd.Accounts(), ignore=["*"], owned=lambda _: "/x")


@pytest.mark.parametrize(
    ("name", "script", "action"),
    [
        ("bash", Scriptlet("post", "x"), "skip"),
        ("vim", Scriptlet("post", "x"), "run"),
        ("vim", Scriptlet("preun", "x"), "skip"),
        ("vim", Scriptlet("triggerin", "x"), "run"),
        ("vim", Scriptlet("triggerprein", "x"), "skip"),
        ("vim", Scriptlet("post", "x", ("<lua>",)), "run"),
        ("vim", Scriptlet("post", "-- rpm-ostree-skip\nx", ("<lua>",)), "skip"),
        ("kernel-modules-core", Scriptlet("posttrans", "x"), "skip"),
        ("glibc-common", Scriptlet("transfiletriggerin", "x", ("<lua>",)), "run"),
    ],
)
def test_scripts(name, script, action):
    assert skips.judge(name, script).action == action


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("vim", True), ("vi", False), ("vim >= 2:9.1", True), ("vim > 2:9.1", False),
        ("vim = 2:9.1-3", True), ("vim < 2:9.1-3", False), ("vim <= 9.2", False), ("vim > 10", True),
    ],
)  # fmt: skip
def test_what_a_trigger_waits_for(condition, met):
    package = PackageIndex("vim", "vim-2:9.1-3.x86_64", "", (), (), (), ())
    assert triggers.satisfies(package, condition) is met


def test_altfiles():
    text = "passwd: files systemd\nhosts: files dns\ngroup: files altfiles\n"
    assert finalize.altfiles(text) == (
        "passwd: files altfiles systemd\nhosts: files dns\ngroup: files altfiles\n"
    )


def test_what_the_policy_says_of_a_folder_in_etc_holds_in_usr_etc():
    lines = finalize.equivalences("/etc/systemd/system /usr/lib/systemd/system\n").splitlines()
    assert lines[0] == lines[-1] == "/usr/etc/systemd/system /usr/lib/systemd/system"
    assert "/usr/etc /etc" in lines


def test_equivalences_are_stable():
    once = finalize.equivalences("/var/home /home\n/run /var/run\n")
    assert "/var/home /home" not in once
    assert "/home /var/home" in once
    assert finalize.equivalences(once) == once


def test_escape():
    assert tmpfiles.escape("a b%c") == "a\\x20b%%c"


def test_device_nodes_start_at_a_multiple_of_four():
    for size in range(4, 9):
        tail = initramfs.device_nodes(size)
        start = tail.index(b"\x1f\x8b")
        assert start >= 4
        assert (size + start) % 4 == 0
        assert b"dev/urandom" in gzip.decompress(tail[start:])


def test_names_ignore_library_versions_and_enabled_units():
    def digest(name):
        return initramfs.names_digest([name], hostonly=False)

    assert digest("usr/lib/liba.so.1.2") == digest("usr/lib/liba.so.1.3")
    assert digest("usr/lib/a") != digest("usr/lib/b")
    assert digest("etc/systemd/system/x.wants") == initramfs.names_digest([], hostonly=False)


def test_closure_follows_rich_dependencies_and_cycles():
    def pkg(name, *requires):
        return PackageIndex(name, name, "d" + name, (), (), requires, (name,))

    packages = closure.Packages([pkg("a", "(b or c >= 2-0)"), pkg("b", "a"), pkg("c"), pkg("d")])
    assert [p.name for p in packages.closure(["a"])] == ["a", "b", "c"]
