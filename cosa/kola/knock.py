"""When to try a login: every try costs the guest a process, and it has none to spare at boot."""

from __future__ import annotations

from pathlib import Path

from cosa.core import clock

_SELDOM = 10.0  # seconds between tries of a guest that has not said it is ready
_READY = b"Server listening on"  # sshd's own words


class Knocker:
    """Reads a guest's journal for sshd's word that it listens; without one it is seldom tried."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._offset = 0
        self._next = 0.0
        self.ready = False

    def restart(self) -> None:
        """The guest boots anew: what its journal said before does not count."""
        self._offset = self._journal.stat().st_size if self._journal.exists() else 0
        self.ready = False

    def due(self) -> bool:
        """Is it worth trying now."""
        self._listen()
        if self.ready:
            return True
        now = clock.monotonic()
        if now < self._next:
            return False
        self._next = now + _SELDOM
        return True

    def _listen(self) -> None:
        if self.ready or not self._journal.exists():
            return
        with self._journal.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self.ready = _READY in data
        # The words may be cut by the end of what is there so far.
        self._offset += max(0, len(data) - len(_READY))
