"""The small OS, made once per worker, on a file system that can hold an overlay's upper layer."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from smallos import SmallOS

from cosa.core import fs


def real_folder(name: str) -> Path:
    """A new folder where bin/test works: pytest's own may lie on an overlay."""
    named = os.environ.get("COSA_TEST_WORKDIR") or os.environ.get("COSA_CACHE")
    above = Path(named or Path.home() / ".cache/cosa") / "tmp/tests"
    above.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}.", dir=above))


@pytest.fixture
def place() -> Iterator[Path]:
    folder = real_folder("flow")
    yield folder
    fs.remove_tree(folder)


@pytest.fixture(scope="session")
def template() -> Iterator[SmallOS]:
    """The repository, to be copied: making it takes over a second."""
    folder = real_folder("small")
    yield SmallOS.make(folder / "os")
    fs.remove_tree(folder)


@pytest.fixture
def small(template: SmallOS, place: Path) -> SmallOS:
    """An OS of one's own, with a cache of its own."""
    made = SmallOS(place / "os", template.signer, place / "cache")
    shutil.copytree(template.repo, made.repo)
    shutil.copytree(template.config, made.config)
    made.write_repo(made.repo.as_uri())
    return made
