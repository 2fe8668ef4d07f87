"""Scripts of packages as Fedora has them: order, triggers, Lua, accounts; rpm itself is the judge."""

import os
import subprocess

import pytest
from composeworld import TREEFILE, install_program, listing, run, text_of

from cosa.core.errors import CosaError

LOG = "/usr/lib/log"


def shell(what):
    """A script that notes itself, its arguments and what is on stdin."""
    return f'{{ echo "{what}" "$#" "$@"; cat; }} >> {LOG}'


def lua(what, more=""):
    """The same in Lua."""
    return (
        f'f = io.open("{LOG}", "a") f:write("{what} ", #arg, " ", tostring(arg[2]), " ",'
        f' tostring(arg[3]){more}, "\\n") f:close()'
    )


def watching(maker):
    """Packages whose scripts watch each other; in the order in which rpm installs them."""
    early = maker.rpm(
        "early",
        f"""
%pre
{shell("early pre")}
%post
{shell("early post")}
%transfiletriggerin -P 50 -- /usr/lib/early.d
{shell("early transfiletriggerin")}
""",
        files={"/usr/lib/early.d/1": "x", "/usr/lib/early.d/2": "x"},
    )
    watch = maker.rpm(
        "watch",
        f"""
%pre
{shell("watch pre")}
%post
{shell("watch post")}
%posttrans
{shell("watch posttrans")}
%triggerin -- late >= 1
{shell("watch triggerin")}
%triggerin -- base > 5
{shell("watch triggerin of a version that is not there")}
%triggerin -p <lua> -- early > 0.5, missing
{lua("watch lua triggerin")}
%triggerun -- late
{shell("watch triggerun")}
%filetriggerin -- /usr/lib/early.d /usr/lib/late.d
{shell("watch filetriggerin")}
%filetriggerin -P 100 -- /usr/lib/early.d /usr/lib/late.d /usr/lib/watch
{shell("watch late filetriggerin")}
%filetriggerin -p <lua> -- /usr/lib/late.d
{lua("watch lua filetriggerin", ', " ", rpm.next_file(), " ", rpm.next_file()')}
%transfiletriggerin -P 5 -- /usr/lib/late.d
{shell("watch low transfiletriggerin")}
%transfiletriggerin -- /usr/lib/early.d /usr/lib/late.d
{shell("watch transfiletriggerin")}
%transfiletriggerin -- /usr/lib/nobody
{shell("watch transfiletriggerin of nothing")}
""",
        tags="Requires: early",
    )
    late = maker.rpm(
        "late",
        f"""
%pre -p <lua>
{lua("late lua pre")}
%post -p <lua>
{lua("late lua post", ', " ", posix.getpid and "posix" or posix.stat("/usr/lib/late.d", "type")')}
%posttrans -p <lua>
{lua("late lua posttrans", ', " ", rpm.vercmp("2", "10"), " ", rpm.expand("%{?nothing}x")')}
%triggerin -- early
{shell("late triggerin")}
%triggerin -- late
{shell("late self triggerin")}
%filetriggerin -- /usr/lib/early.d
{shell("late filetriggerin")}
""",
        tags="Requires: watch",
        files={"/usr/lib/late.d/1": "x", "/usr/lib/late.d/2": "x"},
    )
    return [early, watch, late]


def by_rpm(root, base, packages):
    """What rpm's own transaction notes."""
    root.mkdir()
    argv = ["rpm", f"--root={root}", "-i", "--ignoreos", "--nosignature"]
    subprocess.run([*argv, base], check=True, capture_output=True)
    os.symlink("usr/lib64", root / "lib64")
    subprocess.run([*argv, *packages], check=True, capture_output=True)
    return (root / LOG.lstrip("/")).read_text().splitlines()


def test_scripts_and_triggers_run_as_rpm_runs_them(room, maker):
    packages = watching(maker)
    job, commit = run(room, [maker.base, *packages])
    ours = text_of(job, commit, LOG).splitlines()
    theirs = by_rpm(room / "root", maker.base, packages)
    # All %pre come first, which is rpm-ostree's way; everything else is in rpm's own order.
    pre = ["early pre 1 1", "watch pre 1 1", "late lua pre 2 1 nil"]
    assert ours[:3] == pre
    assert ours[3:] == [line for line in theirs if line not in pre]
    assert "watch lua filetriggerin 3 1 1 /usr/lib/late.d/1 /usr/lib/late.d/2" in ours
    assert "late lua posttrans 2 1 nil -1 x" in ours
    assert not [line for line in ours if "nothing" in line or "not there" in line]


def test_failing_lua_names_itself(room, maker):
    sad = maker.rpm("sad", "%post -p <lua>\n-- a comment\nerror('so sad')")
    with pytest.raises(CosaError) as caught:
        run(room, [maker.base, sad])
    assert caught.value.code == "script/failed"
    assert "%post script of sad-1-1.noarch" in caught.value.what
    assert "so sad" in caught.value.why


