"""Control data of Debian packages: fields and relationships.

Source of the format: deb-control(5) and the Debian policy manual, chapter 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cosa.core.errors import CosaError, ExitClass

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_ARCH = re.compile(r"[a-z0-9-]+")
_RELATION = re.compile(
    r"\s*([a-z0-9][a-z0-9+.-]*)(?::([a-z0-9-]+))?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([A-Za-z0-9.+~:-]+)\s*\))?\s*"
)
# Policy 7.1: the bare forms are deprecated spellings of these.
_OPERATOR = {"<": "<=", ">": ">="}


@dataclass(frozen=True)
class Relation:
    """`name (operator version)`; operator and version are empty when unversioned."""

    name: str
    operator: str = ""
    version: str = ""
    qualifier: str = ""

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name


type Alternatives = tuple[Relation, ...]


class Control(Mapping[str, str]):
    """The fields of one package, looked up without regard to case."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {key.lower(): value for key, value in fields.items()}

    def __getitem__(self, key: str) -> str:
        return self._fields[key.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def name(self) -> str:
        """The package's name."""
        return self["Package"]

    @property
    def version(self) -> str:
        """The version as dpkg writes it."""
        return self["Version"]

    @property
    def arch(self) -> str:
        """Debian's name of the architecture, or `all`."""
        return self["Architecture"]

    @property
    def essential(self) -> bool:
        """Whether dpkg counts on the package being there always."""
        return self.get("Essential", "no") == "yes"

    def relations(self, *fields: str) -> list[Alternatives]:
        """The clauses of some relationship fields, each a tuple of alternatives."""
        return [clause for key in fields for clause in parse_relations(self.get(key, ""))]


def parse_relations(text: str) -> list[Alternatives]:
    """`a (>= 1) | b, c` as clauses. Raises `standin/control` for what it cannot read."""
    clauses = []
    for part in text.replace("\n", " ").split(","):
        if not part.strip():
            continue
        clauses.append(tuple(_relation(item) for item in part.split("|")))
    return clauses


def _relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text)
    if not match:
        raise _bad(f"cannot read the relationship {text.strip()!r}")
    name, qualifier, operator, version = match.groups()
    return Relation(name, _OPERATOR.get(operator, operator or ""), version or "", qualifier or "")


def parse(text: str) -> list[Control]:
    """All paragraphs of a control file. Raises `standin/control`."""
    return [Control(_fields(block)) for block in re.split(r"\n[ \t]*\n", text) if block.strip()]


def parse_one(text: str) -> Control:
    """The one paragraph of a package, its identity checked. Raises `standin/control`."""
    paragraphs = parse(text)
    if len(paragraphs) != 1:
        raise _bad(f"control has {len(paragraphs)} paragraphs instead of one")
    control = paragraphs[0]
    for key, pattern in (("Package", _NAME), ("Architecture", _ARCH), ("Version", None)):
        value = control.get(key, "")
        if not value or (pattern and not pattern.fullmatch(value)):
            raise _bad(f"control field {key} is missing or wrong: {value!r}")
    return control


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    last = ""
    for line in block.strip("\n").split("\n"):
        if line[:1] in " \t":
            if not last:
                raise _bad("control begins with a continuation line")
            fields[last] += "\n" + line[1:]
            continue
        key, colon, value = line.partition(":")
        if not colon or not key or " " in key:
            raise _bad(f"control has the line {line[:80]!r}")
        last = key.lower()
        if last in fields:
            raise _bad(f"control has the field {key} twice")
        fields[last] = value.strip()
    return fields


def _bad(what: str) -> CosaError:
    return CosaError("standin/control", what, exit_class=ExitClass.UNTRUSTED)
