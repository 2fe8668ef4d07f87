"""What all rings of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def shared_fixture() -> Callable[[str], Path]:
    """A function giving a path below the fixtures kept beside the checkout; it skips without them."""
    root = Path(os.environ.get("COSA_SHARED_FIXTURES") or CHECKOUT.parent / "shared" / "fixtures")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(
                f"no fixture {path}: put the shared fixtures beside the checkout"
                " (../shared/fixtures) or name their folder in COSA_SHARED_FIXTURES"
            )
        return path

    return find
