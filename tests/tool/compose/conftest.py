"""Packages are built once a session; every test gets a folder that can hold an overlay."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from composeworld import Maker

from cosa.core import fs


def _is_overlay(path: Path) -> bool:
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", path], check=True, capture_output=True, text=True
    ).stdout
    return kind.strip() == "overlayfs"


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder for scratch and cache; a container's own root cannot hold an upper layer."""
    named = (os.environ.get(name) for name in ("COSA_TEST_WORKDIR", "COSA_CACHE"))
    for top in [tmp_path, *(Path(name) for name in named if name)]:
        top.mkdir(parents=True, exist_ok=True)
        if not _is_overlay(top):
            folder = Path(tempfile.mkdtemp(prefix=".compose-test.", dir=top))
            yield folder
            fs.remove_tree(folder)
            return
    pytest.skip("every folder here is on an overlay; name another in COSA_TEST_WORKDIR")
