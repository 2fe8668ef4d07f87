"""When a login is tried: soon after sshd says it listens, seldom before."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosa.core import clock
from cosa.kola.knock import Knocker


def test_seldom_until_sshd_says_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    journal = tmp_path / "journal.txt"
    knocker = Knocker(journal)
    tries = []
    for second in range(25):
        now[0] += 1
        tries += [second] if knocker.due() else []
    assert tries == [0, 10, 20]
    journal.write_bytes(b"x" * 100 + b"sshd[1]: Server liste")
    now[0] += 1
    assert not knocker.due()
    with journal.open("ab") as file:
        file.write(b"ning on 0.0.0.0 port 22.\n")
    assert knocker.due()
    assert knocker.due()


def test_an_earlier_boots_words_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "monotonic", lambda: 100.0)
    journal = tmp_path / "journal.txt"
    journal.write_text("Server listening on\n-- Reboot --\n")
    knocker = Knocker(journal)
    assert knocker.due()
    knocker.restart()
    assert knocker.due()  # the first try of a boot
    assert not knocker.due()
    with journal.open("a") as file:
        file.write("Server listening on\n")
    assert knocker.due()
