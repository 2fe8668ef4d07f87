"""The words of `cosa kola`: verb, globs, our options wherever they stand, and pytest's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.cli.parse import usage_error

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Option:
    """An option of `cosa kola`; the type of `default` says what kind it is: a list is repeated."""

    name: str
    default: str | int | bool | list[str]
    help: str
    metavar: str = ""
    short: str = ""

    @property
    def key(self) -> str:
        """Its name as a parameter."""
        return self.name.replace("-", "_")


# Upstream's names and meanings (mantle/cmd/kola/options.go), then ours.
OPTIONS = (
    Option("parallel", "auto", "workers side by side; default by processors and memory",
           "N|auto", "j"),
    Option("exttest", [], "run the external tests in DIR/tests/kola; may be repeated", "DIR", "E"),
    Option("output", "", "where results go; default tmp/kola, or below $ARTIFACT_DIR", "DIR"),
    Option("build", "", "test this build's image; default the latest", "ID"),
    Option("distro", "", "fcos, rhcos or scos; default by the build's name", "NAME", "b"),
    Option("platform", "qemu", "where machines run: only qemu is there", "NAME", "p"),
    Option("tag", [], "tests with this tag, or with !TAG all but those; may be repeated", "TAG"),
    Option("rerun", default=False,
           help="run what failed once more; success there makes it a FLAKE"),
    Option("allow-rerun-success", "", "only tests with one of these tags may be a FLAKE",
           "tags=TAG[,TAG]"),
    Option("on-warn-failure-exit-77", default=False,
           help="end with 77 if all that failed only warns"),
    Option("multiply", 1, "run each test N times", "N"),
    Option("sharding", "", "run part M of N of the tests", "hash:M/N"),
    Option("denylist-test", [], "leave out tests of this name; may be repeated", "GLOB"),
    Option("denylist-stream", "", "the stream denylists are read for; default the build's",
           "STREAM"),
    Option("cold", default=False, help="boot every machine instead of restoring saved ones"),
    Option("no-net", default=False, help="leave out tests that need the internet"),
    Option("run-platform-independent", default=False,
           help="kept for scripts: on qemu they always run"),
    Option("ssh-on-test-failure", default=False,
           help="a shell in the machine of a test that failed"),
    Option("append-butane", [], "a Butane config every machine gets; may be repeated", "FILE"),
    Option("append-ignition", [], "an Ignition config every machine gets", "FILE"),
    Option("debug-systemd-unit", [], "have systemd log this unit in detail", "UNIT"),
    Option("extend-timeout-percentage", 0, "stretch every time-out", "N"),
    Option("tapfile", "", "write results in TAP there too", "FILE"),
    Option("qemu-image", "", "test this disk image instead of a build's", "FILE"),
    Option("qemu-memory", 1024, "memory a machine has at least", "MIB"),
    Option("qemu-firmware", "bios", "firmware of tests that name none",
           "bios|uefi|uefi-secure"),
    Option("qemu-size", "", "size of the system's disk", "SIZE"),
    Option("qemu-nvme", default=False, help="the system's disk is NVMe"),
    Option("qemu-multipath", default=False, help="the system's disk has two paths"),
    Option("qemu-native-4k", default=False, help="the system's disk has sectors of 4 KiB"),
    Option("qemu-512e", default=False, help="the system's disk emulates small sectors"),
    Option("tests", "", "folder of tests in Python; default cosa's own", "DIR"),
    Option("json", default=False, help="list as JSON"),
)  # fmt: skip
_BY_KEY = {option.key: option for option in OPTIONS}
_BY_SHORT = {f"-{option.short}": option for option in OPTIONS if option.short}


@dataclass(frozen=True)
class Asked:
    """What `cosa kola run` and `list` ask for; `values` are the options by key."""

    verb: str
    globs: tuple[str, ...]
    extra: tuple[str, ...]  # for pytest, verbatim
    values: Mapping[str, Any]


def split(words: Sequence[str], given: Mapping[str, Any], verb: str = "run") -> Asked:
    """Sort words: options of ours may stand after the verb too; from the first unknown one on
    all is pytest's.

    `given` holds the options met before the verb.
    """
    values: dict[str, Any] = {
        key: list(value) if isinstance(value, list) else value for key, value in given.items()
    }
    rest = list(words)
    globs: list[str] = []
    extra: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            extra += rest
            break
        if not word.startswith("-") or word == "-":
            globs.append(word)
            continue
        name, equals, value = word.partition("=")
        if not word.startswith("--") and len(word) > 2 and word[:2] in _BY_SHORT:
            name, equals, value = word[:2], "=", word[2:].removeprefix("=")
        option = _BY_SHORT.get(name)
        if name.startswith("--"):
            option = _BY_KEY.get(name.removeprefix("--").replace("-", "_"))
        if option is None:
            extra = [word, *rest]
            break
        if isinstance(option.default, bool):
            if equals and value not in ("true", "false"):
                raise usage_error("option-value", f"the option {name} takes no value")
            values[option.key] = value != "false"
            continue
        if not equals:
            if not rest:
                raise usage_error("option-value", f"the option {name} needs a value")
            value = rest.pop(0)
        values[option.key] = _value(option, name, value, values[option.key])
    return Asked(verb, tuple(globs), tuple(extra), values)


def _value(option: Option, name: str, value: str, before: Any) -> Any:
    if isinstance(option.default, list):
        return [*before, value]
    if isinstance(option.default, int):
        if not value.isdecimal():
            raise usage_error("option-value", f"the option {name} needs a whole number")
        return int(value)
    return value


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


def primary_disk(values: Mapping[str, Any]) -> str:
    """The options about the system's disk, as one description."""
    words = {
        "qemu_nvme": "channel=nvme", "qemu_multipath": "mpath", "qemu_native_4k": "4k",
        "qemu_512e": "512e",
    }  # fmt: skip
    options = ",".join(word for key, word in words.items() if values[key])
    return f"{values['qemu_size']}:{options}".rstrip(":")


def print_list(items: Sequence[pytest.Item], *, as_json: bool) -> None:
    """Names and what they are about."""
    from cosa.kola import items as tests

    rows = tests.listing(items)
    if as_json:
        print(tests.to_json(rows))
        return
    width = max((len(str(row["Name"])) for row in rows), default=0)
    for row in rows:
        print(f"{row['Name']:<{width}}  {row['Description']}".rstrip())
