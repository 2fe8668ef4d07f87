"""`cosa run` on the build `bin/test` has made: a config goes in, a command's status comes out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """variant: fcos
version: 1.4.0
storage:
  files:
    - path: /etc/from-butane
      contents: {inline: "hello"}
"""


@pytest.fixture
def workdir():
    named = os.environ.get("COSA_TEST_WORKDIR")
    if not named or not (Path(named) / "builds/latest").exists():
        pytest.skip("no build in COSA_TEST_WORKDIR; use bin/test vm")
    return Path(named)


def run(workdir, *words):
    argv = [sys.executable, "-m", "cosa.cli.main", "--workdir", str(workdir), "run", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_command(workdir, tmp_path):
    config = tmp_path / "config.bu"
    config.write_text(CONFIG)
    command = (
        "rpm -q systemd && sudo ostree admin status && cat /etc/from-butane /proc/cmdline"
        " && lsblk -bdno SIZE /dev/disk/by-id/virtio-spare; echo lost >&2; exit 7"
    )
    done = run(
        workdir, "-B", str(config), "--kargs", "kola.seen=yes", "-D", "1G:serial=spare",
        "-m", "1500", "--output", str(tmp_path), "-x", command,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("systemd-")
    assert "standin" in done.stdout
    assert "hello" in done.stdout
    assert " kola.seen=yes" in done.stdout
    assert done.stdout.rstrip().endswith(str(2**30))
    assert done.stderr.rstrip().endswith("lost")
    assert "accelerator" in done.stderr
    (machine,) = (path for path in tmp_path.iterdir() if (path / "console.txt").exists())
    assert "Linux version" in (machine / "console.txt").read_text()
    assert "systemd" in (machine / "journal.txt").read_text()


def test_a_bad_config_boots_nothing(workdir, tmp_path):
    config = tmp_path / "config.bu"
    config.write_text(CONFIG.replace("/etc/from", "etc/from"))
    done = run(workdir, "-B", str(config), "--output", str(tmp_path / "out"), "-x", "true")
    assert done.returncode == 3
    assert f"{config}:5:13" in done.stderr
    assert not (tmp_path / "out").exists()
