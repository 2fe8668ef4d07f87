"""What an external test says about itself: a block in its head, or kola.json beside it.

Two spellings in the test: `# kola: {...}`, one line of JSON, or `## kola:` and
after it lines starting `## `, read as YAML. Keys are those of upstream's kola
and nothing else: a word nobody knows is an error of that test, not a setting
that silently does nothing.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from cosa.core.errors import CosaError, Where
from cosa.kola.spec import parse_disk

HEAD = 8192  # bytes in which the block must start
_JSON, _YAML, _LINE = "# kola:", "## kola:", "## "
_GRACE = dt.timedelta(days=30)  # a new test's failures are warnings for so long


@dataclass(frozen=True)
class Limit:
    """Names a test is for, or (`negated`) not for; without names it is for all."""

    names: tuple[str, ...] = ()
    negated: bool = False

    def allows(self, name: str) -> bool:
        """Is the test for `name`."""
        return not self.names or (name in self.names) is not self.negated

    @classmethod
    def parse(cls, text: str) -> Limit:
        """`a b`, or `!a b`: a leading `!` negates the whole list."""
        text = text.strip()
        negated = text.startswith("!")
        return cls(tuple(text.removeprefix("!").split()), negated)


@dataclass(frozen=True)
class Metadata:
    """All keys, by upstream's names in our spelling. Sizes: MiB of memory, GiB of disk."""

    architectures: Limit = Limit()
    platforms: Limit = Limit()
    distros: Limit = Limit()
    tags: tuple[str, ...] = ()
    required_tag: str = ""
    description: str = ""
    creation_date: str = ""
    exclusive: bool = True
    conflicts: tuple[str, ...] = ()
    timeout_min: int = 0
    additional_disks: tuple[str, ...] = ()
    primary_disk: str = ""
    min_memory: int = 0
    min_disk: int = 0
    numa_nodes: bool = False
    additional_nics: int = 0
    append_kernel_args: str = ""
    append_firstboot_kernel_args: str = ""
    bind_mount_host_ro: tuple[str, ...] = ()
    boot_from: str = ""
    inject_container: bool = False
    required_host_ports: tuple[int, ...] = ()
    allow_config_warnings: bool = False
    no_instance_creds: bool = False
    instance_type: str = ""

    def is_new(self, today: dt.date) -> bool:
        """Is the test so young that its failures only warn."""
        if not self.creation_date:
            return False
        return today < dt.date.fromisoformat(self.creation_date) + _GRACE

    def machine_options(self) -> list[str]:
        """Keys given that ask for a machine of the test's own."""
        return [key for key, name in _MACHINE.items() if getattr(self, name) != _default(name)]


_MACHINE = {
    "additionalDisks": "additional_disks", "primaryDisk": "primary_disk",
    "minMemory": "min_memory", "minDisk": "min_disk", "numaNodes": "numa_nodes",
    "additionalNics": "additional_nics", "appendKernelArgs": "append_kernel_args",
    "appendFirstbootKernelArgs": "append_firstboot_kernel_args",
    "bindMountHostRO": "bind_mount_host_ro", "bootFrom": "boot_from",
    "injectContainer": "inject_container", "requiredHostPorts": "required_host_ports",
    "noInstanceCreds": "no_instance_creds", "instanceType": "instance_type",
}  # fmt: skip
_OTHERS = {
    "architectures": "architectures", "platforms": "platforms", "distros": "distros",
    "tags": "tags", "requiredTag": "required_tag", "description": "description",
    "creationDate": "creation_date", "exclusive": "exclusive", "conflicts": "conflicts",
    "timeoutMin": "timeout_min", "allowConfigWarnings": "allow_config_warnings",
}  # fmt: skip
KEYS: Mapping[str, str] = _OTHERS | _MACHINE
# Go's decoder, which set the habit, does not mind the case of keys.
_BY_LOWER = {key.lower(): key for key in KEYS}
_DEFAULTS = Metadata()


def _default(name: str) -> object:
    return getattr(_DEFAULTS, name)


def read(executable: Path, beside: Path | None = None) -> Metadata:
    """A test's metadata: its own block, else the file `beside` (kola.json), else the defaults.

    Raises `kola/metadata` with the place of what is wrong.
    """
    own = from_test(executable.read_bytes(), str(executable))
    if own is not None:
        return own
    return from_json(beside.read_text("utf-8"), str(beside)) if beside else Metadata()


def from_test(content: bytes, name: str) -> Metadata | None:
    """The metadata in a test's head; None if it has none there."""
    lines = content.decode("latin-1").split("\n")
    size = 0
    for number, line in enumerate(lines, 1):
        if size >= HEAD:
            return None
        size += len(line) + 1
        if line.startswith(_JSON):
            text = line.removeprefix(_JSON).encode("latin-1").decode("utf-8", "replace")
            return from_json(text, name, number)
        if line.startswith(_YAML):
            return _from_block(lines[number:], name, number)
    return None


