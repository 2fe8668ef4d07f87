"""bin/lib: what the words of a command line mean before podman is started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


def shell(script: str, *words: str, cwd: Path | None = None, **env: str) -> str:
    prelude = f"root=/checkout; . {CHECKOUT}/bin/lib/enter.sh; mounts=/checkout; "
    result = subprocess.run(
        ["sh", "-uc", prelude + script, "sh", *words], cwd=cwd, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], **env}, check=True,
    )  # fmt: skip
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["build"], "/checkout/work"),
        (["--workdir", "/w", "build"], "/w"),
        (["--workdir=/w", "build"], "/w"),
        (["--debug", "--workdir", "/w", "build", "--force"], "/w"),
        (["build", "--workdir", "/w"], "/w"),
        (["run", "--", "--workdir", "/w"], "/checkout/work"),
        (["--workdir"], "/checkout/work"),  # the program itself says what is wrong
        (["--workdir", "sub", "build"], "/tmp/sub"),
    ],
)
def test_the_working_directory_is_found(words: list[str], expected: str):
    script = 'find_workdir "$@"; printf %s "$workdir"'
    assert shell(script, *words, cwd=Path("/tmp")) == expected


def test_the_environment_names_the_working_directory():
    script = 'find_workdir "$@"; printf %s "$workdir"'
    assert shell(script, "build", COSA_WORKDIR="/env") == "/env"
    assert shell(script, "--workdir=/w", "build", COSA_WORKDIR="/env") == "/w"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["build"], "cosa build: /w\n"),
        (["--debug", "quickstart"], "cosa quickstart: /w\n"),
        (["--workdir", "build", "list"], ""),
        (["meta", "--get", "build"], ""),
        (["build", "--help"], ""),
        (["--log-format", "json", "build"], ""),
        (["--log-format=json", "build"], ""),
        (["--log-format", "plain", "fetch", "--strict"], "cosa fetch: /w\n"),
        ([], ""),
    ],
)
def test_the_first_line_comes_at_once_where_it_disturbs_nobody(words: list[str], expected: str):
    assert shell('workdir=/w; announce "$@"', *words) == expected


def test_named_files_are_visible_inside(tmp_path: Path):
    config = tmp_path / "a b" / "config.bu"
    config.parent.mkdir()
    config.touch()
    script = 'for word; do share_word "$word"; done; printf "%s\\n" "$mounts"'
    words = [str(config), f"--ignition={config}", "--output", "/nowhere/x", "/etc/passwd", "/etc"]
    assert shell(script, *words).splitlines() == ["/checkout", str(config.parent), "/etc/passwd"]
    # What lies below something mounted needs no mount of its own.
    assert shell(script, str(tmp_path), str(config)).splitlines() == ["/checkout", str(tmp_path)]