def test_lua_runs_in_the_tree_and_cannot_harm_the_cache(room, maker):
    body = (
        "%post -p <lua>\n"
        "assert(posix.symlink('target', '/usr/lib/by-lua'))\n"
        "f = io.open('/usr/lib/precious', 'w') f:write('lua was here') f:close()\n"
        "assert(rpm.execute('/bin/sh', '-c', 'echo $0 > /usr/lib/executed', 'zero') == 0)\n"
        f"assert(posix.stat('{room}') == nil)\n"
    )
    job, commit = run(room, [maker.base, maker.rpm("scribe", body)])
    assert text_of(job, commit, "/usr/lib/precious") == "lua was here"
    assert text_of(job, commit, "/usr/lib/executed") == "zero\n"
    assert listing(job, commit, "/usr/lib/by-lua").rstrip().endswith("by-lua -> target")
    again, clean = run(room, [maker.base])
    assert text_of(again, clean, "/usr/lib/precious") == "shared\n"


def test_what_rpm_ostree_ignores_or_replaces(room, maker):
    packages = [
        maker.rpm("bash", f"%post\n{shell('bash post')}"),
        maker.rpm("kernel-core", f"%posttrans\n{shell('kernel posttrans')}"),
        maker.rpm("systemd", f"%transfiletriggerin -- /usr/lib\n{shell('systemd')}"),
        maker.rpm("oddity", f"%post -p <lua>\n-- rpm-ostree-skip\n{lua('skipped')}"),
        maker.rpm("leaver", f"%preun\n{shell('preun')}\n%pretrans -p <lua>\n{lua('pretrans')}"),
        maker.rpm("crypto-policies", f"%post -p <lua>\n{lua('not this')}"),
        maker.rpm("plain", f"%post\n{shell('plain post')}"),
    ]
    job, commit = run(room, [maker.base, *packages])
    assert text_of(job, commit, LOG) == "plain post 1 1\n"
    assert text_of(job, commit, "/usr/etc/crypto-policies/config") == "DEFAULT\n"


def test_install_langs_is_what_scripts_see(room, maker):
    packages = [
        maker.rpm("asks", f"%post -p <lua>\n{lua('lua', ', rpm.expand(" %%{_install_langs}")')}"),
        maker.rpm("expands", f"%post -e\n{shell('langs %%{_install_langs}')}"),
    ]
    job, commit = run(room, [maker.base, *packages], TREEFILE + "install-langs: [de, en_GB]\n")
    assert set(text_of(job, commit, LOG).splitlines()) == {
        "lua 2 1 nil de:en_GB", "langs de:en_GB 1 1",
    }  # fmt: skip


def test_macros_of_a_script_are_expanded_in_the_sandbox(room, maker):
    outside = room / "outside"
    asks = maker.rpm("asks", f"%post -e\n{shell(f'%%(echo x > {outside}; cat /usr/lib/precious)')}")
    job, commit = run(room, [maker.base, asks])
    assert text_of(job, commit, LOG) == "shared 1 1\n"
    assert not outside.exists()


def test_what_a_query_may_not_do(room, maker):
    asks = maker.rpm("asks", "%post -q\necho %%{SUMMARY:expand}")
    with pytest.raises(CosaError) as caught:
        run(room, [maker.base, asks])
    assert caught.value.code == "rpm/script"
    assert "asks" in caught.value.what


def test_a_query_tells_what_the_header_says(room, maker):
    asks = maker.rpm("asks", f"%post -q\necho %%{{NAME}} >> {LOG}")
    job, commit = run(room, [maker.base, asks])
    assert text_of(job, commit, LOG) == "asks\n"


def test_sysusers_and_pre_make_the_owners_of_files(room, maker):
    sysusers = maker.top / "sysusers"
    if not sysusers.exists():
        install_program("systemd-sysusers", sysusers)
    packages = [
        maker.build("sysusers", f"cp -a {sysusers}/. %{{buildroot}}/", "/usr/*"),
        maker.rpm("declares", files={"/usr/lib/sysusers.d/d.conf": "u demo 123 Demo /\n"}),
        maker.rpm("owns", files={"/usr/lib/owned": "x"}, attr="%attr(4750, demo, late)"),
        maker.rpm("makes", "%pre\necho late:x:77: >> /etc/group"),
    ]
    job, commit = run(room, [maker.base, *packages], TREEFILE + "sysusers: compose-forced\n")
    assert listing(job, commit, "/usr/lib/owned").split()[:3] == ["-04750", "123", "77"]


def test_an_owner_nobody_makes_is_told(room, maker):
    with pytest.raises(CosaError) as caught:
        run(room, [maker.base, maker.rpm("orphan", attr="%attr(644, ghost, root)")])
    assert caught.value.code == "compose/unknown-owner"
    assert "ghost" in caught.value.what
