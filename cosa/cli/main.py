"""The `cosa` program: finds the command, parses its words, runs it, turns failures into statuses.

Modules of commands are imported only when their command is asked for, so that
the first line of output comes at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from invoke.collection import Collection
from invoke.config import Config
from invoke.executor import Executor
from invoke.parser.argument import Argument
from invoke.program import Program
from invoke.tasks import Task

from cosa import __version__
from cosa.cli import elsewhere, errors, settings
from cosa.cli.command import FAMILIES
from cosa.cli.parse import Options, nearest, options_of, usage_error
from cosa.core import run
from cosa.core.errors import CosaError, ExitClass

# command -> module of cosa.cli that declares it
COMMANDS = {
    "quickstart": "quickstart",
    "init": "build",
    "fetch": "build",
    "build": "build",
    "osbuild": "osbuild",
    "import": "importing",
    "list": "inspect",
    "meta": "inspect",
    "basearch": "inspect",
    "manifest": "manifest",
    "run": "machines",
    "kola": "kola",
    "standin": "standin",
    "schema": "schema",
    "doctor": "doctor",
    "push-container": "containers",
    "push-container-manifest": "containers",
    "copy-container": "containers",
    "oc-adm-release": "ocrelease",
    "payload-new": "payload",
    "payload-info": "payload",
    "payload-diff": "payload",
    "payload-extract": "payload",
    "payload-mirror": "payload_ship",
    "payload-lint": "payload_ship",
    "payload-graph": "payload_ship",
    "payload-sign": "payload_ship",
    "payload-verify": "payload_ship",
    "graph-show": "streams",
    "rollout-start": "rollout",
    "rollout-status": "rollout",
    "rollout-halt": "rollout",
    "rollout-resume": "rollout",
    "rollout-finish": "rollout",
    "rollout-barrier": "rollout",
    "rollout-dead-end": "rollout",
    "tag": "tags",
    "diff": "diff",
    "explain": "explain",
    "rebuild": "rebuild",
    "buildfetch": "exchange",
    "buildupload": "exchange",
    "prune": "tidy",
    "compress": "artefacts",
    "decompress": "artefacts",
    "build-validate": "artefacts",
    "cache": "cache",
    "shell": "tidy",
    "clean": "tidy",
    "update-variant": "develop",
    "dev-synthesize-osupdate": "develop",
    "supermin-run": "develop",
    "supermin-shell": "develop",
}
# Another word for a command with its first words: `buildextend-metal` is `osbuild metal`.
_PREFIXES = {"buildextend-": "osbuild"}
LOG_FORMATS = ("auto", "tree", "plain", "json")


class _Quiet(Config):
    """invoke's configuration without its files and environment variables: ours is our own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["lazy"] = True
        super().__init__(*args, **kwargs)

    def load_shell_env(self) -> None:
        """Read nothing."""


class Cosa(Program):
    """invoke's program with our words: one command per call, our global options only."""

    status = 0
    _help_for = ""

    def core_args(self) -> list[Argument]:
        """The options that stand before (or, unless it passes words on, after) any command."""
        return [
            Argument(names=("help", "h"), kind=bool, default=False, help="say what there is"),
            Argument(names=("version",), kind=bool, default=False, help="print cosa's version"),
            Argument(
                names=("workdir",),
                help="the working directory; default $COSA_WORKDIR (bin/cosa: work/), else the"
                " current folder",
            ),
            Argument(
                names=("log-format",), default="auto", attr_name="log_format",
                help="how progress is shown: tree (terminal), plain or json; default by where"
                " it goes",
            ),
            Argument(
                names=("debug",), kind=bool, default=False,
                help="show tracebacks and the commands that are run",
            ),
        ]  # fmt: skip

    def parse_core(self, argv: list[str] | None) -> None:
        """Split the words into global options, the command, and its own words."""
        self.normalize_argv(argv)
        words = list(self.argv[1:])
        self._core = Options("", self.core_args())
        end = _end_of_globals(words, self._core)
        given = self._core.parse(words[:end])
        self._given: dict[str, Any] = given
        self._words = words[end:]

    def parse_collection(self) -> None:
        """Import the module of the command at hand, or all of them for the overview."""
        self.collection = Collection()
        self._words = _translated(self._words)
        if self._words:
            self.collection.add_task(load(_known(self._words[0])))

    def parse_tasks(self) -> None:
        """Turn the command's words into keyword arguments."""
        self._calls: list[Any] = []
        if not self._words:
            return
        name, *words = self._words
        task = self.collection[name]
        stray = {
            key: arg for key, arg in self._core.flags.items() if key != "--version"
        }  # `build --version V` is the build's
        options = options_of(task, stray)
        helps = words[:1] if options.passthrough else _before_dashes(words)
        if {"--help", "-h"} & set(helps):
            self._help_for = name
            return
        kwargs = options.parse(words)
        self._given |= options.globals
        self._calls = [(name, kwargs)]

    def parse_cleanup(self) -> None:
        """Answer --help and --version; check the global options."""
        if self._given["version"]:
            self.print_version()
            return
        if self._help_for:
            self.print_task_help(self._help_for)
            return
        if self._given["help"] or not self._calls:
            self.print_help()
            # As upstream, with --help, too: a script that got here has run no command.
            self.status = 1
            self._calls = []

    def execute(self) -> None:
        """Run the command under the settings given."""
        if not self._calls or self._given["version"]:
            return
        chosen = _settings(self._given)
        settings.use(chosen)
        from cosa.cli import progress

        config = _Quiet()
        with progress.shown(chosen.log_format):
            results = Executor(self.collection, config).execute(*self._calls)
        last = next(reversed(results.values()), None)
        self.status = last if isinstance(last, int) and not isinstance(last, bool) else 0

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002  invoke's name
        """All of it; leaves the exit status in `status`, errors go up."""
        self.parse_core(argv)
        self.parse_collection()
        self.parse_tasks()
        self.parse_cleanup()
        self.execute()
        if exit:
            sys.exit(self.status)

    def print_help(self) -> None:
        """The overview."""
        from cosa.cli import helptext

        tasks = {name: load(name) for name in COMMANDS}
        print(helptext.overview(tasks, self.core_args()))

    def print_task_help(self, name: str) -> None:
        """Help for one command."""
        from cosa.cli import helptext

        print(helptext.of_command(self.collection[name], self.core_args()))

    def print_version(self) -> None:
        """`cosa 0.1.0`."""
        print(f"cosa {__version__}")


