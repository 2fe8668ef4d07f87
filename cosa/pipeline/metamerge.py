"""Adding to the meta.json of a published build: locked, merged, checked, replaced as one instant.

Several processes may add to one build, on several machines: the lock is the kernel's on
`.meta.json.lock`, which NFS carries too and which dies with its holder, and a state read
before somebody else wrote is merged (`Meta.merge`), never put over theirs.

A build made with `--delay-meta-merge` is added to without waiting for each other: every
artefact is noted in a `meta.ARTEFACT.json` of its own until `finalize` joins them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass, Problems, Where
from cosa.model import jsonschema, schemas
from cosa.model.meta import DELAYED, STAMP, Meta

FILE = "meta.json"
_LOCK = ".meta.json.lock"
_ARTEFACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_OFF = ("none", "false")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a build's metadata; what a killed writer left is swept away."""
    with store.lock(folder / _LOCK, "a change of meta.json", wait=True):
        fs.sweep_files(folder)
        yield


def save(folder: Path, meta: Meta, artefact: str = "", *, validate: bool = True) -> Path:
    """Bring metadata that was read from a build's folder, and changed since, back; the file.

    `artefact` names what the change is about: in a build with delayed merge it then goes to
    `meta.ARTEFACT.json`. Raises `meta/conflict`, `meta/invalid`.
    """
    with locked(folder):
        before = Meta.read(folder / FILE)
        if before.is_delayed and artefact:
            target = artefact_file(folder, artefact)
            after = _after(Meta.read(target), meta) if target.exists() else meta
        else:
            target, after = folder / FILE, before.merge(meta)
        if validate:
            check(after.to_json(), before.to_json(), str(target))
        after.write(target)
    return target


def change(
    folder: Path,
    edit: Callable[[dict[str, Any]], object],
    artefact: str = "",
    *,
    validate: bool = True,
) -> Path:
    """Change a build's metadata by a function that edits its keys in place; the file."""
    data = read(folder, artefact).to_json()
    edit(data)
    return save(folder, Meta.of(data), artefact, validate=validate)


def finalize(folder: Path, *, keep: bool = False, validate: bool = True) -> list[str]:
    """Join all `meta.ARTEFACT.json` into meta.json; their names, oldest first.

    The build is no longer one with delayed merge then; one that was none is left alone.
    Killed in between, it starts over and ends the same. Raises `meta/conflict`, `meta/invalid`;
    nothing is changed then.
    """
    with locked(folder):
        before = Meta.read(folder / FILE)
        if not before.is_delayed:
            return []
        parts = {path: Meta.read(path) for path in sorted(folder.glob("meta.*.json"))}
        order = sorted(parts, key=lambda path: parts[path].stamp)
        problems = Problems()
        after = before
        for path in order:
            try:
                after = after.merge(parts[path])
            except CosaError as err:
                problems.add(err.code, err.what, Where(str(path)), why=err.why, fix=err.fix)
        problems.raise_if_any("the artefacts' metadata cannot be joined")
        after = Meta.of(after.to_json() | {DELAYED: False})
        if validate:
            check(after.to_json(), before.to_json(), str(folder / FILE))
        after.write(folder / FILE)
        if not keep:
            for path in order:
                path.unlink()
        return [path.name for path in order]


def read(folder: Path, artefact: str = "") -> Meta:
    """A build's metadata; with `artefact` also what is noted of it and not yet merged."""
    meta = Meta.read(folder / FILE)
    extra = artefact_file(folder, artefact) if artefact and meta.is_delayed else None
    return meta.merge(Meta.read(extra)) if extra and extra.exists() else meta


def _after(noted: Meta, meta: Meta) -> Meta:
    """What is noted of an artefact with a later change, whatever state that started from."""
    if meta.stamp == noted.stamp:
        return meta
    return noted.merge(Meta.of(meta.to_json() | {STAMP: max(meta.stamp, noted.stamp) + 1}))


def artefact_file(folder: Path, artefact: str) -> Path:
    """`meta.ARTEFACT.json`. Raises `usage/artefact` for a name that is no file name."""
    if not _ARTEFACT.fullmatch(artefact):
        raise CosaError(
            "usage/artefact", f"'{artefact}' cannot be the name of an artefact",
            fix="letters, digits and . _ + - only", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return folder / f"meta.{artefact}.json"


def check(data: Mapping[str, Any], before: Mapping[str, Any], name: str) -> None:
    """Refuse what the schema of meta.json does not allow. Raises `meta/invalid`.

    The schema is ours, or the one COSA_META_SCHEMA names (`none`: no check). What was wrong
    in the state `before` is not this change's fault: another tool's keys stay.
    """
    schema = _schema()
    if schema is None:
        return
    known = set(jsonschema.findings(before, schema))
    problems = Problems()
    for place, what in jsonschema.findings(data, schema):
        if (place, what) not in known:
            problems.add(
                "meta/invalid", f"'{place}' {what}", Where(name),
                fix="correct it, or use --skip-validation if you know better",
            )  # fmt: skip
    problems.raise_if_any("this would not be a valid meta.json")


def _schema() -> Mapping[str, Any] | None:
    chosen = os.environ.get("COSA_META_SCHEMA", "")
    if chosen.lower() in _OFF:
        return None
    if not chosen:
        return schemas.SCHEMAS["meta"]()
    path = Path(chosen)
    if not path.is_file():
        # Upstream's own place for it, in environments made for upstream.
        events.note(f"COSA_META_SCHEMA names {path}, which is not here; cosa's own schema is used")
        return schemas.SCHEMAS["meta"]()
    return jsonschema.load(path)
