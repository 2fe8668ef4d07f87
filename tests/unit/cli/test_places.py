"""The files made for pipelines are current."""

from pathlib import Path

import pytest

from cosa.cli import places

UPSTREAM = Path(__file__).resolve().parents[3] / "assembler/upstream"


@pytest.mark.parametrize("name", places.texts())
def test_made_files_are_current(name):
    renew = "run `python3 -m cosa.cli.places assembler/upstream`"
    assert (UPSTREAM / name).read_text() == places.texts()[name], renew
