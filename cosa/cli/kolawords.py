"""The words of `cosa kola`: verb, globs, our options wherever they stand, and pytest's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.cli.parse import usage_error

if TYPE_CHECKING:
    import pytest

VERBS = ("run", "list")
_SWITCHES = ("json",)
_NUMBERS = ("qemu_memory", "extend_timeout_percentage")


@dataclass(frozen=True)
class Asked:
    """What `cosa kola ...` asks for."""

    verb: str
    globs: tuple[str, ...]
    extra: tuple[str, ...]  # for pytest, verbatim
    parallel: str
    output: str
    qemu_image: str
    build: str
    tags: tuple[str, ...]
    qemu_memory: int
    qemu_firmware: str
    tests: str
    extend_timeout_percentage: int
    json: bool


def split(words: Sequence[str], given: Mapping[str, Any]) -> Asked:
    """Sort words: options of ours may stand after the verb too; from the first unknown one on
    all is pytest's.

    `given` holds the options met before the verb.
    """
    values: dict[str, Any] = dict(given)
    rest = list(words)
    globs: list[str] = []
    extra: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            extra += rest
            break
        name, equals, value = word.partition("=")
        if word.startswith("-j") and word[2:].isdecimal():
            name, equals, value = "-j", "=", word[2:]
        key = "parallel" if name == "-j" else name.removeprefix("--").replace("-", "_")
        if not word.startswith("-"):
            globs.append(word)
        elif key not in values or not (name.startswith("--") or name == "-j"):
            extra = [word, *rest]
            break
        elif key in _SWITCHES:
            values[key] = True
        else:
            if not equals:
                if not rest:
                    raise usage_error("option-value", f"the option {name} needs a value")
                value = rest.pop(0)
            _put(values, key, name, value)
    verb = globs.pop(0) if globs and globs[0] in VERBS else "run"
    tags = tuple(values.pop("tag"))
    return Asked(verb=verb, globs=tuple(globs), extra=tuple(extra), tags=tags, **values)


def _put(values: dict[str, Any], key: str, name: str, value: str) -> None:
    if key == "tag":
        values["tag"] = [*values["tag"], value]
    elif key in _NUMBERS:
        if not value.isdecimal():
            raise usage_error("option-value", f"the option {name} needs a whole number")
        values[key] = int(value)
    else:
        values[key] = value


def workers(text: str) -> int:
    """`auto` is 0. Raises `usage/option-value`."""
    if text == "auto":
        return 0
    if text.isdecimal() and int(text):
        return int(text)
    raise usage_error("option-value", f"--parallel takes a number or auto, not '{text}'")


def own_tests() -> Path:
    """The tests that come with cosa."""
    import cosa

    return Path(cosa.__file__).parents[1] / "kola-tests"


def print_list(items: Sequence[pytest.Item], *, as_json: bool) -> None:
    """Names and what they are about."""
    from cosa.kola import plugin

    rows = plugin.listing(list(items))
    if as_json:
        print(plugin.to_json(rows))
        return
    width = max((len(str(row["Name"])) for row in rows), default=0)
    for row in rows:
        print(f"{row['Name']:<{width}}  {row['Description']}".rstrip())
