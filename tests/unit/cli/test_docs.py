"""The guide says what the program does."""

import ast
import re
from pathlib import Path

import pytest

from cosa.cli.command import spelled
from cosa.cli.main import COMMANDS
from cosa.core.errors import ExitClass

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/guide.md").read_text()
RAISING = {"CosaError", "Problem", "add"}


def codes():
    """Every literal code in a call that makes an error."""
    for path in (ROOT / "cosa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0]
            text = first.value if isinstance(first, ast.Constant) else ""
            if name in RAISING and re.fullmatch(r"[a-z][a-z-]*/[a-z][a-z-]*", str(text)):
                yield text, path


def test_every_area_of_codes_is_explained():
    table = GUIDE.split("### Codes by area")[1].split("## When")[0]
    known = {
        area for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for area in row.split(", ")
    }
    found = {code.split("/")[0]: path for code, path in codes()}
    assert len(found) > 15
    missing = {f"{area} ({path.name})" for area, path in found.items() if area not in known}
    assert not missing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_guide(name):
    assert re.search(rf"^\| `{spelled(name)}[ `]", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("kind", ExitClass)
def test_every_status_is_in_the_guide(kind):
    assert re.search(rf"^\| {kind.value}[ ,]", GUIDE, re.MULTILINE)


def test_readme_is_short():
    assert (ROOT / "README.md").read_text().count("\n") < 150


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert [page for page in pages if f"({page})" not in index] == []


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
