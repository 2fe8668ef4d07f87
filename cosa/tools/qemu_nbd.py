"""A disk image served to two users at once, as a disk on two paths needs.

QEMU itself would keep two caches of one qcow2 file; behind qemu-nbd there is one.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from cosa.core import clock, run
from cosa.core.errors import CosaError, ExitClass

_PATIENCE = 30.0  # seconds


def serve(image: Path, socket: Path) -> subprocess.Popen[bytes]:
    """Serve a qcow2 image on a Unix socket until the process is ended (`run.end`).

    Raises `qemu/nbd` when it does not begin to.
    """
    argv = ["qemu-nbd", "--persistent", "--shared=2", "--format=qcow2", "--cache=unsafe"]
    process = run.start([*argv, "--socket", socket, image], stderr=subprocess.PIPE)
    until = clock.monotonic() + _PATIENCE
    while not socket.exists():
        if process.poll() is not None or clock.monotonic() > until:
            words = process.stderr.read().decode("utf-8", "replace") if process.stderr else ""
            run.end(process)
            raise CosaError(
                "qemu/nbd", f"the disk {image.name} cannot be served on two paths",
                why=words.strip()[-1000:], exit_class=ExitClass.STEP,
            )  # fmt: skip
        clock.sleep(0.02)
    return process
