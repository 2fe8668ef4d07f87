"""Writing a changed updates JSON: one writer at a time, all or nothing, and on record."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.streams.documents import Rollout


def audit_path(updates: Path) -> Path:
    """Where changes of a document are noted unless told otherwise: `stable.audit.jsonl`."""
    return updates.with_name(f"{updates.stem}.audit.jsonl")


@contextmanager
def exclusive(audit: Path) -> Iterator[int]:
    """The audit log, opened to append and locked against other writers.

    Raises `busy/updates`; `OSError` when it cannot be opened.
    """
    log = os.open(audit, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CosaError(
                "busy/updates", f"another cosa is changing what {audit} records",
                exit_class=ExitClass.BUSY,
            ) from None  # fmt: skip
        yield log
    finally:
        os.close(log)


def write(path: Path, was: bytes, value: dict[str, Any], log: int, said: dict[str, Any]) -> None:
    """Replace a document that still is what it was, noting the change first.

    A line of the log has the digests of the document before and after: one whose
    `after` never came to be is of a change that was cut short. Raises `rollout/changed`.
    """
    made = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    if path.read_bytes() != was:
        raise CosaError("rollout/changed", f"{path} was changed meanwhile",
                        fix="look at it, and say it again")  # fmt: skip
    line = {"time": clock.iso(clock.now()), "by": _user(), **said,
            "before": _digest(was), "after": _digest(made)}  # fmt: skip
    size = os.fstat(log).st_size
    torn = "\n" if size and os.pread(log, 1, size - 1) != b"\n" else ""
    os.write(log, f"{torn}{json.dumps(line, ensure_ascii=False)}\n".encode())
    os.fsync(log)
    fs.atomic_write(path, made, path.stat().st_mode & 0o777)


def halted(audit: Path, version: str) -> tuple[Rollout, float]:
    """The rollout of a release that was halted last, and the share it had come to.

    Raises `rollout/not-halted` when the log does not end so for it.
    """
    last: dict[str, Any] = {}
    for line in audit.read_text().splitlines() if audit.exists() else ():
        try:
            said = json.loads(line)
        except ValueError:  # cut short when the disk was full
            continue
        if isinstance(said, dict) and said.get("version") == version:
            last = said
    share = last.get("share")
    try:
        rollout = Rollout.model_validate(last.get("rollout"))
    except ValidationError:
        share = None
    if last.get("verb") != "halt" or not isinstance(share, float):
        raise CosaError("rollout/not-halted", f"{audit} tells of no halt of {version}",
                        fix="cosa rollout start begins a rollout")  # fmt: skip
    return rollout, share


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())
