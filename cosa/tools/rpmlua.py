"""rpm's embedded Lua, carried into a tree: its own interpreter with the libraries it needs.

Lua scripts of packages use what rpm adds to the language (`posix`, `rpm.execute`, macros), so
they are run by rpm's `rpmlua`; the tree's libraries may be of another age, or not be there yet.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass

# Where a sandbox has the folder `gather` filled.
PLACE = "/run/cosa/lua"
CONFIG = f"{PLACE}/rpm"
# Of file triggers: rpm hands paths out one by one, we have them on stdin. One line, so that
# errors name the script's own lines.
_PRELUDE = 'rpm.next_file = function() return io.read("l") end; '
_LOADER = "loader"


def script(body: str, langs: str = "") -> str:
    """A scriptlet's text as `rpmlua` needs it; `langs` is for the macro `_install_langs`."""
    return _define(langs) + _PRELUDE + body


def expansion(langs: str = "") -> str:
    """A script that expands the macros of the text on stdin."""
    return _define(langs) + 'io.write(rpm.expand(io.read("a")))'


def _define(langs: str) -> str:
    return f'rpm.define("_install_langs {langs}"); ' if langs else ""


def command(place: str, arguments: tuple[str, ...]) -> list[str]:
    """How to run a script that lies at `place`, inside a sandbox that has `PLACE`."""
    return [f"{PLACE}/{_LOADER}", "--library-path", PLACE, f"{PLACE}/rpmlua", place, *arguments]


def gather(folder: Path) -> None:
    """Fill a folder with the interpreter, its libraries and rpm's macros.

    Raises `env/missing-tool` where there is no rpmlua.
    """
    folder.mkdir()
    program = run.which("rpmlua")
    shutil.copy(program, folder / "rpmlua")
    for line in run.run(["ldd", program]).out.splitlines():
        words = line.split()
        if "=>" in words and words[2].startswith("/"):
            shutil.copy(words[2], folder / words[0])
        elif words and words[0].startswith("/"):
            shutil.copy(words[0], folder / _LOADER)
    if not (folder / _LOADER).exists():
        raise CosaError(
            "script/lua",
            "rpm's Lua interpreter cannot be carried into the tree",
            why=f"{program} names no dynamic loader",
            exit_class=ExitClass.ENVIRONMENT,
        )
    config = Path(run.run(["rpm", "--eval", "%{_rpmconfigdir}"]).out.strip())
    (folder / "rpm").mkdir()
    for name in ("rpmrc", "macros"):
        if (config / name).is_file():
            shutil.copy(config / name, folder / "rpm" / name)
