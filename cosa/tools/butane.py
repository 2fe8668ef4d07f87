"""Ignition configs: butane and ignition-validate, and how ours are laid under the user's.

Both programs are the real ones (coreos/butane, coreos/ignition); what they
complain about comes back with file, line and column.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass, Problem, Where
from cosa.core.store import Json

type Config = Mapping[str, Json]

# The oldest spec with all that the wrapper uses, so that any Ignition 2.x takes it.
_WRAPPER_VERSION = "3.0.0"
# Go's report package: "error at $.storage.files.0.path, line 9 col 13: path not absolute"
_FINDING = re.compile(
    r"^(?P<kind>error|warning|info) at (?:(?P<key>\$\S*?), )?line (?P<line>\d+)"
    r" col (?P<column>\d+): (?P<text>.*)$"
)
_YAML = re.compile(r"yaml: line (?P<line>\d+): (?P<text>.*)$")
_BAD_PLACE = re.compile(r"^(?P<kind>error|warning) at (?P<key>\$\S*): (?P<text>.*)$")
# Sums up what the findings before it said.
_SUMMARY = ("config generated was invalid", "Config produced warnings and --strict")


@dataclass(frozen=True)
class Checked:
    """A valid Ignition config and what its checker remarked."""

    config: Config
    warnings: tuple[Problem, ...] = ()


def load(path: Path) -> Checked:
    """Read a config by its suffix: `.bu` is Butane, anything else Ignition JSON."""
    return load_butane(path) if path.suffix == ".bu" else load_ignition(path)


def load_butane(path: Path) -> Checked:
    """Translate a Butane file; local files it names are looked for beside it."""
    return from_butane(_read(path), str(path), path.parent)


def load_ignition(path: Path) -> Checked:
    """Validate an Ignition file."""
    return from_ignition(_read(path), str(path))


def from_butane(text: str, name: str, files: Path | None = None) -> Checked:
    """Translate Butane. Raises `butane/invalid` with every finding and its position in `name`."""
    argv = ["butane", *(["--files-dir", str(files)] if files else [])]
    result = run.run(argv, input=text.encode(), check=False, timeout=60)
    found = _findings(result.err, name, "butane")
    if result.status != 0:
        raise _invalid("butane/invalid", name, found, result)
    config: dict[str, Json] = json.loads(result.out)
    return Checked(config, tuple(problem for _, problem in found))


def from_ignition(text: str, name: str) -> Checked:
    """Validate Ignition JSON. Raises `ignition/invalid` with every finding."""
    argv = [_validator(), "-"]
    result = run.run(argv, input=text.encode(), check=False, timeout=60)
    found = _findings(result.out + result.err, name, "ignition")
    if result.status != 0:
        raise _invalid("ignition/invalid", name, found, result)
    config: dict[str, Json] = json.loads(text)
    return Checked(config, tuple(problem for _, problem in found))


def merge(*configs: Config) -> Config:
    """One config that merges several; where two say different things the later one wins.

    Each is carried whole as a data URL and so keeps its own spec version.
    """
    sources: list[Json] = [{"source": data_url(json.dumps(config))} for config in configs]
    return {"ignition": {"version": _WRAPPER_VERSION, "config": {"merge": sources}}}


def combined(*configs: Config | None) -> Config | None:
    """One config of those given, later ones counting more; None if there is none."""
    given = [config for config in configs if config is not None]
    return merge(*given) if len(given) > 1 else (given[0] if given else None)


def data_url(text: str) -> str:
    """`data:;base64,...` (RFC 2397)."""
    return "data:;base64," + base64.b64encode(text.encode()).decode()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as err:
        raise CosaError("butane/no-file", f"there is no config {path}") from err
    except (OSError, UnicodeDecodeError) as err:
        raise CosaError("butane/unreadable", f"{path} cannot be read", why=str(err)) from err


def _validator() -> str:
    """Ignition's own tree names the program `validate`, packages call it ignition-validate."""
    return "ignition-validate" if shutil.which("ignition-validate") else run.which("validate")


def _findings(text: str, name: str, area: str) -> Sequence[tuple[str, Problem]]:
    found: list[tuple[str, Problem]] = []
    for line in text.splitlines():
        if match := _FINDING.match(line):
            where = Where(name, int(match["line"]), int(match["column"]))
            words = f"{match['key']}: {match['text']}" if match["key"] else match["text"]
            found.append((match["kind"], Problem(f"{area}/invalid", words, where)))
        elif match := _BAD_PLACE.match(line):
            words = f"{match['key']}: {match['text']}"
            found.append((match["kind"], Problem(f"{area}/invalid", words, Where(name))))
        elif match := _YAML.search(line):
            where = Where(name, int(match["line"]))
            found.append(("error", Problem(f"{area}/invalid", match["text"], where)))
    return found


def _invalid(
    code: str, name: str, found: Sequence[tuple[str, Problem]], result: run.Result
) -> CosaError:
    if not found:
        lines = [
            line.removeprefix("Error translating config: ")
            for line in (result.err + result.out).splitlines()
            if line.strip() and not any(part in line for part in _SUMMARY)
        ]
        words = "; ".join(lines) or f"exit status {result.status}"
        return CosaError(code, f"{name}: {words}", Where(name), exit_class=ExitClass.INPUT)
    problems = tuple(sorted((p for _, p in found), key=lambda p: p.where or Where("")))
    if len(problems) == 1:
        only = problems[0]
        return CosaError(code, only.what, only.where, problems=problems)
    return CosaError(code, f"{name} is not a valid config", problems=problems)
