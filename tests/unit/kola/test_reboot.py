"""Waiting for reboots: what the console and the connection show decides, in every order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cosa.core import clock
from cosa.core.errors import CosaError
from cosa.kola.host import Host
from cosa.kola.reboot import Life, await_next


class Guest:
    """A machine whose story is told in ticks: each says if the link stands and how many kernels ran."""

    def __init__(self, folder: Path, story: list[tuple[bool, int]], after: Life) -> None:
        self.folder, self.host = folder, Host("kvm")
        self._story, self._after = story, after
        self.link = SimpleNamespace(connected=True, disconnect=self._cut)
        self.console = SimpleNamespace(boots=1, phase="login", last_line="bye", restart=self._anew)
        self.restarted = self.logged_in = self.marked = False

    def watch(self) -> None:
        if self._story:
            self.link.connected, self.console.boots = self._story.pop(0)

    def _cut(self) -> None:
        self.link.connected = False

    def _anew(self) -> None:
        self.restarted = True

    def mark_reboot(self) -> None:
        self.marked = True

    def wait_ssh(self) -> None:
        assert not self.link.connected, "nobody logs in over the old connection"
        self.logged_in = True

    def out(self, _command: str) -> str:
        return f"{self._after.boot}\n{self._after.soft}"


BEFORE = Life("a", 0)
UP, DOWN, KERNEL = (True, 1), (False, 1), (True, 2)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100000))
    monkeypatch.setattr(clock, "sleep", lambda _seconds: None)
    monkeypatch.setattr(clock, "monotonic", lambda: float(next(now)))


@pytest.mark.parametrize(
    ("story", "after", "soft", "restarts"),
    [
        ([UP, DOWN], Life("b", 0), False, True),
        ([UP, KERNEL], Life("b", 0), False, False),  # a crash drops no connection
        ([UP, DOWN], Life("a", 1), True, False),
    ],
)
def test_reboots(tmp_path: Path, story, after: Life, soft: bool, restarts: bool) -> None:
    guest = Guest(tmp_path, story, after)
    await_next(guest, BEFORE, 1, soft=soft, down=60)
    assert guest.logged_in
    assert guest.restarted is restarts
    assert guest.marked


@pytest.mark.parametrize(
    ("story", "after", "soft", "words"),
    [
        ([], Life("b", 0), False, "did not go down within 60 s"),
        ([DOWN], BEFORE, False, "did not reboot"),
        ([DOWN], BEFORE, True, "made no soft reboot"),
        ([DOWN], Life("b", 0), True, "its kernel started anew"),
    ],
)
def test_what_is_no_reboot(tmp_path: Path, story, after: Life, soft: bool, words: str) -> None:
    with pytest.raises(CosaError) as caught:
        await_next(Guest(tmp_path, story, after), BEFORE, 1, soft=soft, down=60)
    assert caught.value.code == "kola/reboot"
    assert words in caught.value.what
    assert "last console line: bye" in caught.value.why
