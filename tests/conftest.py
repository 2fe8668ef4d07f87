"""What all rings of tests share.

A ring is a folder: unit (no root, no network, seconds), golden (prints compared),
tool (the assembler's programs), vm (boots). The folder gives a test its marker.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = ("ostree", "bwrap", "mke2fs", "createrepo_c", "qemu-system-x86_64", "butane")
NO_FIXTURE = "no fixture "


def ring(path: Path) -> str:
    """The ring a test file belongs to: the first folder below tests/."""
    parts = path.relative_to(CHECKOUT / "tests").parts if path.is_relative_to(CHECKOUT) else ()
    return parts[0] if len(parts) > 1 else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    for item in items:
        if ring(item.path) not in ("tool", "vm"):
            continue
        item.add_marker(ring(item.path))
        if missing:
            item.add_marker(pytest.mark.skip(f"not installed: {', '.join(missing)}; use bin/test"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Under bin/test everything is there, so a skip would hide something: it fails."""
    report = yield
    if os.environ.get("COSA_TEST_STRICT") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else ""
        if not reason.startswith(NO_FIXTURE) and ring(item.path) in ("tool", "vm"):
            report.outcome = "failed"
            report.longrepr = f"skipped, though every tool is here: {reason}"
    return report


@pytest.fixture
def shared_fixture() -> Callable[[str], Path]:
    """A function giving a path below the fixtures kept beside the checkout; it skips without them."""
    root = Path(os.environ.get("COSA_SHARED_FIXTURES") or CHECKOUT.parent / "shared" / "fixtures")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(
                f"{NO_FIXTURE}{path}: put the shared fixtures beside the checkout"
                " (../shared/fixtures) or name their folder in COSA_SHARED_FIXTURES"
            )
        return path

    return find
