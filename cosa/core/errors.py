"""Errors for people: what, where, why, what to do next, with a stable code.

Everything cosa raises on purpose is a `CosaError`. Its `code` is a slug
(`treefile/unknown-key`) that scripts may match and documentation explains; its
`exit_class` decides the process's exit status. Anything else that escapes is a
bug of ours and is reported as such.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class ExitClass(enum.IntEnum):
    """Exit status by class of failure; documented in docs/guide.md."""

    BUG = 1
    USAGE = 2
    INPUT = 3  # a file the user wrote or supplied is wrong
    NETWORK = 4  # something could not be fetched
    UNTRUSTED = 5  # a signature, digest or archive does not hold
    ENVIRONMENT = 6  # tool missing, disk full, folder not writable
    STEP = 7  # a scriptlet, dracut, mkfs ... failed
    TESTS = 8  # the image was tested and found wanting
    BUSY = 9  # another cosa holds the lock
    INTERRUPTED = 130


@dataclass(frozen=True, order=True)
class Where:
    """A place in a file; line and column count from 1, 0 when unknown."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column or 1}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in the words a person needs."""

    code: str
    what: str
    where: Where | None = None
    why: str = ""
    fix: str = ""


@dataclass
class CosaError(Exception):
    """A failure cosa understands.

    `what` is one line. `why` may be long (a scriptlet's output). `fix` says
    what to do next. `problems` holds the single findings when there are
    several; `what` then summarises them.
    """

    code: str
    what: str
    where: Where | None = None
    why: str = ""
    fix: str = ""
    exit_class: ExitClass = ExitClass.INPUT
    problems: tuple[Problem, ...] = field(default=())

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}"

    # A dataclass with __eq__ would lose the identity hash exceptions need.
    __hash__ = Exception.__hash__


class Problems:
    """Collects findings so that all of them are reported at once.

    >>> problems = Problems()
    >>> problems.add("treefile/unknown-key", "unknown key 'pakages'")
    >>> problems.raise_if_any("the treefile is not valid")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._items: list[Problem] = []
        self._classes: set[ExitClass] = set()

    def add(
        self, code: str, what: str, where: Where | None = None, *, why: str = "", fix: str = ""
    ) -> None:
        """Note one finding."""
        self.extend([Problem(code, what, where, why, fix)])

    def extend(self, items: Iterable[Problem], exit_class: ExitClass = ExitClass.INPUT) -> None:
        """Note several findings."""
        self._items.extend(items)
        self._classes.add(exit_class)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Turn a `CosaError` raised inside into findings, and go on."""
        try:
            yield
        except CosaError as err:
            self.absorb(err)

    def absorb(self, err: CosaError) -> None:
        """Take over the findings of an error that was caught."""
        items = err.problems or (Problem(err.code, err.what, err.where, err.why, err.fix),)
        self.extend(items, err.exit_class)

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._items)

    def raise_if_any(self, what: str, exit_class: ExitClass | None = None) -> None:
        """Raise one `CosaError` carrying every finding, in file order; a lone one speaks itself.

        Its class is `exit_class`, else that of the findings where they agree, else INPUT.
        """
        if not self._items:
            return
        if exit_class is None:
            one_class = len(self._classes) == 1
            exit_class = next(iter(self._classes)) if one_class else ExitClass.INPUT
        items = tuple(sorted(self._items, key=lambda p: p.where or Where("")))
        if len(items) == 1:
            one = items[0]
            raise CosaError(one.code, one.what, one.where, one.why, one.fix, exit_class, items)
        raise CosaError(items[0].code, what, None, "", "", exit_class, items)
