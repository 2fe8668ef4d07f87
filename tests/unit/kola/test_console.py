"""A console's phases and verdicts, from lines real guests printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosa.kola.console import Console
from cosa.kola.judges import FLAGS, Bench, plain


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "console.txt"


def say(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_phases_of_a_boot_and_of_the_next(log: Path) -> None:
    console = Console(log)
    console.read()
    assert console.phase == "firmware"
    seen = []
    for line in (
        "SeaBIOS (version 1.16.3-debian-1.16.3-2)\r\n",
        "Welcome to GRUB!\r\n",
        "\x1b[H\x1b[J  Booting `Stand-in OS (ostree:0)'\r\n",
        "[    0.000000] Linux version 6.12.48+deb13-amd64 (debian-kernel@lists.debian.org)\r\n",
        "[    5.21] Run /init as init process\r\n",
        "[    6.1] systemd[1]: Running in initrd.\r\n",
        "[   20.3] systemd[1]: Switching root.\r\n",
        "\r\nstandin login: ",
    ):
        say(log, line)
        console.read()
        seen.append(console.phase)
    assert seen == [
        "firmware", "bootloader", "bootloader", "kernel", "initramfs", "initramfs", "userspace",
        "login",
    ]  # fmt: skip
    say(log, "\r\nBdsDxe: loading Boot0001\r\n[    0.000000] Linux version 6.12\r\n")
    console.read()
    assert (console.phase, console.boots) == ("kernel", 2)


def test_a_line_may_come_in_pieces(log: Path) -> None:
    console = Console(log)
    say(log, "[ 1.0] Kernel pan")
    assert console.read() == []
    say(log, "ic - not syncing: VFS\n")
    (found,) = console.read()
    assert (found.judge.flag, found.judge.fatal) == ("panic", True)
    assert console.last_line == "[ 1.0] Kernel panic - not syncing: VFS"


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("[ 3.1] Kernel panic - not syncing: Attempted to kill init!", "panic"),
        ("[ 3.1] Oops: 0002 [#1] PREEMPT SMP PTI", "oops"),
        ("[ 3.1] WARNING: CPU: 1 PID: 7 at fs/ext4/inode.c:1 ext4_x+0x1/0x2", "warning"),
        ("Press Enter for emergency shell or wait 5 minutes", "emergency"),
        ('You are in emergency mode. After logging in, type "journalctl -xb"', "emergency"),
        ("dracut: Refusing to continue", "dracut"),
        ("[!!!!!!] Switch root target contains no usable init.", "switch-root"),
        (
            "[ 9.9] ignition[534]: CRITICAL : Ignition failed: failed to create users/groups",
            "ignition",
        ),
        ("[ 5.0] blk_update_request: rejecting I/O to offline device", "offline-device"),
        ("[ 5.0] stress invoked oom-killer: gfp_mask=0x1", "oom"),
        ("[ 5.0] systemd[1]: local-fs.target: Found ordering cycle on x", None),
        ("[ 5.0] systemd[1]: Ordering cycle found, skipping x", "ordering-cycle"),
        ("a.service: Main process exited, code=dumped, status=11/SEGV", "segv"),
        (
            "[  1.0] systemd[1]: Listening on systemd-coredump.socket - Process Core Dump Socket.",
            None,
        ),
        ("[  1.0] panic: runtime error: index out of range", "go-panic"),
        ("[  1.0] Command line: panic=1 oops=panic", None),
        ("systemd[1]: Reached target emergency.target - Emergency Mode.", "emergency"),
    ],
)
def test_judges(line: str, flag: str | None) -> None:
    found = [finding.judge.flag for finding in Bench().hear(line)]
    assert found == ([flag] if flag else [])


def test_a_judge_speaks_once_and_not_when_tolerated() -> None:
    oops = "Oops: 1\nOops: 2\n"
    assert len(Bench().hear_all(oops)) == 1
    assert Bench({"oops"}).hear_all(oops) == []


def test_bonding_counts_to_ten() -> None:
    line = "bonding: bond0: link status up for interface eth1\n"
    assert Bench().hear_all(line * 9) == []
    assert [f.judge.flag for f in Bench().hear_all(line * 10)] == ["bonding"]


def test_flags_are_distinct_words() -> None:
    assert all(flag.replace("-", "").isalnum() for flag in FLAGS)


def test_escape_sequences_are_dropped() -> None:
    assert plain("\x1b[0;32m[  OK  ]\x1b[0m Reached\x1b]8;;x\x07\r") == "[  OK  ] Reached"
