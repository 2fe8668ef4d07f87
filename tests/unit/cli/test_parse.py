"""Words to arguments: the conventions of getopt_long and argparse, and clear refusals."""

import pytest
from invoke.parser.argument import Argument

from cosa.cli.command import Context, command
from cosa.cli.main import Cosa
from cosa.cli.parse import Options, options_of
from cosa.core.errors import CosaError, ExitClass


@command(
    positional=["targets"],
    iterable=["targets", "disk"],
    short={"force": "f", "memory": "m", "exec_": "x", "disk": "D", "quiet": "q"},
    alternatives={"force": ["force-nocache"]},
    optional=["colour"],
)
def sample(
    _c: Context,
    *,
    targets: list[str],
    force: bool = False,
    quiet: bool = False,
    memory: int = 0,
    exec_: str = "",
    disk: list[str] | None = None,
    check: bool = True,
    colour: str = "",
    version: str = "",
    variant: str = "",
) -> None:
    """Sample."""


@command(passthrough="words", short={"build": "b"})
def through(_c: Context, *, build: str = "", words: list[str]) -> None:
    """Sample that passes on what it does not know."""


@command()
def needy(_c: Context, config: str, *, branch: str = "") -> None:
    """Sample with a positional."""


def parse(task, *words):
    return options_of(task, {}).parse(words)


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["ostree", "qemu"], "targets", ["ostree", "qemu"]),
        (["--force", "qemu"], "force", True),
        (["qemu", "-f"], "force", True),
        (["--force-nocache"], "force", True),
        (["-fq"], "quiet", True),
        (["--memory=2048"], "memory", 2048),
        (["--memory", "2048"], "memory", 2048),
        (["-m2048"], "memory", 2048),
        (["-qm", "2048"], "memory", 2048),
        (["-x", "rpm -q systemd && ls -l"], "exec_", "rpm -q systemd && ls -l"),
        (["-x", "-v"], "exec_", "-v"),
        (["--exec=a=b"], "exec_", "a=b"),
        (["-D", "1G", "--disk=2G"], "disk", ["1G", "2G"]),
        (["--mem", "1"], "memory", 1),
        (["--no-check"], "check", False),
        (["--no-ch"], "check", False),
        (["--colour"], "colour", True),
        (["--colour=red"], "colour", "red"),
        (["--", "--force"], "targets", ["--force"]),
        (["--", "--force"], "force", False),
        ([], "targets", []),
        ([], "disk", []),
    ],
)
def test_values(words, key, value):
    assert parse(sample, *words)[key] == value


@pytest.mark.parametrize(
    ("task", "words", "code", "says"),
    [
        (sample, ["--forse"], "usage/unknown-option", "did you mean '--force'?"),
        (sample, ["-z"], "usage/unknown-option", "-z"),
        (sample, ["--ver", "1"], "", ""),
        (sample, ["--v", "1"], "usage/ambiguous-option", "--variant or --version"),
        (sample, ["--memory"], "usage/option-value", "needs a value"),
        (sample, ["--memory", "much"], "usage/option-value", "whole number"),
        (sample, ["--force=yes"], "usage/option-value", "takes no value"),
        (needy, [], "usage/missing-argument", "CONFIG"),
        (needy, ["a", "b"], "usage/extra-argument", "'b'"),
    ],
)
def test_refusals(task, words, code, says):
    if not code:
        parse(task, *words)
        return
    with pytest.raises(CosaError) as caught:
        parse(task, *words)
    assert caught.value.code == code
    assert caught.value.exit_class is ExitClass.USAGE
    assert says in caught.value.what + caught.value.fix


@pytest.mark.parametrize(
    ("words", "build", "rest"),
    [
        (["run", "--parallel", "2"], "", ["run", "--parallel", "2"]),
        (["--build", "x", "run"], "x", ["run"]),
        (["-b", "x", "--bui", "y"], "x", ["--bui", "y"]),
        (["--unknown", "--build", "x"], "", ["--unknown", "--build", "x"]),
        (["bash", "-c", "true"], "", ["bash", "-c", "true"]),
        (["--", "--build"], "", ["--build"]),
    ],
)
def test_passing_on(words, build, rest):
    found = parse(through, *words)
    assert (found["build"], found["words"]) == (build, rest)


def test_global_options_after_the_command_unless_it_has_its_own():
    core = Options("", Cosa().core_args())
    options = options_of(sample, {k: v for k, v in core.flags.items() if k != "--version"})
    found = options.parse(["--debug", "--version", "1.2", "--workdir=/w"])
    assert options.globals == {"debug": True, "workdir": "/w"}
    assert found["version"] == "1.2"


def test_an_abbreviation_prefers_the_commands_own_options():
    """What was unique among upstream's options stays so beside our global ones."""
    stray = {
        "--memento": Argument(names=("memento",)),
        "--debug": Argument(names=("debug",), kind=bool),
    }
    options = options_of(sample, stray)
    assert options.parse(["--mem", "1"])["memory"] == 1
    options = options_of(sample, stray)
    options.parse(["--de"])
    assert options.globals == {"debug": True}