def _translated(words: list[str]) -> list[str]:
    """The words with former spellings of commands replaced. Raises `usage/not-here`."""
    if words and os.environ.get("COREOS_ASSEMBLER_REMOTE_SESSION"):
        raise usage_error(
            "not-here", "COREOS_ASSEMBLER_REMOTE_SESSION is set, but there are no remote sessions",
            why="upstream would run the command on that machine; here it would run on this one",
            fix="unset it, or run cosa on the machine itself",
        )  # fmt: skip
    if words and words[0] in FAMILIES:
        return _of_family(*words)
    for prefix, name in _PREFIXES.items():
        rest = words[0].removeprefix(prefix) if words else ""
        if rest and rest != words[0] and name in COMMANDS and words[0] not in elsewhere.LATER:
            return [name, rest, *words[1:]]
    return words


def _of_family(family: str, verb: str = "", *rest: str) -> list[str]:
    """The words of `payload new ...` as those of one command. Raises `usage/unknown-command`."""
    verbs = [name.removeprefix(f"{family}-") for name in COMMANDS if name.startswith(f"{family}-")]
    if verb in verbs:
        return [f"{family}-{verb}", *rest]
    raise usage_error(
        "unknown-command", f"`cosa {family}` knows no '{verb}'" if verb else
        f"`cosa {family}` needs a verb",
        fix=f"{nearest(verb, verbs)} choose one of {', '.join(verbs)}".strip(),
    )  # fmt: skip


def _known(name: str) -> str:
    """The name of a command, checked. Raises `usage/unknown-command` and what `elsewhere` says."""
    if name in COMMANDS:
        return name
    raise elsewhere.explained(name) or usage_error(
        "unknown-command", f"there is no command '{name}'",
        fix=f"{nearest(name, COMMANDS)} see `cosa --help`".strip(),
    )  # fmt: skip


def load(name: str) -> Task[Any]:
    """The task of a command."""
    module = import_module(f"cosa.cli.{COMMANDS[name]}")
    collection = Collection.from_module(module)
    task: Task[Any] = collection[name]
    return task


def _end_of_globals(words: Sequence[str], core: Options) -> int:
    """The index of the first word that is neither a global option nor its value."""
    index = 0
    while index < len(words) and words[index].startswith("-") and words[index] != "--":
        name, equals, _ = words[index].partition("=")
        arg = core.flags.get(name)
        index += 2 if arg is not None and arg.takes_value and not equals else 1
    return index


def _before_dashes(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words


def _settings(given: dict[str, Any]) -> settings.Settings:
    if given["log_format"] not in LOG_FORMATS:
        raise usage_error(
            "option-value", f"--log-format knows no '{given['log_format']}'",
            fix=f"choose one of {', '.join(LOG_FORMATS)}",
        )  # fmt: skip
    workdir = given["workdir"]
    path = Path(workdir).absolute() if workdir else settings.default_workdir()
    return settings.Settings(path, debug=given["debug"], log_format=given["log_format"])


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    run.stop_all()
    # An exception, so that private folders are cleaned up on the way out.
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cosa` and return its exit status (docs/guide.md lists them)."""
    words = ["cosa", *argv] if argv is not None else list(sys.argv)
    # An error may come before the options are read.
    debug = "--debug" in words
    as_json = "--log-format=json" in words or ("--log-format", "json") in pairwise(words)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    program = Cosa(version=__version__, name="cosa", binary="cosa", config_class=_Quiet)
    try:
        program.run(words, exit=False)
        sys.stdout.flush()
        return program.status
    except CosaError as err:
        return errors.report(err, debug=debug, as_json=as_json)
    except KeyboardInterrupt:
        print("\ncosa: interrupted", file=sys.stderr)
        return ExitClass.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, nor anyone to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as err:
        known = errors.from_os_error(err)
        if known:
            return errors.report(known, debug=debug, as_json=as_json)
        return errors.report_bug(err, debug=debug)
    except Exception as err:
        return errors.report_bug(err, debug=debug)


if __name__ == "__main__":
    sys.exit(main())
