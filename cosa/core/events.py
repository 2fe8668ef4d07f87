"""Progress, apart from work: steps send events, sinks show them.

A step is opened with `step()`; steps opened inside it (also from worker
threads started through `cosa.core.parallel`) become its children. Who shows
what is decided by the sinks the command line installs: a live tree, plain
lines or JSON. Without a sink nothing is shown, which is what unit tests want.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from cosa.core import clock

type Sink = Callable[[Event], None]


@dataclass(frozen=True)
class Event:
    """One thing that happened. `kind` is start, progress, note, warn or end."""

    kind: str
    step: int
    parent: int
    name: str
    text: str = ""
    done: int = 0  # progress: units so far
    total: int = 0  # progress: units in all, 0 when unknown
    unit: str = ""  # progress: "bytes", "packages" ...
    seconds: float = 0.0  # end: wall time
    size: int = 0  # end: bytes of the result, 0 when meaningless
    outcome: str = ""  # end: ran, reused or failed


@dataclass
class Step:
    """A step under way; its methods tell the sinks how it goes."""

    ident: int
    parent: int
    name: str
    reused: bool = False
    size: int = 0
    summary: str = ""
    started: float = field(default_factory=clock.monotonic)

    def progress(self, done: int, total: int = 0, unit: str = "") -> None:
        """Say how far the step has come."""
        _send(Event("progress", self.ident, self.parent, self.name, "", done, total, unit))

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        _send(Event("note", self.ident, self.parent, self.name, text))

    def reuse(self, why: str = "") -> None:
        """Mark the step's result as taken from the cache."""
        self.reused = True
        self.summary = why or self.summary


_sinks: list[Sink] = []
_lock = threading.Lock()
_ids = itertools.count(1)
_current: ContextVar[Step | None] = ContextVar("cosa_step", default=None)


def _send(event: Event) -> None:
    with _lock:
        for sink in _sinks:
            sink(event)


@contextmanager
def sink(receiver: Sink) -> Iterator[None]:
    """Send every event to `receiver` while the block runs."""
    with _lock:
        _sinks.append(receiver)
    try:
        yield
    finally:
        with _lock:
            _sinks.remove(receiver)


@contextmanager
def step(name: str) -> Iterator[Step]:
    """Open a step; it ends with the block, as `failed` if an exception leaves it."""
    above = _current.get()
    this = Step(next(_ids), above.ident if above else 0, name)
    token = _current.set(this)
    _send(Event("start", this.ident, this.parent, name))
    outcome = "failed"
    try:
        yield this
        outcome = "reused" if this.reused else "ran"
    finally:
        _current.reset(token)
        seconds = clock.monotonic() - this.started
        _send(
            Event(
                "end", this.ident, this.parent, name, this.summary, seconds=seconds,
                size=this.size, outcome=outcome,
            )
        )  # fmt: skip


def note(text: str) -> None:
    """Say something worth knowing, under the current step if there is one."""
    _loose("note", text)


def warn(text: str) -> None:
    """Say something the user should act on though the work goes on."""
    _loose("warn", text)


def _loose(kind: str, text: str) -> None:
    here = _current.get()
    ident, parent, name = (here.ident, here.parent, here.name) if here else (0, 0, "")
    _send(Event(kind, ident, parent, name, text))
