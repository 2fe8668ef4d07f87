"""Commits: the one that runs, the next one, and back."""

from __future__ import annotations

import pytest
from conftest import NEXT_FILE
from shared import SHARED, SMOKE, booted, deployments

from cosa.kola.image import Build
from cosa.kola.machine import Machine

pytestmark = SHARED


@SMOKE
def test_status(machine: Machine, build: Build) -> None:
    """`ostree admin status` equals meta.json."""
    (only,) = deployments(machine)
    assert only.booted
    assert only.osname == build.meta["name"]
    assert only.checksum == build.meta["ostree-commit"]
    assert only.version == build.meta["ostree-version"]


@pytest.mark.kola(stage=1)
def test_update(updated: Machine, first_commit: str) -> None:
    """A second commit is deployed and booted; /etc and /var are as they were left."""
    now = booted(updated)
    assert now.checksum != first_commit
    assert now.version == "kola.second"
    assert updated.out(f"cat {NEXT_FILE}") == "second"
    assert updated.out("cat /etc/kola-kept /var/lib/kola-kept") == "kept\nkept"
    assert [entry.checksum for entry in deployments(updated)] == [now.checksum, first_commit]


@pytest.mark.kola(stage=2)
def test_rollback(rolled_back: Machine, first_commit: str) -> None:
    """Back to the commit the image came with."""
    assert booted(rolled_back).checksum == first_commit
    assert rolled_back.ssh(f"test -e {NEXT_FILE}", check=False).status == 1
    assert rolled_back.out("cat /var/lib/kola-kept") == "kept"
