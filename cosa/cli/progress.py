"""How the steps of a command are shown: a live tree, plain lines, or JSON, always on stderr.

stdout carries only what a command was asked for. Three small sinks take the
same events; which one is chosen by `--log-format`, or by whether stderr is a
terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TextIO

from cosa.core import clock, events, fs
from cosa.core.events import Event

if TYPE_CHECKING:
    from rich.live import Live
    from rich.tree import Tree

# Plain logs repeat a running step's progress no more often than this.
PLAIN_INTERVAL = 10.0
_CONTROL = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


def clean(text: str) -> str:
    """Text that may come from outside, with nothing in it that moves the terminal's cursor."""
    return text.translate(_CONTROL)


@contextmanager
def shown(log_format: str, out: TextIO | None = None) -> Iterator[None]:
    """Show events while the block runs. `log_format` is auto, tree, plain or json."""
    out = out or sys.stderr
    if log_format == "auto":
        terminal = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        log_format = "tree" if terminal else "plain"
    if log_format == "json":
        with events.sink(JsonLines(out).take):
            yield
        return
    view = LiveTree(out) if log_format == "tree" else PlainLines(out)
    with contextlib.closing(view), events.sink(view.take):
        yield


class JsonLines:
    """One JSON object per event; keys are those of `core.events.Event`, plus `time`."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def take(self, event: Event) -> None:
        """Write one line."""
        record = {"time": round(clock.monotonic(), 3)} | asdict(event)
        print(json.dumps(record), file=self.out, flush=True)


@dataclass
class Row:
    """A step as the views know it."""

    name: str
    parent: int
    depth: int
    started: float = field(default_factory=clock.monotonic)
    done: int = 0
    total: int = 0
    unit: str = ""
    said: float = 0.0


def amount(done: int, total: int, unit: str) -> str:
    """`12 of 322 packages`, `40 MiB of 183 MiB`."""
    if unit == "bytes":
        return fs.mib(done) + (f" of {fs.mib(total)}" if total else "")
    return f"{done:,}" + (f" of {total:,}" if total else "") + (f" {unit}" if unit else "")


def ending(event: Event) -> str:
    """What the end of a step says after its name: outcome, time, size, remark."""
    words = [f"{event.seconds:.1f} s"]
    if event.outcome != "ran":
        words.insert(0, event.outcome)
    if event.size:
        words.append(fs.mib(event.size))
    if event.text:
        words.append(clean(event.text))
    return ", ".join(words)


class PlainLines:
    """A line per start and end of a step, indented by depth; for logs."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.rows: dict[int, Row] = {}

    def close(self) -> None:
        """Nothing is held back."""

    def take(self, event: Event) -> None:
        """Write what the event means to a reader of logs."""
        row = self.rows.get(event.step)
        if event.kind == "start":
            above = self.rows.get(event.parent)
            row = Row(clean(event.name), event.parent, above.depth + 1 if above else 0)
            row.said = row.started
            self.rows[event.step] = row
            self._say(row.depth, f"{row.name} ...")
        elif event.kind == "end" and row:
            self._say(row.depth, f"{row.name}: {ending(event)}")
            del self.rows[event.step]
        elif event.kind == "progress" and row:
            now = clock.monotonic()
            if now - row.said >= PLAIN_INTERVAL:
                row.said = now
                self._say(row.depth, f"{row.name}: {amount(event.done, event.total, event.unit)}")
        elif event.kind in ("note", "warn"):
            mark = "warning: " if event.kind == "warn" else ""
            self._say(row.depth + 1 if row else 0, mark + clean(event.text))

    def _say(self, depth: int, text: str) -> None:
        indent = "  " * depth
        print(indent + text.replace("\n", f"\n{indent}"), file=self.out, flush=True)


