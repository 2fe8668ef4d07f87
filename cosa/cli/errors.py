"""Errors as people read them: what, where, why, what to do next. The one place they are shown."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TextIO

from cosa.cli.progress import clean
from cosa.cli.settings import settings
from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass, Problem, Where

_WHAT, _WHY = 600, 2400  # characters shown of a line; a command to paste may be long
_RED, _BOLD, _DIM, _OFF = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


def report(
    err: CosaError, *, debug: bool = False, as_json: bool = False, out: TextIO | None = None
) -> int:
    """Print an error to stderr; the exit status of its class."""
    out = out or sys.stderr
    if as_json:
        print(json.dumps(record(err)), file=out)
    else:
        print(render(err, colour=_colourful(out)), file=out)
    if debug:
        traceback.print_exception(err, file=out)
    return int(err.exit_class)


def record(err: CosaError) -> dict[str, object]:
    """An error as one JSON object, beside the events of `--log-format json`."""
    problems = err.problems or (Problem(err.code, err.what, err.where, err.why, err.fix),)
    return {
        "kind": "error",
        "code": err.code,
        "what": err.what,
        "status": int(err.exit_class),
        "problems": [
            {
                "code": each.code,
                "what": each.what,
                "where": str(each.where or ""),
                "why": each.why,
                "fix": each.fix,
            }
            for each in problems
        ],
    }


def report_bug(err: Exception, *, debug: bool = False, out: TextIO | None = None) -> int:
    """Say that something happened that cosa does not understand; status 1."""
    out = out or sys.stderr
    place = traceback.extract_tb(err.__traceback__)
    last = f"{Path(place[-1].filename).name}:{place[-1].lineno}" if place else "unknown place"
    words = f"{type(err).__name__}: {err}".splitlines()[0]
    paint = Painter(colour=_colourful(out))
    print(
        f"{paint(_RED + _BOLD, 'error')}: this is a bug in cosa, not in what you gave it", file=out
    )
    print(f"  what   {words} (at {last})", file=out)
    if debug:
        traceback.print_exception(err, file=out)
    else:
        print("  next   run it again with `cosa --debug ...` and report what that prints", file=out)
    print(f"  code   bug/{type(err).__name__}", file=out)
    return int(ExitClass.BUG)


def from_os_error(err: OSError) -> CosaError | None:
    """The error behind an operating system's refusal, when the user can mend it."""
    path = _path_of(err)
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        # A write does not say where it was going: the fullest of the places we write to.
        path = path or min(_places(), key=_free)
        return CosaError(
            "env/disk-full",
            f"the disk is full below {path}",
            why=f"{os.strerror(err.errno)}; {fs.mib(_free(path))} are free there",
            fix="free some space, or choose another place with --workdir; "
            "earlier builds are intact and the next run goes on from the cache",
            exit_class=ExitClass.ENVIRONMENT,
        )
    if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CosaError(
            "env/not-writable",
            f"no permission for {path or 'a file'}",
            why=os.strerror(err.errno),
            fix="make it accessible to this user, or choose another place with --workdir",
            exit_class=ExitClass.ENVIRONMENT,
        )
    return None


def render(err: CosaError, *, colour: bool = False) -> str:
    """The text of an error: every problem with its place, the line underlined, then the way out."""
    paint = Painter(colour=colour)
    head = paint(_RED + _BOLD, "error")
    if len(err.problems) > 1:
        what = _cut(clean(err.what), _WHAT)
        lines = [f"{head}: {paint(_BOLD, what)} ({len(err.problems)} problems)"]
        for problem in err.problems:
            lines += ["", *_problem(problem, paint)]
        return "\n".join(lines)
    one = Problem(err.code, err.what, err.where, err.why, err.fix)
    first, *others = _problem(one, paint)
    return "\n".join([f"{head}: {first}", *others])


def _problem(problem: Problem, paint: Painter) -> list[str]:
    place = f"{problem.where}: " if problem.where else ""
    lines = [f"{clean(place)}{paint(_BOLD, _cut(clean(problem.what), _WHAT))}"]
    if problem.where:
        lines += _excerpt(problem.where, paint)
    if problem.why:
        lines += _labelled("why", problem.why)
    if problem.fix:
        lines += _labelled("next", problem.fix)
    lines.append(f"  {paint(_DIM, f'code   {problem.code}')}")
    return lines


def _cut(text: str, limit: int) -> str:
    """A line of bearable length: what a hostile file has in it has no end."""
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"


def _labelled(label: str, text: str) -> list[str]:
    first, *others = (_cut(line, _WHY) for line in clean(text).splitlines() or [""])
    return [f"  {label:<6} {first}", *(f"         {line}" for line in others)]


def _excerpt(where: Where, paint: Painter) -> list[str]:
    """The source line with a caret under the place; nothing when it cannot be read."""
    if not where.line:
        return []
    try:
        with open(where.path, encoding="utf-8", errors="replace") as file:
            text = next((line for n, line in enumerate(file, 1) if n == where.line), "")
    except OSError:
        return []
    text = text.rstrip("\n")
    column = max(where.column, 1)
    start = max(0, column - 60)
    shown = clean(text)[start : start + 100].replace("\t", " ")
    rest = text[column - 1 :]
    word = len(rest.split(":", 1)[0].split()[0]) if rest.split(":", 1)[0].split() else 1
    number = str(where.line)
    pad = " " * len(number)
    under = " " * (column - 1 - start) + "^" * max(1, min(word, len(shown) - column + 1 + start))
    return [f"  {number} | {shown}", f"  {pad} | {paint(_RED, under)}"]


class Painter:
    """Wraps text in a colour, or leaves it alone."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour

    def __call__(self, code: str, text: str) -> str:
        """The text in the colour of an escape `code`."""
        return f"{code}{text}{_OFF}" if self.colour else text


def _colourful(out: TextIO) -> bool:
    return out.isatty() and "NO_COLOR" not in os.environ


def _path_of(err: OSError) -> str:
    name = err.filename2 or err.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def _places() -> list[str]:
    cache = os.environ.get("COSA_CACHE") or str(Path.home() / ".cache/cosa")
    return [str(settings().workdir), cache, tempfile.gettempdir()]


def _free(path: str) -> int:
    """Free bytes on the filesystem of a path that need not exist."""
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = os.statvfs(place)
    return usage.f_bavail * usage.f_frsize
