"""Gives one hostile input to one reader and judges what comes of it.

Good ends are a value and a `CosaError` that reads well. Anything else is a finding:
another exception, more time or memory than any such input may cost, something written outside
the reader's own folder, an error that would spoil the terminal or says nothing.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cosa.cli.errors import render
from cosa.core.errors import CosaError

SECONDS = 5.0
MEMORY = 256 << 20  # growth of the process's peak by one input
# Codes that a hostile input must not lead to: they blame the machine, or us.
_NOT_THE_INPUT = re.compile(r"^(bug|env|run|busy)/")
_CODE = re.compile(r"^[a-z][a-z0-9-]*/[a-z0-9-]+$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WORDS, _LINES = 2500, 60  # of one error as printed


@dataclass(frozen=True)
class Target:
    """A reader: `run(data, folder)` reads one input, writing below `folder` only.

    `make(draw)` is a Hypothesis strategy's body giving the input; `seeds` are good inputs.
    """

    name: str
    run: Callable[[bytes, Path], object]
    make: Callable[..., bytes]
    seeds: tuple[bytes, ...] = ()


class Hang(BaseException):
    """The time of one input is up."""


class Finding(AssertionError):
    """What was not a good end."""


@dataclass
class Tally:
    """How a run went."""

    inputs: int = 0
    accepted: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    grown: int = 0


class Box:
    """A folder that is all a reader may write to, watched from above and by an audit hook."""

    _open: Box | None = None
    _hooked = False

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="cosa-fuzz-"))
        self.inside = self.top / "inside"
        self.strays: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[Path]:
        self.inside.mkdir()
        self.strays.clear()
        if not Box._hooked:
            sys.addaudithook(_audit)
            Box._hooked = True
        Box._open = self
        tempfile.tempdir = str(self.inside)
        try:
            yield self.inside
        finally:
            Box._open = None
            tempfile.tempdir = None
            others = [name for name in os.listdir(self.top) if name != "inside"]
            shutil.rmtree(self.inside, ignore_errors=True)
        if others or self.strays:
            raise Finding(f"written outside its folder: {(others + self.strays)[:3]}")

    def close(self) -> None:
        shutil.rmtree(self.top, ignore_errors=True)


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate",
            "os.chmod", "os.chown", "shutil.rmtree", "subprocess.Popen", "os.system", "socket.connect"}  # fmt: skip


def _audit(event: str, args: tuple[object, ...]) -> None:
    box = Box._open
    if box is None:
        return
    if event == "open":
        path, _, flags = args
        if (
            isinstance(flags, int)
            and flags & _WRITING
            and isinstance(path, str | bytes | os.PathLike)
        ):
            box_check(box, event, path)
    elif event in _CHANGES:
        if event in ("subprocess.Popen", "os.system", "socket.connect"):
            box.strays.append(f"{event} {args[0]!r}"[:200])
        for path in args[:2]:
            # Relative ones are relative to a descriptor that was opened inside.
            if isinstance(path, str | bytes | os.PathLike) and event != "os.symlink":
                box_check(box, event, path)
        if event == "os.symlink":
            box_check(box, event, args[1])


def box_check(box: Box, event: str, path: object) -> None:
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    fine = (str(box.inside), "/dev/null", "/proc/self/fd/")
    if name.startswith("/") and not name.startswith(fine) and "__pycache__" not in name:
        box.strays.append(f"{event} {name}"[:200])


def try_one(target: Target, data: bytes, box: Box, tally: Tally) -> None:
    """Give one input to a reader. Raises `Finding`."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        # What a library warns of is no failure of the reader.
        with box.watched() as folder, _limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.run(data, folder)
        tally.accepted += 1
    except CosaError as err:
        tally.codes[err.code] += 1
        _judge(err)
        tally.examples.setdefault(_shape(err), render(err))
    except Finding:
        raise
    except Hang:
        raise Finding(f"no end within {SECONDS:g} s") from None
    except RecursionError as err:
        raise Finding("RecursionError: nested too deeply for the reader") from err
    except Exception as err:
        place = traceback.extract_tb(err.__traceback__)
        last = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(place[-4:]))
        raise Finding(f"{type(err).__name__}: {str(err)[:200]!r} at {last}") from err
    finally:
        tally.inputs += 1
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tally.slowest = max(tally.slowest, spent)
    grown = (after.ru_maxrss - before.ru_maxrss) * 1024
    tally.grown = max(tally.grown, grown)
    if grown > MEMORY:
        raise Finding(f"{grown >> 20} MiB more memory for an input of {len(data)} bytes")


def _judge(err: CosaError) -> None:
    """What a person would complain about."""
    if _NOT_THE_INPUT.match(err.code):
        raise Finding(f"the input is wrong, but it says {err.code}: {err.what[:200]}")
    for one in (err, *err.problems):
        if not _CODE.match(one.code) or not one.what.strip():
            raise Finding(f"an error that says nothing: {one.code!r} {one.what!r}")
    text = render(err)
    if _CONTROL.search(text):
        raise Finding(f"control characters reach the terminal: {text[:200]!r}")
    lines = text.splitlines()
    longest = max(map(len, lines))
    if len(err.problems) <= 1 and (longest > _WORDS or len(lines) > _LINES):
        raise Finding(f"{len(lines)} lines of up to {longest} characters: {text[:200]!r}")
    text.encode("utf-8", "surrogateescape")


def _shape(err: CosaError) -> str:
    """One of a kind: the code and the message without what differs from input to input."""
    return f"{err.code} {re.sub(r"['0-9].*", '', err.what)[:60]}"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
