"""What pipelines find in the assembler where they look inside upstream's container."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from cosa.cli.main import COMMANDS
from cosa.pipeline.workdir import basearch

UPSTREAM = Path(__file__).resolve().parents[3] / "assembler/upstream"
ARCH = basearch()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("root")
    for _ in range(2):  # an image is built over another
        subprocess.run(["sh", UPSTREAM / "install.sh", made], check=True)
    return made


def call(root, *argv, cwd=None):
    path = f"{root}/usr/local/bin:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "COSA_ANNOUNCED": "1"}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_every_command_is_a_file_that_runs(root):
    library = root / "usr/lib/coreos-assembler"
    rows = [line.split() for line in (UPSTREAM / "commands.txt").read_text().splitlines()]
    names = {f"cmd-{row[0]}" for row in rows if row[0] != "#"}
    assert len(names) > 20
    assert names == {path.name for path in library.iterdir() if path.name.startswith("cmd-")}
    done = call(root, library / "cmd-basearch")
    assert (done.returncode, done.stdout) == (0, f"{ARCH}\n")
    assert call(root, library / "cmd-shell", "sh", "-c", "exit 42").returncode == 42
    assert call(root, "coreos-assembler").returncode == 1


def test_links_of_platforms_lead_to_the_command_that_makes_images(root):
    links = [p for p in (root / "usr/lib/coreos-assembler").iterdir() if p.is_symlink()]
    assert all(path.readlink().name == "cmd-osbuild" for path in links)
    assert all(path.name.startswith("cmd-buildextend-") for path in links)
    assert bool(links) == ("osbuild" in COMMANDS)


def test_the_schema_names_what_may_be_left_out(root):
    schema = json.loads((root / "usr/lib/coreos-assembler/v1.json").read_text())
    assert "amis" in schema["optional"]
    assert "buildid" in schema["required"]
    assert not set(schema["optional"]) & set(schema["required"])


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_insert_build(root, tmp_path, shell):
    (tmp_path / "builds").mkdir()
    library = root / "usr/lib/coreos-assembler/cmdlib.sh"
    script = f"set -eu; . {library}; insert_build 1 $PWD; insert_build 1 $PWD s390x; insert_build 2 . s390x"
    done = call(root, shell, "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "builds/builds.json").read_text())["builds"]
    assert found == [{"id": "2", "arches": ["s390x"]}, {"id": "1", "arches": [ARCH, "s390x"]}]
    again = call(root, shell, "-c", f"set -eu; . {library}; insert_build 2 . s390x", cwd=tmp_path)
    assert again.returncode == 2
    assert "listed for s390x already" in again.stderr
    latest = call(root, shell, "-c", f". {library}; get_latest_build", cwd=tmp_path)
    assert latest.stdout == "2\n"
