"""Errors about a guest that say where it was and what it said last."""

from __future__ import annotations

import json
from pathlib import Path

from cosa.core.errors import CosaError, ExitClass
from cosa.kola.console import Console
from cosa.kola.judges import Finding

_ERROR = "3"  # syslog(3): error, critical, alert, emergency
_IGNITION_WORDS = r"[Ii]gnition(?:\[\d+\])?:? .*(?:CRITICAL|ERROR|[Ff]ailed|error)|Ignition failed"


def stuck(console: Console, what: str, why: str = "") -> CosaError:
    """The error for a guest that does not do what we wait for."""
    console.read()
    parts = [
        why.strip(),
        f"phase: {console.phase}; last console line: {console.last_line or '(none)'}",
        console.tail(12),
        _where_to_look(console),
    ]
    return CosaError(
        "kola/boot" if console.phase != "login" else "kola/machine",
        f"{what} (phase {console.phase})", why="\n".join(filter(None, parts)),
        exit_class=ExitClass.TESTS,
    )  # fmt: skip


def broken(console: Console, finding: Finding | None, dump: Path) -> CosaError:
    """The error for a guest a judge gave up; None: Ignition sent its journal, to `dump`."""
    reasons = list(dict.fromkeys([*console.matching(_IGNITION_WORDS), *dumped(dump)]))
    ignition = finding is None or finding.judge.flag == "ignition" or bool(reasons)
    what = str(finding) if finding else "Ignition failed and sent its journal"
    if ignition and console.phase in ("kernel", "initramfs"):
        why = "\n".join(reasons[-8:]) or console.tail()
        return CosaError(
            "kola/ignition-failed", "Ignition failed, so the machine did not boot",
            why=f"{why}\n{_where_to_look(console)}", exit_class=ExitClass.TESTS,
        )  # fmt: skip
    return CosaError(
        "kola/console", f"{what} (phase {console.phase})",
        why=f"{console.tail()}\n{_where_to_look(console)}", exit_class=ExitClass.TESTS,
    )  # fmt: skip


def dumped(path: Path) -> list[str]:
    """What Ignition complained of in the journal a failing guest sent, an entry a line as JSON."""
    if not path.exists():
        return []
    said = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off, as the guest may be
            continue
        if not isinstance(entry, dict) or entry.get("SYSLOG_IDENTIFIER") != "ignition":
            continue
        if str(entry.get("PRIORITY", "7")) <= _ERROR and isinstance(entry.get("MESSAGE"), str):
            said.append(entry["MESSAGE"])
    return said


def _where_to_look(console: Console) -> str:
    return f"console: {console.path}"
