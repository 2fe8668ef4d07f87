"""Removing what a working directory holds."""

from __future__ import annotations

from pathlib import Path

from cosa.core import fs, store
from cosa.pipeline.workdir import Workdir


def clean(workdir: Workdir, *, everything: bool = False) -> list[Path]:
    """Remove `builds/` and `tmp/` (and `cache/` with `everything`); what was removed.

    Raises `busy/locked` while a build runs here.
    """
    workdir.need_init()
    removed = []
    with store.lock(workdir.lock_file, "a build"):
        targets = [workdir.builds, *(p for p in workdir.tmp.iterdir() if p != workdir.lock_file)]
        if everything:
            targets.append(workdir.cache)
        for path in targets:
            if path.exists():
                fs.remove_tree(path)
                removed.append(path)
    workdir.builds.mkdir()
    return removed
