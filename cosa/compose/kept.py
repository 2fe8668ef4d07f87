"""What programs of the tree wrote, kept under what decided it: whole layers of an overlay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosa.compose.tree import link_tree
from cosa.core import fs
from cosa.core.store import Json, Store

_KEPT = 4  # results of earlier runs of a step


def keep(store: Store, step: str, inputs: Mapping[str, Json], upper: Path) -> None:
    """Keep what a step's programs wrote."""
    with store.produce(step, inputs) as out:
        link_tree(upper, out / "upper")
    store.trim(step, _KEPT)


def restore(store: Store, step: str, inputs: Mapping[str, Json], upper: Path) -> bool:
    """Put what an earlier run wrote into the empty folder `upper`, if it was kept."""
    found = store.find(step, inputs)
    if found is None:
        return False
    fs.remove_tree(upper)
    link_tree(found / "upper", upper)
    return True
