"""`cosa run` on the build `bin/test` has made: a config goes in, a command's status comes out.

One boot tries every option; a boot takes most of a minute where there is no KVM.
"""

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
# Each line of output is one thing asked for on the command line.
COMMAND = """
rpm -q systemd && sudo ostree admin status | head -n 1 && cat /etc/from-butane; echo
tr ' ' '\\n' < /proc/cmdline | grep kola.seen
lsblk -bdno SIZE /dev/disk/by-id/virtio-spare
[ -d /sys/firmware/efi ] && echo efi
awk '/MemTotal/ { print ($2 > 1300000 && $2 < 1600000) ? "memory" : $2 }' /proc/meminfo
nproc
echo lost >&2
exit 7
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
    done = run(
        workdir, "-B", str(config), "--kargs", "kola.seen=yes", "-D", "1G:serial=spare",
        "--firmware", "uefi", "-m", "1500", "--smp", "2", "--output", str(tmp_path / "out"),
        "-x", COMMAND,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    package, deployment, *rest = done.stdout.splitlines()
    assert package.startswith("systemd-")
    assert deployment.startswith("* standin ")
    assert rest == ["hello", "kola.seen=yes", str(2**30), "efi", "memory", "2"]
    assert done.stderr.rstrip().endswith("lost")
    assert "accelerator" in done.stderr
    (machine,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert "Linux version" in (machine / "console.txt").read_text()
    assert "systemd" in (machine / "journal.txt").read_text()
    assert not list(tmp_path.rglob("*.qcow2")), "disks are thrown away"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (CONFIG.replace("/etc/from", "etc/from"), ":5:13"),
        (CONFIG.replace("storage:", " passwd: ["), ":3:1"),
    ],
)
def test_a_bad_config_boots_nothing(workdir, tmp_path, text, position):
    config = tmp_path / "config.bu"
    config.write_text(text)
    done = run(workdir, "-B", str(config), "--output", str(tmp_path / "out"), "-x", "true")
    assert done.returncode == 3
    assert f"{config}{position}" in done.stderr
    assert not (tmp_path / "out").exists()
