"""Following a guest's serial console: where the boot has got to, and what the judges say."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from cosa.core import clock
from cosa.kola.judges import Bench, Finding, plain

# A phase starts with a line; a reboot runs through them again from the top. Matched against
# what SeaBIOS, OVMF, GRUB, Linux, dracut and systemd print. Order matters: the first that fits.
PHASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("firmware", re.compile(r"^SeaBIOS|^BdsDxe: (?:loading|starting)|^iPXE")),
    (
        "bootloader",
        re.compile(r"^(?:GRUB loading|Welcome to GRUB|\s*GNU GRUB|\s*Booting [`'])"),
    ),
    ("kernel", re.compile(r"Linux version \d|EFI stub: ")),
    (
        "userspace",
        re.compile(
            r"systemd\[1\]: Switching root|Welcome to (?!.*[Ii]nitramfs)"
        ),
    ),
    ("login", re.compile(r"\blogin: ?$")),
    (
        "initramfs",
        re.compile(
            r"Run /init as init process|Running in init|Welcome to .*[Ii]nitramfs|dracut"
        ),
    ),
)  # fmt: skip
START = "firmware"
_RANK = {
    name: rank
    for rank, name in enumerate(
        ("firmware", "bootloader", "kernel", "initramfs", "userspace", "login")
    )
}
# The kernel's own lines of a journal, and those it hands to the audit log.
_KERNEL = re.compile(r" (?:kernel|audit\[\d+\]): ")
_KEPT = 400  # lines kept in memory for error messages


class Console:
    """A console file being written by QEMU. `read()` catches up with it."""

    def __init__(self, path: Path, tolerate: Iterable[str] = ()) -> None:
        self.path = path
        self.phase = START
        self.findings: list[Finding] = []
        self.boots = 0  # kernels seen starting
        # (phase, seconds since we began to follow) of each phase's first line
        self.times: list[tuple[str, float]] = []
        self._since = clock.monotonic()
        self._bench = Bench(tolerate)
        self._offset = 0
        self._part = ""
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def read(self) -> list[Finding]:
        """Take in what was written since the last call; the new findings."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._part = (self._part + data.decode("utf-8", "replace")).split("\n")
        found = [finding for line in lines for finding in self._line(line)]
        # A login prompt and an emergency prompt end without newline.
        if (prompt := plain(self._part)) and _RANK[self.phase] < _RANK["login"]:
            self._advance(prompt)
        self.findings += found
        return found

    def restart(self) -> None:
        """A reboot was asked for: what comes next is a new boot."""
        self.read()
        self.phase = START

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._offset

    @property
    def last_line(self) -> str:
        """The last line that says anything."""
        for line in (plain(self._part), *reversed(self._lines)):
            if line.strip():
                return line.strip()
        return ""

    def tail(self, count: int = 25) -> str:
        """The last lines, without escape sequences or empty ones."""
        lines = [line for line in (*self._lines, plain(self._part)) if line.strip()]
        return "\n".join(lines[-count:])

    def matching(self, pattern: str) -> list[str]:
        """Lines still in memory in which the pattern is found."""
        return [line.strip() for line in self._lines if re.search(pattern, line)]

    @property
    def text(self) -> str:
        """All the console has said, as it came."""
        return self.path.read_text("utf-8", "replace") if self.path.exists() else ""

    def _line(self, raw: str) -> list[Finding]:
        line = plain(raw)
        self._lines.append(line)
        self._advance(line)
        return self._bench.hear(line)

    def _advance(self, line: str) -> None:
        for name, pattern in PHASES:
            if not pattern.search(line):
                continue
            if name == "kernel" and "Linux version" in line:
                self.boots += 1
            # Only firmware and kernel start a boot anew; other phases never go back.
            if name in ("firmware", "kernel") or _RANK[name] > _RANK[self.phase]:
                if name != self.phase or not self.times:
                    self.times.append((name, round(clock.monotonic() - self._since, 1)))
                self.phase = name
            return


class KernelLog:
    """The kernel's lines of a growing journal: with a low console log level nowhere else."""

    def __init__(self, path: Path, tolerate: Iterable[str] = ()) -> None:
        self.path = path
        self._bench = Bench(tolerate)
        self._offset = 0

    def read(self) -> list[Finding]:
        """What the judges say of the whole lines written since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = whole.decode("utf-8", "replace").splitlines()
        return [found for line in lines if _KERNEL.search(line) for found in self._bench.hear(line)]
