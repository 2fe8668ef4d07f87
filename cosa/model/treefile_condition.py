"""Conditions of `conditional-include` and `${variable}` substitution."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cosa.core.errors import Problems, Where
from cosa.model.explain import suggest
from cosa.model.treefile_keys import Variable

_EQUALITY: Mapping[str, Callable[[Variable, Variable], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
}
_ORDER: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS = (*_EQUALITY, *_ORDER)
# As rpm-ostree's, to the letter: the operator is whatever stands between name and value.
_CONDITION = re.compile(
    r'\s*([A-Za-z0-9_]+)\s*(\S+)\s*(?:(true)|(false)|([0-9]+)|"(.*)")\s*\Z',
)
_TEMPLATE = re.compile(r"\$\{([^}]*)\}")
_KINDS = {bool: "true or false", int: "a number", str: "a string"}
_GRAMMAR = 'write VARIABLE OP VALUE; VALUE is true, false, a number or a "quoted" string'


@dataclass(frozen=True)
class Condition:
    """One comparison of a variable with a constant."""

    variable: str
    op: str
    value: Variable


@dataclass
class Variables:
    """The variables known so far, and what is known to be missing.

    `dropped` are those whose definition was wrong, which is reported where it
    stands; `complete` is False when a file that may define more was not read.
    """

    values: dict[str, Variable] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    complete: bool = True

    def note_undefined(
        self, name: str, context: str, where: Where | None, problems: Problems
    ) -> None:
        """Report that a variable is used and not defined."""
        if name in self.dropped:
            return
        problems.add(
            "treefile/undefined-variable",
            f"the variable {name!r}{context} is not defined",
            where,
            why="" if self.complete else "it may be defined in a file that could not be read",
            fix=suggest(name, self.values) or f"defined here: {', '.join(sorted(self.values))}",
        )


def parse(text: str, where: Where, problems: Problems) -> Condition | None:
    """Read `stream == "stable"`; notes `treefile/condition` and returns None if it is none."""
    match = _CONDITION.match(text)
    if not match:
        what = f"{text!r} is no condition"
        problems.add("treefile/condition", what, where, fix=_GRAMMAR)
        return None
    name, op, yes, no, number, quoted = match.groups()
    if op not in _OPERATORS:
        what = f"{op!r} is no operator"
        fix = f"use one of {' '.join(_OPERATORS)}"
        problems.add("treefile/condition", what, where, fix=fix)
        return None
    value: Variable = quoted if quoted is not None else bool(yes)
    if number is not None:
        value = int(number)
        if value >= 2**64:
            problems.add("treefile/condition", f"the number {number} is too big", where)
            return None
    return Condition(name, op, value if not no else False)


def holds(
    condition: Condition,
    variables: Variables,
    where: Where,
    problems: Problems,
) -> bool:
    """Whether a condition is true.

    Notes `treefile/undefined-variable` and `treefile/condition`; both make it false.
    """
    name, op, wanted = condition.variable, condition.op, condition.value
    if name not in variables.values:
        variables.note_undefined(name, "", where, problems)
        return False
    value = variables.values[name]
    if type(value) is not type(wanted):
        what = f"{name!r} is {_KINDS[type(value)]}, compared with {_KINDS[type(wanted)]}"
        problems.add("treefile/condition", what, where)
        return False
    if op in _EQUALITY:
        return _EQUALITY[op](value, wanted)
    if type(value) is not int or type(wanted) is not int:
        what = f"{op!r} compares numbers only; {name!r} is {_KINDS[type(value)]}"
        problems.add("treefile/condition", what, where, fix="use == or !=")
        return False
    return _ORDER[op](value, wanted)


def text_of(value: Variable) -> str:
    """A variable as substitution writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def substitute(text: str, variables: Variables, where: Where | None, problems: Problems) -> str:
    """`text` with every `${name}` replaced, once; notes `treefile/undefined-variable`."""
    if not -1 < text.find("${") < text.find("}"):
        return text

    def value(match: re.Match[str]) -> str:
        if match[1] in variables.values:
            return text_of(variables.values[match[1]])
        variables.note_undefined(match[1], f" in {text!r}", where, problems)
        return match[0]

    return _TEMPLATE.sub(value, text)
