"""From words to a command's arguments, by the conventions of getopt_long and argparse.

invoke's own parser chains tasks, so that `build ostree` would look for a task
called `ostree`. Ours takes one command: options anywhere, `--opt value` and
`--opt=value`, unique prefixes of long options, `-xVALUE`, grouped short flags,
`--` ends options.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from invoke.parser.argument import Argument
from invoke.tasks import Task

from cosa.cli.command import spelled
from cosa.core.errors import CosaError, ExitClass


def usage_error(code: str, what: str, fix: str = "", why: str = "") -> CosaError:
    """An error in the words given, class USAGE."""
    return CosaError(f"usage/{code}", what, why=why, fix=fix, exit_class=ExitClass.USAGE)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or nothing when no known word is close."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else ""


def flag(name: str) -> str:
    """`-x` for one letter, `--name` otherwise."""
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


@dataclass
class Options:
    """The options and positionals of one command, being filled from words."""

    command: str
    arguments: Sequence[Argument]
    passthrough: str = ""
    stray: dict[str, Argument] = field(default_factory=dict)  # global flags allowed here too
    values: dict[str, Any] = field(default_factory=dict)
    globals: dict[str, Any] = field(default_factory=dict)  # what stray flags were given

    def __post_init__(self) -> None:
        self.flags: dict[str, Argument] = dict(self.stray)
        self.inverse: dict[str, Argument] = {}
        for arg in self.arguments:
            if arg.positional or arg.name == self.passthrough:
                continue
            for name in arg.names:
                self.flags[flag(name)] = arg
            if arg.kind is bool and arg.default is True:
                self.inverse[f"--no-{arg.names[0]}"] = arg

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """The keyword arguments for the command's function. Raises `usage/...`."""
        rest = list(words)
        positional: list[str] = []
        while rest:
            word = rest.pop(0)
            if word == "--":
                positional += rest
                break
            if word.startswith("--"):
                known = self._long(word, rest)
            elif word.startswith("-") and len(word) > 1:
                known = self._short(word, rest)
            elif self.passthrough:
                known = False
            else:
                positional.append(word)
                continue
            if not known:
                # Only a pass-through command gets here: the remainder is not ours to read.
                positional += [word, *rest]
                break
        self._positionals(positional)
        return self._finished()

    def _long(self, word: str, rest: list[str]) -> bool:
        name, equals, value = word.partition("=")
        off = self._inverse(name)
        if off is not None:
            self.values[_attr(off)] = False
            return True
        arg = self._lookup(name)
        if arg is None:
            return False
        if not arg.takes_value:
            if equals:
                raise usage_error("option-value", f"the option {name} takes no value")
            self._set(arg, name, value=True)
        elif equals:
            self._set(arg, name, value=value)
        elif arg.optional:
            self._set(arg, name, value=True)
        else:
            self._set(arg, name, value=self._next(name, rest))
        return True

    def _short(self, word: str, rest: list[str]) -> bool:
        letters = word[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            arg = self.flags.get(name)
            if arg is None:
                if self.passthrough:
                    return False
                raise self._unknown(name)
            if not arg.takes_value:
                self._set(arg, name, value=True)
                continue
            value = letters.removeprefix("=") if letters else self._next(name, rest)
            self._set(arg, name, value=value)
            break
        return True

    def _lookup(self, name: str) -> Argument | None:
        if name in self.flags:
            return self.flags[name]
        if self.passthrough:
            return None  # a prefix of ours may be a whole option of theirs
        own = [key for key, arg in self.flags.items() if not self._is(arg)]
        # The command's own come first: what was unique in its own words stays so.
        for names in (own, list(self.flags)):
            found = {id(self.flags[key]): key for key in names if _abbreviates(name, key)}
            if len(found) == 1:
                return self.flags[next(iter(found.values()))]
            if found:
                raise usage_error(
                    "ambiguous-option", f"{name} could be {' or '.join(sorted(found.values()))}",
                    fix="write more of it",
                )  # fmt: skip
        raise self._unknown(name)

    def _is(self, arg: Argument) -> bool:
        return any(arg is one for one in self.stray.values())

    def _inverse(self, name: str) -> Argument | None:
        """The option that `--no-...`, in full or abbreviated, switches off."""
        if name in self.flags or self.passthrough or not name.startswith("--no-"):
            return self.inverse.get(name)
        if any(_abbreviates(name, key) for key in self.flags):
            return None
        found = [arg for key, arg in self.inverse.items() if _abbreviates(name, key)]
        return found[0] if len(found) == 1 else None

    def _unknown(self, name: str) -> CosaError:
        hint = nearest(name, [*self.flags, *self.inverse])
        also = f"see `cosa {self.command} --help`" if self.command else "see `cosa --help`"
        where = f"'cosa {self.command}'" if self.command else "cosa"
        return usage_error(
            "unknown-option", f"{where} has no option {name}", fix=f"{hint} {also}".strip()
        )

    def _next(self, name: str, rest: list[str]) -> str:
        if not rest:
            raise usage_error(
                "option-value", f"the option {name} needs a value",
                fix=f"see `cosa {self.command} --help`",
            )  # fmt: skip
        return rest.pop(0)

    def _set(self, arg: Argument, name: str, *, value: str | bool) -> None:
        key = _attr(arg)
        values = self.globals if self._is(arg) else self.values
        if arg.kind is list:
            values.setdefault(key, []).append(value)
        elif arg.kind is int and isinstance(value, str):
            try:
                values[key] = int(value)
            except ValueError:
                raise usage_error(
                    "option-value", f"the option {name} needs a whole number, not '{value}'"
                ) from None
        else:
            values[key] = value

    def _positionals(self, words: list[str]) -> None:
        if self.passthrough:
            self.values[self.passthrough] = words
            return
        for arg in (arg for arg in self.arguments if arg.positional):
            if arg.kind is list:
                self.values[_attr(arg)] = words
                words = []
            elif words:
                self._set(arg, str(arg.name), value=words.pop(0))
            elif arg.default is None:
                raise usage_error(
                    "missing-argument", f"'cosa {self.command}' needs {str(arg.name).upper()}",
                    fix=f"see `cosa {self.command} --help`",
                )  # fmt: skip
        if words:
            raise usage_error(
                "extra-argument", f"'cosa {self.command}' has no use for '{words[0]}'",
                fix=f"see `cosa {self.command} --help`",
            )  # fmt: skip

    def _finished(self) -> dict[str, Any]:
        result = {_attr(arg): _default(arg) for arg in self.arguments}
        return result | self.values


def _abbreviates(word: str, name: str) -> bool:
    return name.startswith("--") and name.startswith(word)


def _attr(arg: Argument) -> str:
    return str(arg.name).replace("-", "_")


def _default(arg: Argument) -> Any:
    if arg.kind is list:
        return list(arg.default or [])
    return False if arg.kind is bool and arg.default is None else arg.default


def arguments_of(task: Task[Any]) -> list[Argument]:
    """The arguments of a task. invoke uses up the help texts when asked; we put them back."""
    texts = dict(task.help)
    try:
        arguments: list[Argument] = task.get_arguments()
    finally:
        task.help = texts
    return arguments


def options_of(task: Task[Any], stray: dict[str, Argument]) -> Options:
    """The options a task declares; `stray` are the global flags it accepts as well."""
    name = spelled(task.name.replace("_", "-"))
    passthrough = getattr(task, "passthrough", "")
    return Options(name, arguments_of(task), passthrough, {} if passthrough else dict(stray))
