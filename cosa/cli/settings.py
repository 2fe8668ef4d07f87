"""What the global options say, for every command: `settings()`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cosa

CHECKOUT = Path(cosa.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Settings:
    """The global options, resolved. `workdir` is absolute and need not exist yet."""

    workdir: Path
    debug: bool = False
    log_format: str = "auto"  # auto, tree, plain or json


_current: list[Settings] = []


def settings() -> Settings:
    """The settings of the running command."""
    return _current[-1] if _current else Settings(default_workdir())


def use(chosen: Settings) -> None:
    """Make `chosen` what `settings()` answers; called once by main."""
    _current[:] = [chosen]


def default_workdir() -> Path:
    """$COSA_WORKDIR, else the current folder as upstream has it, else `work/` in our checkout.

    The checkout itself is never taken for a working directory: there `work/` is meant.
    """
    named = os.environ.get("COSA_WORKDIR")
    if named:
        return Path(named).absolute()
    here = Path.cwd()
    inside = here == CHECKOUT or (CHECKOUT in here.parents and not (here / "src").is_dir())
    return CHECKOUT / "work" if inside else here
