"""One treefile: read, checked, and brought to the form in which treefiles merge."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cosa.core import events
from cosa.core.errors import CosaError, Problems, Where
from cosa.model import document, explain
from cosa.model.document import Spot
from cosa.model.treefile_keys import (
    ALIASES,
    CLIENT_ONLY,
    FIELDS,
    KEYS,
    RESERVED,
    RESPELLED,
    RULES,
    CheckFile,
    CheckNone,
    ConditionalInclude,
    RepoPackages,
    Rojig,
    Rule,
    TreeConfig,
    Variable,
    kebab,
)

CODE = "treefile"
_ADD_FILES_BELOW = ("usr/", "etc/", "bin/", "sbin/", "lib/", "lib64/")
# What `container: true` and `edition: "2024"` set, whatever else their own file says.
_CONTAINER = {
    "boot_location": "modules",
    "selinux": False,
    "tmp_is_dir": True,
    "preserve_passwd": False,
    "check_passwd": CheckNone(type="none"),
    "check_groups": CheckNone(type="none"),
}
_RESPELLING = ("rpmdb", "opt_usrlocal")
_EDITION_2024 = {"boot_location": "modules", "tmp_is_dir": True}


@dataclass
class Layer:
    """A treefile ready to be merged: values by field, and files with their real paths.

    `origins` says where each value came from: by field, and for maps by field and key.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[tuple[str, ...], Where] = field(default_factory=dict)
    postprocess_script: Path | None = None
    add_files: dict[str, Path] = field(default_factory=dict)
    checks: dict[str, Path | None] = field(default_factory=dict)
    finalize_d: dict[str, Path] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class ReadFile:
    """A layer, and the keys that flattening consumes."""

    spot: Spot
    folder: Path
    layer: Layer
    variables: dict[str, Variable]
    include: str | tuple[str, ...] | None
    arch_include: Mapping[str, str | tuple[str, ...]]
    conditional_include: tuple[ConditionalInclude, ...]
    dropped: set[str]  # variables whose definition is wrong
    lenient: bool  # JSON: unknown keys are no error


def read(path: Path, basearch: str, problems: Problems) -> ReadFile | None:
    """One file; notes everything wrong with it, returns what could be used.

    Raises what `document.load` raises for a file that cannot be read at all.
    """
    if path.suffix == ".ks":
        fix = "list its packages in a treefile"
        what = "a kickstart file cannot be included"
        raise CosaError("treefile/kickstart", what, Where(str(path)), fix=fix)
    fmt: document.Format = "yaml" if path.name.endswith((".yaml", ".yml")) else "json"
    doc = document.load(path, fmt)
    spot = Spot(doc, (), CODE)
    if doc.value is not None and not isinstance(doc.value, dict):
        what = f"a treefile must be a mapping, not {explain.kind_of(doc.value)}"
        problems.add("treefile/wrong-type", what, spot.where())
        return None
    raw = doc.value or {}
    return _Reader(raw, spot, path.parent, basearch, problems, lenient=fmt == "json").file()


def read_inline(
    raw: dict[str, Any], above: ReadFile, index: int, problems: Problems, *, used: bool
) -> Layer:
    """The treefile that a file's conditional include number `index` holds in place of a path.

    rpm-ostree takes it as it stands: nothing is split or implied, and what
    only makes sense in a file of its own is lost, of which we warn. Files it
    names must exist only if it is `used`.
    """
    spot = above.spot.inside("conditional-include", index, "include")
    reader = _Reader(raw, spot, above.folder, "", problems, lenient=above.lenient)
    return reader.inline(used=used)


