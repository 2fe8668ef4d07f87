import subprocess

import pytest

from cosa.core.errors import CosaError
from cosa.standin import scripts


def run(text, root, *arguments):
    """Run a scriptlet with dpkg's and our folder moved below a root."""
    moved = text.replace("/var/lib/dpkg", f"{root}/var").replace(scripts.DATABASE, f"{root}/db")
    return subprocess.run(
        ["/bin/sh", "-c", moved, "scriptlet", *arguments],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture
def root(tmp_path):
    for name in ("info", "status.d"):
        (tmp_path / "db" / name).mkdir(parents=True)
    (tmp_path / "db/info/tiny.list").write_text("/.\n/usr\n")
    for name in ("a", "tiny"):
        (tmp_path / "db/status.d" / name).write_text(f"Package: {name}\n\n")
    return tmp_path


def test_postinst_runs_as_dpkg_would_run_it(root):
    body = (
        b"#!/bin/sh\nset -e\n"
        b'echo "$0|$1|$#|$DPKG_MAINTSCRIPT_PACKAGE|$DPKG_MAINTSCRIPT_NAME|$DPKG_MAINTSCRIPT_ARCH"\n'
        b"echo '$HOME `date` \\' \"$DEBIAN_FRONTEND\""
    )
    made = scripts.scriptlets("tiny", "amd64", "tiny", {"postinst": body})
    assert set(made) == {"posttrans"}
    result = run(made["posttrans"], root)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"{root}/var/info/tiny.postinst|configure|2|tiny|postinst|amd64",
        "$HOME `date` \\ noninteractive",
    ]
    assert (root / "var/status").read_text() == "Package: a\n\nPackage: tiny\n\n"
    assert (root / "var/info/tiny.list").exists()


def test_the_database_is_made_anew_only_for_a_package_it_lacks(root):
    made = scripts.scriptlets("tiny", "amd64", "tiny", {"postinst": b"#!/bin/sh\n"})
    assert run(made["posttrans"], root).returncode == 0
    (root / "var/status").write_text("changed by dpkg")
    assert run(made["posttrans"], root).returncode == 0
    assert (root / "var/status").read_text() == "changed by dpkg"


def test_a_failing_script_fails_the_scriptlet(root):
    made = scripts.scriptlets("tiny", "amd64", "tiny", {"postinst": b"#!/bin/sh\nexit 7\n"})
    assert run(made["posttrans"], root).returncode == 7


@pytest.mark.parametrize(("left", "output"), [("0", "remove\n"), ("1", "")])
def test_removal_scripts_run_only_for_the_last_instance(root, left, output):
    parts = dict.fromkeys(("prerm", "postrm"), b'#!/bin/sh\necho "$1"\n')
    made = scripts.scriptlets("tiny", "amd64", "tiny", parts)
    assert set(made) == {"preun", "postun"}
    for text in made.values():
        result = run(text, root, left)
        assert (result.returncode, result.stdout) == (0, output)


@pytest.mark.parametrize(
    "body", [b"", b"echo no shebang", b"#!/bin/sh\n\0", b"#!x\n__end_of_the_maintainer_script__"]
)
def test_what_is_no_script_is_refused(body):
    with pytest.raises(CosaError, match="postinst"):
        scripts.scriptlets("tiny", "amd64", "tiny", {"postinst": body})
