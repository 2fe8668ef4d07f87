"""What `--help` prints, from the commands' own declarations."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any

from invoke.parser.argument import Argument
from invoke.tasks import Task

from cosa.cli.command import spelled
from cosa.cli.parse import arguments_of, flag


def overview(tasks: Mapping[str, Task[Any]], core: Iterable[Argument]) -> str:
    """Usage, commands by group, global options."""
    lines = ["usage: cosa [options] COMMAND [options of the command]", ""]
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, task in tasks.items():
        groups.setdefault(getattr(task, "group", "Other"), []).append(
            (spelled(name), _first_line(task))
        )
    for group, rows in groups.items():
        lines += [f"{group}:", *_columns(rows), ""]
    lines += ["Options:", *_columns(_rows(core, {})), ""]
    lines.append("`cosa COMMAND --help` says more; docs/guide.md explains errors and statuses.")
    return "\n".join(lines)


def of_command(task: Task[Any], core: Iterable[Argument]) -> str:
    """Usage, description and options of one command."""
    name = spelled(task.name.replace("_", "-"))
    passthrough = getattr(task, "passthrough", "")
    arguments = [arg for arg in arguments_of(task) if str(arg.name) != passthrough]
    positional = [_placeholder(arg) for arg in arguments if arg.positional]
    if passthrough:
        positional.append(f"[{passthrough.upper()}...]")
    usage = " ".join(["usage: cosa", name, "[options]", *positional])
    lines = [usage, "", cleandoc(task.__doc__ or ""), ""]
    rows = _rows((arg for arg in arguments if not arg.positional), getattr(task, "metavar", {}))
    if rows:
        lines += ["Options:", *_columns(rows), ""]
    named = [
        (str(arg.name).upper(), arg.help or "") for arg in arguments if arg.positional and arg.help
    ]
    if named:
        lines += ["Arguments:", *_columns(named), ""]
    lines += ["Global options:", *_columns(_rows(core, {}))]
    return "\n".join(lines)


def _placeholder(arg: Argument) -> str:
    name = str(arg.name).upper()
    if arg.kind is list:
        return f"[{name}...]"
    return name if arg.default is None else f"[{name}]"


def _rows(arguments: Iterable[Argument], metavar: Mapping[str, str]) -> list[tuple[str, str]]:
    rows = []
    for arg in arguments:
        names = sorted((flag(name) for name in arg.names), key=len)
        if arg.kind is bool and arg.default is True:
            names = [f"--[no-]{arg.names[0]}"]
        value = ""
        if arg.takes_value:
            word = metavar.get(str(arg.name), "N" if arg.kind is int else "VALUE")
            value = f"[={word}]" if arg.optional else f" {word}"
        rows.append((", ".join(names) + value, arg.help or ""))
    return rows


def _first_line(task: Task[Any]) -> str:
    return cleandoc(task.__doc__ or "").split("\n", 1)[0].rstrip(".")


def _columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    left = min(max(len(name) for name, _ in rows), 30) + 4
    width = max(40, shutil.get_terminal_size((100, 24)).columns - left)
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, width) or [""]
        if len(name) > left - 4:
            lines.append(f"  {name}")
            lines += [" " * left + part for part in wrapped]
        else:
            lines.append(f"  {name:<{left - 2}}{wrapped[0]}".rstrip())
            lines += [" " * left + part for part in wrapped[1:]]
    return lines
