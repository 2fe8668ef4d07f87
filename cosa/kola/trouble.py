"""Errors about a guest that say where it was and what it said last."""

from __future__ import annotations

from cosa.core.errors import CosaError, ExitClass
from cosa.kola.console import Console
from cosa.kola.judges import Finding

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


def broken(console: Console, finding: Finding | None) -> CosaError:
    """The error for a guest a judge gave up; None: Ignition sent its journal."""
    reasons = list(dict.fromkeys(console.matching(_IGNITION_WORDS)))
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


def _where_to_look(console: Console) -> str:
    return f"console: {console.path}"
