"""Reading RPMs that rpmbuild made: files, scripts, payload in every compression."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from fetchworld import Made
from repomaker import SPEC, build_rpms

from cosa.tools.rpmfile import RpmReader
from cosa.tools.rpmheader import capability_xattr

pytestmark = pytest.mark.tool


def test_header_and_scripts(made: Made) -> None:
    with RpmReader(made.rpm("base")) as rpm:
        assert rpm.package.nevra == "base-1-1.noarch"
        files = {file.path: file for file in rpm.files}
        two, ghost = files["/usr/share/base/two"], files["/usr/share/base/ghost"]
        assert (stat.S_IMODE(two.mode), two.user, two.group, two.size) == (
            0o4755,
            "root",
            "shadow",
            6,
        )
        assert ghost.is_ghost
        assert files["/usr/bin/link"].linkto == "../share/base/one"
        scripts = {script.kind: script for script in rpm.scriptlets}
        assert scripts["post"].body == "echo post of base"
        assert scripts["posttrans"].interpreter == ("<lua>",)
        trigger = scripts["transfiletriggerin"]
        assert trigger.patterns == ("/usr/lib/systemd", "/usr/share/base")
        assert (trigger.priority, trigger.interpreter) == (100, ("/bin/sh",))


def test_capabilities(made: Made) -> None:
    with RpmReader(made.rpm("extra")) as rpm:
        (big,) = [file for file in rpm.files if file.path.endswith("big")]
        assert capability_xattr(big.caps) == bytes.fromhex("00000002" + "00200000" + "00" * 12)


def test_payload(made: Made) -> None:
    with RpmReader(made.rpm("base")) as rpm:
        found = {entry.file.path: (entry.stream.read(), entry.has_data) for entry in rpm.payload()}
        assert "/usr/share/base/ghost" not in found
        assert found["/usr/share/base/one"] == (b"", False)
        assert found["/usr/share/base/two"] == (b"hello\n", True)
        assert found["/usr/bin/link"][0] == b"../share/base/one"
        assert found["/usr/share/base/empty"] == (b"", True)
        # It can be read again.
        assert len(list(rpm.payload())) == len(found)


@pytest.mark.parametrize("how", ["w9.gzdio", "w9.bzdio", "w2.xzdio", "w2.lzdio", "w3.zstdio"])
def test_compressions(tmp_path: Path, how: str) -> None:
    spec = f"%define _binary_payload {how}\n" + SPEC
    path = next(p for p in build_rpms(tmp_path, spec) if p.name.startswith("extra"))
    with RpmReader(path) as rpm:
        assert sum(len(entry.stream.read()) for entry in rpm.payload()) == 300000
