"""bin/lib: apt's sources in both formats, and what becomes of them for the base image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
LIB = CHECKOUT / "bin/lib"


def awk(script: str, text: str) -> list[str]:
    result = subprocess.run(
        ["awk", "-f", LIB / script], input=text, capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m/debian bookworm main", ["http://m/debian|bookworm||main"]),
        (
            "deb http://m/debian bookworm main contrib # why",
            ["http://m/debian|bookworm||main contrib"],
        ),
        (
            "deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main",
            ["http://m/debian|bookworm|[signed-by=/k.gpg] |main"],
        ),
        ("deb [ trusted=yes ] http://m/debian s main", ["http://m/debian|s|[trusted=yes] |main"]),
        ("deb-src http://m/debian bookworm main", []),
        ("# deb http://m/debian bookworm main", []),
        ("deb http://m/flat ./", []),
        ("", []),
    ],
)
def test_one_line_sources(line: str, expected: list[str]):
    assert awk("one-line.awk", line + "\n") == expected


def test_deb822_sources():
    text = """# a comment
Types: deb deb-src
URIs: http://m/debian
 http://n/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
Enabled: no
URIs: http://off/
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources/
Suites: bookworm
Components: main

Types: deb
URIs: http://inline/
Suites: s
Components: main
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF"""
    key = "[signed-by=/usr/share/keyrings/k.gpg] "
    assert awk("deb822.awk", text) == [
        f"http://m/debian|bookworm|{key}|main contrib",
        f"http://m/debian|bookworm-updates|{key}|main contrib",
        f"http://n/debian|bookworm|{key}|main contrib",
        f"http://n/debian|bookworm-updates|{key}|main contrib",
        "http://inline/|s|[trusted=yes] |main",
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("http://m/debian|bookworm||main", "deb http://m/debian trixie main"),
        ("http://m/debian/|bookworm-updates||main", "deb http://m/debian/ trixie-updates main"),
        (
            "http://s/security|bookworm-security|[signed-by=/k] |main",
            "deb [signed-by=/k] http://s/security trixie-security main",
        ),
        ("http://m/debian|bookworm-backports||main", ""),  # not part of a release
        ("http://third/party|bookworm||main", ""),  # Debian's suite name, somebody else's packages
        ("http://never-updated/debian|bookworm||main", ""),
    ],
)
def test_only_debians_own_sources_reach_the_base(source: str, expected: str, tmp_path: Path):
    listing = tmp_path / "sources"
    listing.write_text(source + "\n")
    release = tmp_path / "os-release"
    release.write_text("VERSION_CODENAME=bookworm\n")
    # What this machine's apt knows of where its lists came from.
    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\ncat <<'END'\n"
        "Debian http://m/debian/ bookworm\nDebian http://m/debian/ bookworm-updates\n"
        "Debian http://s/security/ bookworm-security\nDebian http://m/debian/ bookworm-backports\n"
        "Corp http://third/party/ bookworm\nEND\n"
    )
    apt.chmod(0o755)
    script = (
        f"root={CHECKOUT} suite=trixie; . {LIB}/host.sh; apt_sources() {{ cat {listing}; }}; "
        f"os_release={release}; PATH={tmp_path}:$PATH; debian_sources"
    )
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == expected


def test_a_mirror_list_is_replaced_by_its_first_mirror(tmp_path: Path):
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("# mirrors\nhttp://first/debian\tpriority:1\nhttp://second/debian\n")
    script = f". {LIB}/host.sh; plain_uri mirror+file:{mirrors}; plain_uri http://as/it/is"
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["http://first/debian", "http://as/it/is"]
