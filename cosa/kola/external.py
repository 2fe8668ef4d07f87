"""Finding external tests: programs in a folder tree, with configs and data beside them.

A folder `DIR/tests/kola` is walked. Each file that *others* may execute is a
test; `config.ign` or `config.bu` is the machine's config for the tests of that
folder, `kola.json` their metadata, `data` goes into the guest. Other folders
are walked with their name added to the tests' names; they inherit nothing.
Links are followed. What is wrong with one test or folder is a problem of the
tests it concerns, which fail; the others are not disturbed.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cosa.core.errors import CosaError, Where
from cosa.kola import metadata
from cosa.kola.metadata import Metadata

BELOW = Path("tests/kola")
DEFAULT_TEST = "test.sh"  # alone in its folder it needs no name of its own
EXT_DATA = "/var/opt/kola/extdata"


@dataclass(frozen=True)
class Root:
    """A folder of tests and what their names start with."""

    folder: Path
    prefix: str

    @classmethod
    def of(cls, folder: Path, prefix: str = "") -> Root:
        """The root of a project's folder; `folder` may also be its tests/kola itself."""
        folder = Path(os.path.abspath(folder))
        if not (folder / BELOW).is_dir() and folder.parts[-2:] == BELOW.parts:
            folder = folder.parents[1]
        return cls(folder / BELOW, prefix or f"ext.{folder.name}")


@dataclass(frozen=True)
class ExternalTest:
    """A test. `number` counts tests that may share a machine, from 1; 0 for exclusive ones."""

    name: str
    executable: Path
    config: Path | None = None
    data: Path | None = None
    meta: Metadata = field(default_factory=Metadata)
    number: int = 0
    problem: CosaError | None = None

    @property
    def base(self) -> str:
        """The program's own name."""
        return self.executable.name

    @property
    def unit(self) -> str:
        """The unit it runs as."""
        return f"kola-runext-{self.number}.service" if self.number else "kola-runext.service"

    @property
    def data_dir(self) -> str:
        """Where its data is in the guest."""
        return f"{EXT_DATA}-{self.number}" if self.number else EXT_DATA

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags, and the one all external tests have."""
        return tuple(dict.fromkeys(("external", *self.meta.tags)))


@dataclass
class _Folder:
    """What lies in one folder, sorted by its meaning."""

    executables: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    config: Path | None = None
    kola_json: Path | None = None
    data: Path | None = None
    problem: CosaError | None = None


def discover(roots: Iterable[Root], remarks: list[str] | None = None) -> list[ExternalTest]:
    """The tests below all roots, in order of their paths. A root that is not there has none.

    `remarks` takes what a person may want to know: a script nobody may execute.
    """
    notes = remarks if remarks is not None else []
    found: list[ExternalTest] = []
    seen: set[Path] = set()
    for root in roots:
        if root.folder.is_dir() and root.folder.resolve() not in seen:
            seen.add(root.folder.resolve())
            _walk(root.folder, root.prefix, (), found, notes)
    return _numbered(_distinct(found))


def _walk(
    folder: Path,
    prefix: str,
    above: tuple[Path, ...],
    found: list[ExternalTest],
    notes: list[str],
) -> None:
    real = folder.resolve()
    if real in above:
        notes.append(f"{folder} leads back to a folder it lies in, and was left out")
        return
    content = _look(folder, notes)
    for path in content.folders:
        _walk(path, f"{prefix}.{path.name}", (*above, real), found, notes)
    lone = len(content.executables) == 1
    for path in content.executables:
        name = prefix if lone and path.name == DEFAULT_TEST else f"{prefix}.{path.name}"
        found.append(_test(name, path, content))


def _look(folder: Path, notes: list[str]) -> _Folder:
    content = _Folder()
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        try:
            mode = path.stat().st_mode
        except OSError as err:
            if path.name in ("data", "config.ign", "config.bu", "kola.json"):
                content.problem = _problem(path, f"a link that leads nowhere: {err.strerror}")
            else:
                notes.append(f"{path} is a link that leads nowhere")
            continue
        if stat.S_ISREG(mode):
            _file(path, mode, content, notes)
        elif stat.S_ISDIR(mode) and path.name == "data":
            content.data = path
        elif stat.S_ISDIR(mode):
            content.folders.append(path)
    return content


def _file(path: Path, mode: int, content: _Folder, notes: list[str]) -> None:
    if mode & 0o001:
        content.executables.append(path)
    elif path.name == "config.ign" or (path.name == "config.bu" and not content.config):
        content.config = path
    elif path.name == "config.bu" and content.config and content.config.suffix == ".ign":
        notes.append(f"{path} does not count beside config.ign")
    elif path.name == "config.fcc":
        content.problem = _problem(path, "this old name is no longer read", "call it config.bu")
    elif path.name == "kola.json":
        content.kola_json = path
    else:
        with path.open("rb") as file:
            if file.read(2) == b"#!":
                notes.append(f"{path} starts like a program, but others may not execute it")


def _test(name: str, path: Path, content: _Folder) -> ExternalTest:
    test = ExternalTest(name, path, content.config, content.data, problem=content.problem)
    try:
        return replace(test, meta=metadata.read(path, content.kola_json))
    except CosaError as err:
        return replace(test, problem=err)
    except (OSError, UnicodeDecodeError) as err:
        return replace(test, problem=_problem(path, f"cannot be read: {err}"))


def _distinct(tests: Sequence[ExternalTest]) -> list[ExternalTest]:
    """Of two tests with one name the second fails, under a name of its own."""
    first: dict[str, ExternalTest] = {}
    for test in tests:
        name, number = test.name, 1
        while name in first:
            number += 1
            name = f"{test.name}.duplicate-{number}"
        if name != test.name:
            why = f"the name '{test.name}' is taken by {first[test.name].executable}"
            first[name] = replace(test, name=name, problem=_problem(test.executable, why))
        else:
            first[name] = test
    return list(first.values())


def _numbered(tests: Sequence[ExternalTest]) -> list[ExternalTest]:
    numbers = itertools.count(1)
    return [test if test.meta.exclusive else replace(test, number=next(numbers)) for test in tests]


def _problem(path: Path, why: str, fix: str = "") -> CosaError:
    return CosaError("kola/external", why, Where(str(path)), fix=fix)


@dataclass(frozen=True)
class Bucket:
    """Tests that run one after the other on one machine."""

    name: str
    members: tuple[ExternalTest, ...]


def buckets(tests: Sequence[ExternalTest]) -> list[Bucket]:
    """Put tests that may share a machine together: first fit by conflicts, which are mutual.

    A lone one needs no bucket and is not in any.
    """
    conflicts: dict[str, set[str]] = {test.name: set(test.meta.conflicts) for test in tests}
    for test in tests:
        for other in test.meta.conflicts:
            conflicts.setdefault(other, set()).add(test.name)
    made: list[list[ExternalTest]] = []
    for test in tests:
        if not test.number or test.problem:
            continue
        for members in made:
            if not any(member.name in conflicts[test.name] for member in members):
                members.append(test)
                break
        else:
            made.append([test])
    return [
        Bucket(f"non-exclusive-test-bucket-{number}", tuple(members))
        for number, members in enumerate(m for m in made if len(m) > 1)
    ]
