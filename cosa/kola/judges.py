"""Judges: lines of a console or a kernel log that mean something is broken.

One table. A fatal judge ends the machine the moment its line appears, since
nothing good follows; an error fails the test that was running when the line
came; a warning is told. The patterns are those upstream's kola looks for, plus what an
Ignition failure looks like where no virtio port reports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Judge:
    """A pattern and what it means. `flag` names it in a test's `tolerate`."""

    flag: str
    pattern: re.Pattern[str]
    meaning: str
    fatal: bool = False
    at_least: int = 1  # how many lines make it count
    warns: bool = False  # told in reports, but no failure

    @property
    def severity(self) -> str:
        """`fatal` ends the machine, `error` fails the test, `warning` is only told."""
        return "fatal" if self.fatal else "warning" if self.warns else "error"


@dataclass(frozen=True)
class Finding:
    """A judge's verdict: the first line that made it."""

    judge: Judge
    line: str

    def __str__(self) -> str:
        return f"{self.judge.meaning}: {self.line.strip()}"


def _judge(
    flag: str,
    pattern: str,
    meaning: str,
    *,
    fatal: bool = False,
    least: int = 1,
    warns: bool = False,
) -> Judge:
    return Judge(flag, re.compile(pattern), meaning, fatal, least, warns)


JUDGES: tuple[Judge, ...] = (
    _judge(
        "ignition",
        r"Ignition (?:has )?failed\b|ignition\S*: failed to fetch config",
        "Ignition failed", fatal=True,
    ),
    _judge(
        "emergency",
        r"Press Enter for emergency shell or wait|You are in (?:\w+ )?emergency mode"
        r"|Entering emergency mode|Started .*[Ee]mergency [Ss]hell|Reached target .*[Ee]mergency",
        "emergency shell", fatal=True,
    ),
    _judge("dracut", r"dracut: Refusing to continue", "dracut gave up", fatal=True),
    _judge(
        "switch-root", r"Switch root target contains no usable init|Failed to switch root",
        "the initramfs found no system to start", fatal=True,
    ),
    _judge("panic", r"Kernel panic - not syncing", "kernel panic", fatal=True),
    _judge(
        "grub", r"^grub rescue>|(?:free|alloc) magic is broken", "GRUB cannot go on", fatal=True
    ),
    _judge("oops", r"\bOops: ", "kernel oops"),
    _judge("warning", r"WARNING: CPU: \d+ PID: \d+ at ", "kernel warning"),
    _judge("offline-device", r"rejecting I/O to offline device", "a disk went away"),
    _judge("bonding", r"bonding: .* link status up", "bonding flaps", least=10),
    _judge("ext4", r"EXT4-fs .*[Dd]elayed block allocation failed", "ext4 lost data"),
    _judge(
        "ignition-fetch", r"failed to fetch config: context canceled", "Ignition lost its config"
    ),
    _judge(
        "initrd-cleanup", r"initrd-cleanup\.service: Main process exited, code=killed, status=15",
        "initrd-cleanup was killed",
    ),
    _judge("go-panic", r"^(?:\[[^]]*\] )?(?:\S+\[\d+\]: )?panic: ", "a Go program panicked"),
    _judge("segv", r"\bSIGSEGV\b|=11/SEGV\b|\bsegfault at ", "segmentation fault"),
    _judge("core-dump", r"[Cc]ore dump(?:ed)?\b(?!.*(?:[Ss]ocket|[Ss]lice))", "core dump"),
    _judge("ordering-cycle", r"[Oo]rdering cycle found", "units order in a cycle"),
    _judge("oom", r"invoked oom-killer", "out of memory"),
    _judge("generator", r"systemd\S*generators?/\S+ failed with", "a systemd generator failed"),
    # What a permissive system would have forbidden is worth knowing, but nothing was broken.
    _judge("selinux", r"avc:\s+denied .*permissive=0", "SELinux forbade something"),
    _judge(
        "selinux-permissive", r"avc:\s+denied .*permissive=1",
        "SELinux would have forbidden something", warns=True,
    ),
    _judge("soft-lockup", r"rcu: INFO: rcu_\w+ self-detected stall", "the kernel stalls", least=3),
)  # fmt: skip

FLAGS = frozenset(judge.flag for judge in JUDGES)

# An escape sequence (ECMA-48 CSI and OSC, as systemd and GRUB print), and other control characters.
_ESCAPES = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def plain(line: str) -> str:
    """A console line without escape sequences and control characters."""
    return _CONTROLS.sub("", _ESCAPES.sub("", line))


class Bench:
    """The judges at work on a growing text; each speaks once."""

    def __init__(self, tolerate: Iterable[str] = ()) -> None:
        self._judges = [judge for judge in JUDGES if judge.flag not in set(tolerate)]
        self._counts = dict.fromkeys((judge.flag for judge in self._judges), 0)
        self._first: dict[str, str] = {}

    def hear(self, line: str) -> list[Finding]:
        """The verdicts a further line brings about."""
        found = []
        for judge in self._judges:
            if judge.pattern.search(line):
                self._counts[judge.flag] += 1
                self._first.setdefault(judge.flag, line)
                if self._counts[judge.flag] == judge.at_least:
                    found.append(Finding(judge, self._first[judge.flag]))
        return found

    def hear_all(self, text: str) -> list[Finding]:
        """The verdicts over a whole text."""
        return [finding for line in text.splitlines() for finding in self.hear(plain(line))]