def _from_block(lines: list[str], name: str, number: int) -> Metadata:
    block = []
    for offset, words in enumerate(lines):
        if words.startswith((_YAML, _JSON)):
            raise _bad("a second block of metadata", Where(name, number + 1 + offset))
        if not words.startswith(_LINE):
            break
        block.append(words.removeprefix(_LINE))
    text = "\n".join(block).encode("latin-1").decode("utf-8", "replace")
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as err:
        mark = getattr(err, "problem_mark", None)
        line = number + 1 + (mark.line if mark else 0)
        why = getattr(err, "problem", None) or str(err)
        raise _bad(f"not YAML: {why}", Where(name, line)) from err
    places: dict[str, int] = {}
    for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        line = number + 1 + key_node.start_mark.line
        if key_node.value in places:
            raise _bad(f"the key '{key_node.value}' is there twice", Where(name, line))
        places[key_node.value] = line
    return from_mapping(values if values is not None else {}, name, places)


def from_json(text: str, name: str, line: int = 0) -> Metadata:
    """Metadata from one JSON value; what may follow it is ignored, as upstream does."""
    try:
        values, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except json.JSONDecodeError as err:
        raise _bad(f"not JSON: {err.msg}", Where(name, line or err.lineno, err.colno)) from err
    return from_mapping(values, name, {}, line)


def from_mapping(values: Any, name: str, places: Mapping[str, int], line: int = 0) -> Metadata:
    """Check keys and types; `places` are the lines of keys, `line` that of all others."""
    if not isinstance(values, Mapping):
        raise _bad("metadata are keys with values", Where(name, line))
    found: dict[str, Any] = {}
    for given, value in values.items():
        where = Where(name, places.get(str(given), line))
        key = _BY_LOWER.get(str(given).lower())
        if key is None:
            raise _bad(f"unknown key '{given}'", where, f"known are {', '.join(sorted(KEYS))}")
        if value is not None:
            found[KEYS[key]] = _value(key, value, where)
    meta = Metadata(**found)
    _check(meta, Where(name, line or min(places.values(), default=0)))
    return meta


def _value(key: str, value: Any, where: Where) -> Any:
    default = _default(KEYS[key])
    if isinstance(value, dt.date) and key == "creationDate":
        value = value.isoformat()
    if isinstance(default, bool):
        return _typed(key, value, bool, "true or false", where)
    if isinstance(default, int):
        return _count(key, value, where)
    if key == "requiredHostPorts":
        ports = _typed(key, value, list, "a list", where)
        return tuple(_count(key, port, where) for port in ports)
    if key == "tags":
        return tuple(_typed(key, value, str, "words in one string", where).split())
    if isinstance(default, tuple):
        items = _typed(key, value, list, "a list", where)
        return tuple(_typed(key, item, str, "a list of strings", where) for item in items)
    text = _typed(key, value, str, "a string", where)
    return Limit.parse(text) if isinstance(default, Limit) else text


def _typed(key: str, value: Any, kind: type[Any], words: str, where: Where) -> Any:
    if not isinstance(value, kind):
        raise _bad(f"{key}: {value!r} is not {words}", where)
    return value


def _count(key: str, value: Any, where: Where) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _bad(f"{key}: {value!r} is not a whole number", where)
    return value


def _check(meta: Metadata, where: Where) -> None:
    if meta.exclusive and meta.conflicts:
        raise _bad("conflicts is for tests with 'exclusive: false'", where)
    if not meta.exclusive and (options := meta.machine_options()):
        raise _bad(
            f"'exclusive: false' shares a machine, so it cannot ask for {', '.join(options)}", where
        )
    if meta.creation_date and not re.fullmatch(r"\d{4}-\d\d-\d\d", meta.creation_date):
        raise _bad(f"creationDate: '{meta.creation_date}' is not YYYY-MM-DD", where)
    if meta.creation_date:
        try:
            dt.date.fromisoformat(meta.creation_date)
        except ValueError as err:
            raise _bad(f"creationDate: {err}", where) from err
    if meta.boot_from not in ("", "iso", "iso-as-disk"):
        raise _bad(f"bootFrom: '{meta.boot_from}' is neither iso nor iso-as-disk", where)
    if any(not 0 < port < 65536 for port in meta.required_host_ports):
        raise _bad("requiredHostPorts: a port is between 1 and 65535", where)
    for mount in meta.bind_mount_host_ro:
        if not re.fullmatch(r"[^,]+,/[^,]*", mount):
            raise _bad(f"bindMountHostRO: '{mount}' is not SOURCE,/DESTINATION", where)
    for disk in filter(None, (*meta.additional_disks, meta.primary_disk)):
        try:
            parse_disk(disk)
        except CosaError as err:
            raise _bad(f"{err.what}: {err.why}", where) from err
    for disk in meta.additional_disks:
        if disk.startswith(":"):
            raise _bad(f"additionalDisks: '{disk}' has no size", where)


def _bad(why: str, where: Where, fix: str = "") -> CosaError:
    return CosaError("kola/metadata", why, where, fix=fix)


# A key without a field, or the other way round, would be a key that does nothing.
assert set(KEYS.values()) == {field.name for field in fields(Metadata)}
