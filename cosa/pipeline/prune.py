"""Removing old builds, so that the disk does not fill.

As with publishing, a journal makes several changes one: a run that finds it
finishes what it says. Only builds whose folder is here are ever taken from the
list; what another machine holds stays in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from cosa.core import events, fs
from cosa.pipeline.workdir import Workdir

KEPT = 3
_JOURNAL = ".pruning.json"


def prune(workdir: Workdir, keep: int = KEPT) -> list[str]:
    """Remove all but the `keep` newest untagged builds; tagged ones and the latest stay.

    To be called under the build directory's lock. The ids of removed builds.
    """
    found = workdir.read_builds()
    tagged = {tag.target for tag in found.tags}
    link = workdir.builds / "latest"
    if link.is_symlink():
        tagged.add(os.readlink(link))
    here = [b.id for b in found.builds if (workdir.builds / b.id).is_dir()]
    untagged = [name for name in here if name not in {t.target for t in found.tags}]
    doomed = [name for name in untagged[keep:] if name not in tagged]
    if doomed:
        fs.atomic_write(workdir.builds / _JOURNAL, json.dumps({"builds": doomed}))
        _remove(workdir, doomed)
        events.note(f"removed old builds: {', '.join(doomed)}")
    return doomed


def recover(workdir: Workdir) -> None:
    """Finish what a killed run was removing."""
    try:
        doomed = json.loads((workdir.builds / _JOURNAL).read_text())["builds"]
    except FileNotFoundError:
        return
    _remove(workdir, [str(name) for name in doomed])


def _remove(workdir: Workdir, doomed: Sequence[str]) -> None:
    found = workdir.read_builds()
    if any(found.has(name) for name in doomed):
        found.without(doomed).write(workdir.builds_json)
    with fs.private_dir(workdir.tmp, "prune") as bin_:
        for name in doomed:
            if (workdir.builds / name).is_dir():
                os.rename(workdir.builds / name, bin_ / name)
    (workdir.builds / _JOURNAL).unlink()
