"""A small operating system in an OSTree repository, and its disks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from diskworld import EPOCH, Source, build, images, make_tree, program

from cosa.core import fs
from cosa.images.produce import Image


@pytest.fixture(scope="session")
def room() -> Iterator[Path]:
    """A folder on a file system that knows all xattrs, which an overlay does not."""
    parent = Path(os.environ.get("COSA_CACHE") or tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="cosa-images-test.", dir=parent))
    yield folder
    fs.remove_tree(folder)


@pytest.fixture(scope="session")
def source(room: Path) -> Source:
    if os.geteuid() != 0:
        pytest.skip("owners of objects need root")
    make_tree(room / "root")
    repo = room / "repo"
    program("ostree", f"--repo={repo}", "init", "--mode=bare-user")
    commit = program(
        "ostree", f"--repo={repo}", "commit", "--branch=small/x86_64/test",
        f"--timestamp=@{EPOCH}", "--add-metadata-string=version=7.1", f"--tree=dir={room / 'root'}",
    )  # fmt: skip
    return Source(repo, commit.strip())


@pytest.fixture(scope="session")
def made(source: Source, room: Path) -> dict[str, Image]:
    """Images of all platforms, made one after the other from one working disk."""
    folder = room / "made"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSA_JOBS", "1")
        return images(build(source, folder / "disk.raw"), folder)


@pytest.fixture(scope="session")
def raw(source: Source, room: Path) -> Path:
    return build(source, room / "disk.raw")
