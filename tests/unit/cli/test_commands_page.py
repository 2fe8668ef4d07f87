"""docs/commands.md (releases: payload.md, streams: streams.md) says of each command and option what the command line does with it."""

import re
from pathlib import Path

import pytest

from cosa.cli import elsewhere
from cosa.cli.command import FAMILIES, spelled
from cosa.cli.main import COMMANDS, load
from cosa.cli.parse import arguments_of, flag

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "commands.md").read_text()
PAGES = "\n".join((DOCS / name).read_text() for name in ("commands.md", "payload.md", "streams.md"))
NAMES = {spelled(name): name for name in COMMANDS}
TAKEN = {"same", "better", "ours", "accepted"}
ELSEWHERE = {"kola"}  # its options are told on a page of their own


def described():
    """command -> option -> what the page says of it."""
    found = {}
    for section in re.split(r"^#{2,3} ", PAGES, flags=re.MULTILINE)[1:]:
        name = re.match(r"`([^`]+)`\n", section)
        if not name:
            continue
        rows = re.findall(r"^\| (`-[^|]*`) \| (\w+) \|", section, re.MULTILINE)
        found[NAMES.get(name[1], name[1])] = {
            option: word for options, word in rows for option in re.findall(r"`([^`]+)`", options)
        }
    return found


def not_here():
    section = PAGE.split("## Not here")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (gone|later) \|", section, re.MULTILINE))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_the_page_and_every_one_there_exists(name):
    assert name in described(), "the command has no section"
    if name in ELSEWHERE:
        return
    task = load(name)
    real = {
        flag(spelling)
        for arg in arguments_of(task)
        if not arg.positional and str(arg.name) != task.passthrough
        for spelling in arg.names
    }
    rows = described()[name]
    told = {option for option, word in rows.items() if word in TAKEN}
    assert told - real == set(), "on the page, but not an option"
    assert real - told == set(), "an option, but not on the page"
    assert set(rows.values()) <= TAKEN | {"later", "gone"}


def test_no_command_is_on_the_page_that_is_none():
    assert set(described()) - set(COMMANDS) - set(FAMILIES) == set()


def test_what_is_not_here_is_on_the_page():
    words = dict.fromkeys(elsewhere.GONE, "gone")
    words |= dict.fromkeys((name for name in elsewhere.LATER if name not in COMMANDS), "later")
    assert not_here() == words