class LiveTree:
    """Running steps as a tree that redraws itself; finished ones move up into the scrollback.

    A finished step of the first two levels leaves a line; deeper ones only
    show while they run, which keeps what remains readable.
    """

    KEPT_DEPTH = 1
    REFRESH = 8  # pictures a second

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.rows: dict[int, Row] = {}
        self.live: Live | None = None
        self.lock = threading.RLock()

    def close(self) -> None:
        """Give the terminal back."""
        with self.lock:
            if self.live:
                self.live.stop()
                self.live = None

    def take(self, event: Event) -> None:
        """Bring the picture up to date."""
        with self.lock:
            row = self.rows.get(event.step)
            if event.kind == "start":
                above = self.rows.get(event.parent)
                depth = above.depth + 1 if above else 0
                self.rows[event.step] = Row(clean(event.name), event.parent, depth)
                self._start()
            elif event.kind == "progress" and row:
                row.done, row.total, row.unit = event.done, event.total, event.unit
            elif event.kind == "end" and row:
                del self.rows[event.step]
                if row.depth <= self.KEPT_DEPTH or event.outcome == "failed":
                    self._keep(row, event)
                if not self.rows:
                    self.close()
            elif event.kind in ("note", "warn"):
                depth = row.depth + 1 if row else 0
                colour = "yellow" if event.kind == "warn" else "dim"
                self._print("  " * depth + clean(event.text), colour)

    def _start(self) -> None:
        if self.live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.out, highlight=False, force_terminal=True)
            self.live = Live(
                get_renderable=self._tree, console=console, refresh_per_second=self.REFRESH,
                transient=True, redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self.live.start()

    def _keep(self, row: Row, event: Event) -> None:
        mark, colour = {
            "ran": ("✔", "green"), "reused": ("↺", "cyan"), "failed": ("✘", "red"),
        }.get(event.outcome, ("·", "white"))  # fmt: skip
        self._print(f"{'  ' * row.depth}{mark} {row.name}  {ending(event)}", colour)

    def _print(self, text: str, colour: str) -> None:
        if self.live is None:
            print(text, file=self.out, flush=True)
            return
        from rich.text import Text

        self.live.console.print(Text(text, style=colour), soft_wrap=True)

    def _tree(self) -> Tree:
        from rich.text import Text
        from rich.tree import Tree

        # Called by rich's thread under rich's lock, which `take` waits for while it holds
        # ours: taking ours here would be a deadlock. Copying the rows is one operation.
        root = Tree("", hide_root=True)
        nodes = {0: root}
        now = clock.monotonic()
        for ident, row in list(self.rows.items()):
            text = Text(f"{row.name}  ")
            if row.done or row.total:
                text.append(f"{amount(row.done, row.total, row.unit)}  ", style="cyan")
            text.append(f"{now - row.started:.0f} s", style="dim")
            nodes[ident] = nodes.get(row.parent, root).add(text)
        return root


@dataclass(frozen=True)
class Line:
    """One row of the closing table."""

    name: str
    outcome: str
    seconds: float
    size: int = 0


class Recorder:
    """Collects the ends of the steps directly below the first one, for the closing table."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._top: set[int] = set()

    def take(self, event: Event) -> None:
        """Note starts of top steps and ends of their children."""
        if event.kind == "start" and not event.parent:
            self._top.add(event.step)
        if event.kind == "end" and event.parent in self._top:
            self.lines.append(Line(event.name, event.outcome, event.seconds, event.size))


def table(lines: list[Line], total: float) -> str:
    """The closing table: what was reused, what ran, how long, how big."""
    width = max((len(line.name) for line in lines), default=4)
    rows = [
        f"  {line.name:<{width}}  {line.outcome:<6}  {line.seconds:>7.1f} s  "
        f"{fs.mib(line.size) if line.size else '':>11}".rstrip()
        for line in lines
    ]
    rows.append(f"  {'in all':<{width}}  {'':<6}  {total:>7.1f} s")
    return "\n".join(rows)
