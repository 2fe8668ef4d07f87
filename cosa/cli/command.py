"""How commands are declared: `@command` is invoke's `@task` with flags said outright.

    @command(short={"force": "f"}, help={"force": "build though nothing changed"})
    def build(c: Context, targets: list[str], version: str = "", force: bool = False) -> None:
        \"\"\"Compose the OS and make its disk image.\"\"\"

A parameter without default is positional; one whose name stands in `iterable`
is a list: positional ones take all remaining words, options may be repeated.
`passthrough` names the list that takes everything from the first word or
option the command does not know. Returning an int sets the exit status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from invoke.context import Context
from invoke.tasks import Task, task

__all__ = ["FAMILIES", "Command", "Context", "command", "spelled"]


class Command(Task):  # type: ignore[type-arg]  # generic only since invoke 3
    """A task whose short flags are chosen by us and whose unknown words may pass through."""

    def __init__(
        self,
        body: Callable[..., Any],
        *,
        short: Mapping[str, str] | None = None,
        alternatives: Mapping[str, Iterable[str]] | None = None,
        passthrough: str = "",
        metavar: Mapping[str, str] | None = None,
        group: str = "Build",
        **kwargs: Any,
    ) -> None:
        self.short = dict(short or {})
        self.alternatives = {key: tuple(names) for key, names in (alternatives or {}).items()}
        self.passthrough = passthrough
        self.metavar = dict(metavar or {})
        self.group = group
        kwargs.setdefault("auto_shortflags", False)
        if passthrough:
            kwargs["iterable"] = [*kwargs.get("iterable", []), passthrough]
        super().__init__(body, **kwargs)

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        """What invoke knows of a parameter, with our short and alternative names added."""
        if name in self.iterable and default is self.empty:
            default = None
        opts: dict[str, Any] = super().arg_opts(name, default, taken_names)
        opts["names"] = [*opts["names"], *self.alternatives.get(name, ())]
        if name in self.short:
            opts["names"].append(self.short[name])
        return opts

    @property
    def empty(self) -> Any:
        """The mark of a parameter without default."""
        from inspect import Parameter

        return Parameter.empty


# Commands of two words: `payload new` is declared as payload_new and listed as payload-new.
FAMILIES = ("payload", "graph", "rollout")


def spelled(name: str) -> str:
    """A command's name as people type it."""
    for family in FAMILIES:
        if name.startswith(f"{family}-"):
            return name.replace("-", " ", 1)
    return name


def command(**options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command; the options are those of `Command` and of invoke's `task`."""
    made: Callable[[Callable[..., Any]], Command] = task(klass=Command, **options)
    return made