class _Reader:
    def __init__(
        self,
        raw: dict[str, Any],
        spot: Spot,
        folder: Path,
        basearch: str,
        problems: Problems,
        *,
        lenient: bool,
    ) -> None:
        self.raw, self.folder, self.basearch = raw, folder, basearch
        self.problems, self.lenient = problems, lenient
        self.dropped: set[str] = set()
        self.extra: dict[str, Any] = {}
        self.arch_packages: tuple[str, ...] = ()
        renamed = {ALIASES[k]: k for k, v in raw.items() if k in ALIASES and v is not None}
        self.spot = Spot(spot.doc, spot.keys, spot.code, renamed)

    def file(self) -> ReadFile:
        """A file of its own."""
        config = self._config(self._sort_keys(self.raw))
        if config.basearch not in (None, self.basearch):
            what = f"this is for {config.basearch}, but the compose is for {self.basearch}"
            fix = "an OS is composed on its own architecture only"
            self._note("basearch", what, "basearch", fix=fix)
        values = self._values(config)
        values["basearch"] = self.basearch
        if config.container:
            values |= _CONTAINER
        if config.edition == "2024":
            values |= _EDITION_2024
        values["packages"] = self._split(
            ("packages", config.packages),
            ("bootstrap-packages", config.bootstrap_packages),
            (f"packages-{self.basearch}", self.arch_packages),
        )
        values.pop("bootstrap_packages", None)
        if config.repo_packages is not None:
            values["repo_packages"] = tuple(
                RepoPackages(repo=one.repo, packages=self._split((index, one.packages)))
                for index, one in enumerate(config.repo_packages)
            )
        layer = self._layer(values, used=True)
        layer.finalize_d = _finalize_d(self.folder)
        layer.extra = self.extra
        return ReadFile(
            self.spot,
            self.folder,
            layer,
            self._variables(config),
            config.include,
            config.arch_include or {},
            config.conditional_include or (),
            dropped=self.dropped,
            lenient=self.lenient,
        )

    def inline(self, *, used: bool) -> Layer:
        """A treefile inside a conditional include."""
        nested = [k for k in ("include", "arch-include", "conditional-include") if k in self.raw]
        for name in nested:
            what = f"a treefile written in place cannot use {name!r}"
            fix = "put it into a file of its own and include that"
            self.problems.add("treefile/inline", what, self.spot.where_key(name), fix=fix)
        never = {*ALIASES, "variables", "platform-module"}
        lost = [k for k in self.raw if k in never or _is_arch_packages(k)]
        raw = {k: v for k, v in self.raw.items() if k not in (*nested, *lost)}
        values = self._values(self._config(self._sort_keys(raw)))
        for name in values.get("packages", ()):
            if used and (len(name.split()) > 1 or "'" in name):
                where = self.spot.where("packages")
                events.warn(
                    f"{where}: {name!r} is one name; it is not split in a treefile in place"
                )
        for key in lost if used else ():
            where = self.spot.where_key(key)
            events.warn(f"{where}: {key!r} has no effect in a treefile written in place")
        return self._layer(values, used=used)

    def _sort_keys(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The keys proper, under their own names; the others are noted or kept aside."""
        result: dict[str, Any] = {}
        for key, value in raw.items():
            name = ALIASES.get(key, key)
            if key in CLIENT_ONLY:
                if value is not None:
                    what = f"{key!r} is for client systems, not for a compose"
                    where = self.spot.where_key(key)
                    self.problems.add("treefile/client-only", what, where, fix="remove it")
            elif _is_arch_packages(key):
                self._sort_arch_packages(key, value)
            elif name not in KEYS and self.lenient:
                self.extra[key] = value
            elif result.get(name) is None:
                result[name] = value
            elif value is not None:
                what = f"{name!r} is set twice, once as {name.replace('-', '_')!r}"
                self.problems.add("treefile/both-forms", what, self.spot.doc.where_key(key))
        return _without_unknown(result) if self.lenient else result

    def _sort_arch_packages(self, key: str, value: object) -> None:
        if not isinstance(value, list):
            what = f"{key}: must be a list, not {explain.kind_of(value)}"
            self.problems.add("treefile/wrong-type", what, self.spot.where(key))
            return
        for index, name in enumerate(value):
            if not isinstance(name, str):
                what = f"{key}[{index + 1}]: must be a string, not {explain.kind_of(name)}"
                self.problems.add("treefile/wrong-type", what, self.spot.where(key, index))
        if key == f"packages-{self.basearch}":
            self.arch_packages = tuple(str(name) for name in value)

    def _config(self, written: dict[str, Any]) -> TreeConfig:
        """The keys as a model; wrong ones are noted and left out."""
        try:
            return TreeConfig.model_validate_json(json.dumps(written), strict=True)
        except ValidationError as err:
            self.problems.extend(explain.problems(err, TreeConfig, written, self.spot))
            bad = {str(item["loc"][0]) for item in err.errors()}
            self.dropped.update(bad & {"releasever"})
            if "variables" in bad and isinstance(written["variables"], dict):
                self.dropped.update(written["variables"])
            rest = {key: value for key, value in written.items() if key not in bad}
            return TreeConfig.model_validate_json(json.dumps(rest), strict=True)

    def _values(self, config: TreeConfig) -> dict[str, Any]:
        """What is set, by field, as it merges."""
        values = {f: v for f in FIELDS if (v := getattr(config, f)) is not None}
        for name, value in values.items():
            if RULES[name] is Rule.UNION:
                values[name] = tuple(sorted(set(value)))
            elif isinstance(value, str):
                values[name] = RESPELLED.get(value, value) if name in _RESPELLING else value
        for name in ("metadata", "add_commit_metadata"):
            for key, value in values.get(name, {}).items():
                if not _numbers_fit(value):
                    what = "a number does not fit into 64 bits"
                    self._note("wrong-value", what, name.replace("_", "-"), key)
        return values

    def _variables(self, config: TreeConfig) -> dict[str, Variable]:
        variables: dict[str, Variable] = dict(config.variables or {})
        for key, names in (("variables", variables), ("repovars", config.repovars or {})):
            for name in RESERVED:
                if name in names:
                    what = f"{key}: {name!r} is set automatically"
                    fix = "set the key releasever" if name == "releasever" else "remove it"
                    self._note("reserved-variable", what, key, name, fix=fix)
        for name, value in variables.items():
            for text in (name, value):
                if isinstance(text, str) and set(text) & set("${}"):
                    what = f"{text!r}: '$', '{{' and '}}' cannot be part of a variable"
                    self._note("bad-variable", what, "variables", name)
        variables["basearch"] = self.basearch
        if config.releasever is not None:
            variables["releasever"] = config.releasever
        return variables

    def _split(self, *lists: tuple[str | int, tuple[str, ...] | None]) -> tuple[str, ...]:
        """Sorted names, split at spaces except inside single quotes.

        Each list goes with its key, or its number in repo-packages.
        """
        result: set[str] = set()
        for key, names in lists:
            at = ("repo-packages", key, "packages") if isinstance(key, int) else (key,)
            for index, name in enumerate(names or ()):
                pieces = name.split("'")
                if len(pieces) % 2 == 0:
                    self._note("quote", f"{name!r} lacks its closing quote", *at, index)
                result.update(word for piece in pieces[::2] for word in piece.split())
                result.update(pieces[1::2])
        return tuple(sorted(result))

    def _layer(self, values: dict[str, Any], *, used: bool) -> Layer:
        layer = Layer({f: v for f, v in values.items() if RULES[f] is not Rule.CONSUMED})
        for name, value in layer.values.items():
            key = kebab(name)
            layer.origins[name,] = self.spot.where(key)
            inner = Rojig.model_fields if isinstance(value, Rojig) else value
            for part in inner if isinstance(inner, dict) else ():
                layer.origins[name, part] = self.spot.where(key, part)
        self._check_paths(layer.values)
        if used:
            self._externals(layer)
        return layer

    def _check_paths(self, values: Mapping[str, Any]) -> None:
        for index, (_, dest) in enumerate(values.get("add_files", ())):
            below = dest.lstrip("/")
            local = below.startswith("usr/local/")
            if local or not below.startswith(_ADD_FILES_BELOW) or ".." in below.split("/"):
                what = f"files cannot be added at {dest!r}"
                fix = "below /usr (but not /usr/local) or /etc"
                self._note("add-files", what, "add-files", index, 1, fix=fix)
        for index, name in enumerate(values.get("remove_files", ())):
            if name.startswith("/") or ".." in name.split("/") or not name:
                what = f"{name!r} is not a path relative to the tree"
                fix = f"write {name.lstrip('/')}" if name.startswith("/") else ""
                self._note("remove-files", what, "remove-files", index, fix=fix)

    def _externals(self, layer: Layer) -> None:
        """The files a treefile names, relative to its own folder."""
        values = layer.values
        if "postprocess_script" in values:
            script = self._file(values["postprocess_script"], "postprocess-script")
            if script and not os.access(script, os.X_OK):
                what, fix = f"{script} is not executable", f"chmod +x {script}"
                self._note("not-executable", what, "postprocess-script", fix=fix)
            layer.postprocess_script = script
        for index, (name, _) in enumerate(values.get("add_files", ())):
            source = self._file(name, "add-files", index, 0)
            if source:
                layer.add_files[name] = source
        for name in ("check_passwd", "check_groups"):
            check = values.get(name)
            if isinstance(check, CheckFile):
                layer.checks[name] = self._file(check.filename, kebab(name), "filename")

    def _file(self, name: str, *keys: str | int) -> Path | None:
        path = self.folder / name
        if path.is_file():
            return path
        self._note("missing-file", f"there is no file {path}", *keys)
        return None

    def _note(self, code: str, what: str, *keys: str | int, fix: str = "") -> None:
        self.problems.add(f"treefile/{code}", what, self.spot.where(*keys), fix=fix)


def _is_arch_packages(key: str) -> bool:
    return key.startswith("packages-") and key not in CLIENT_ONLY


def _numbers_fit(value: object) -> bool:
    """Whether all whole numbers fit into 64 bits, signed or unsigned."""
    match value:
        case dict():
            return all(map(_numbers_fit, value.values()))
        case list():
            return all(map(_numbers_fit, value))
        case int():
            return -(2**63) <= value < 2**64
        case _:
            return True


def _finalize_d(folder: Path) -> dict[str, Path]:
    """Executable files in `finalize.d` beside a treefile."""
    place = folder / "finalize.d"
    if not place.is_dir():
        return {}
    return {p.name: p for p in place.iterdir() if p.is_file() and p.stat().st_mode & 0o100}


def _without_unknown(value: dict[str, Any]) -> dict[str, Any]:
    """JSON's leniency for the mappings inside a treefile."""
    result = dict(value)
    if isinstance(value.get("rojig"), dict):
        result["rojig"] = {k: v for k, v in value["rojig"].items() if k in Rojig.model_fields}
    for key, known in (
        ("repo-packages", ("repo", "packages")),
        ("conditional-include", ("if", "include")),
    ):
        if isinstance(value.get(key), list):
            result[key] = [
                {k: v for k, v in one.items() if k in known} if isinstance(one, dict) else one
                for one in value[key]
            ]
    for key in ("check-passwd", "check-groups"):
        if isinstance(value.get(key), dict):
            wanted = {"file": "filename", "data": "entries"}.get(str(value[key].get("type")))
            result[key] = {k: v for k, v in value[key].items() if k in ("type", wanted)}
    return result
