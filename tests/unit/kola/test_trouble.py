"""What a failing Ignition said, from the journal its guest sent."""

from __future__ import annotations

import json
from pathlib import Path

from cosa.kola import trouble
from cosa.kola.console import Console


def entry(message: object, priority: str = "3", who: str = "ignition") -> str:
    return json.dumps({"MESSAGE": message, "PRIORITY": priority, "SYSLOG_IDENTIFIER": who}) + "\n"


def test_the_reason_comes_from_the_journal_the_guest_sent(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_text(
        entry("fine", "6")
        + entry("failed to create files: no wizard")
        + entry("other", "0", "kernel")
        + entry([1, 2])
        + "[]\n{}\n"
        + entry("cut off")[:20]
    )
    assert trouble.dumped(dump) == ["failed to create files: no wizard"]
    assert trouble.dumped(tmp_path / "none") == []
    console = Console(tmp_path / "console.txt")
    console.path.write_text("Linux version 6\nRun /init as init process\n")
    console.read()
    error = trouble.broken(console, None, dump)
    assert error.code == "kola/ignition-failed"
    assert error.why.startswith("failed to create files: no wizard\n")
