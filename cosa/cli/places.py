"""What the assembler image offers where pipelines look inside upstream's.

`python3 -m cosa.cli.places FOLDER` renews commands.txt and v1.json in assembler/upstream
from the table of commands, the table of platforms and the models; a test finds old ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cosa.cli.command import spelled
from cosa.cli.main import COMMANDS
from cosa.model import schemas
from cosa.model.platforms import PLATFORMS

_HEAD = """\
# Commands of cosa as files in /usr/lib/coreos-assembler; a second word is what it links to.
# Made by `python3 -m cosa.cli.places assembler/upstream`.
"""
_IMAGES = "osbuild"  # the command that makes images


def texts() -> dict[str, str]:
    """File name -> content."""
    lines = [f"{name}\n" for name in sorted(COMMANDS) if spelled(name) == name]
    if _IMAGES in COMMANDS:
        lines += [f"buildextend-{name} {_IMAGES}\n" for name in sorted(PLATFORMS)]
    return {"commands.txt": _HEAD + "".join(lines), "v1.json": schemas.text("meta")}


if __name__ == "__main__":
    for name, text in texts().items():
        (Path(sys.argv[1]) / name).write_text(text)
