"""The JSON Schemas cosa publishes: one per file format, made from its model.

`docs/schemas/` holds them; `cosa schema --write docs/schemas` renews them, `--check`
(and a unit test) finds those that are not what the models say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosa.core import fs
from cosa.model import jsonschema


def _meta() -> dict[str, Any]:
    from cosa.model.meta_keys import MetaKeys

    made = jsonschema.of_model(MetaKeys)
    # Upstream's pipelines read the list of keys that need not be there.
    made["optional"] = [key for key in made["properties"] if key not in made["required"]]
    return made


def _builds() -> dict[str, Any]:
    from cosa.model.builds import Builds

    return jsonschema.of_model(Builds)


def _commitmeta() -> dict[str, Any]:
    from cosa.model.commitmeta import CommitMeta

    return jsonschema.of_model(CommitMeta)


def _lockfile() -> dict[str, Any]:
    from cosa.model.lockfile import Lockfile

    return jsonschema.of_model(Lockfile)


def _overrides() -> dict[str, Any]:
    from cosa.model.lockfile_overrides import Overrides

    return jsonschema.of_model(Overrides)


def _image() -> dict[str, Any]:
    from cosa.model.imagespec import ImageFile

    return jsonschema.of_model(ImageFile)


def _treefile() -> dict[str, Any]:
    from cosa.model.treefile_keys import TreeConfig

    made = jsonschema.of_model(TreeConfig)
    keys = made["properties"]
    # What the reader replaces before the model sees it.
    for name in ("gpg-key", "boot-location", "default-target", "automatic-version-prefix"):
        keys[name.replace("-", "_")] = keys[name]
    made["patternProperties"] = {"^packages-[a-z0-9_]+$": keys["packages"]}
    return made


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "meta": _meta,
    "builds": _builds,
    "commitmeta": _commitmeta,
    "lockfile": _lockfile,
    "lockfile-overrides": _overrides,
    "image": _image,
    "treefile": _treefile,
}


def text(name: str) -> str:
    """The schema of a format, as it is published."""
    return json.dumps(SCHEMAS[name](), indent=2) + "\n"


def stale(folder: Path) -> list[str]:
    """The files of a folder of published schemas that are missing, old, or of no format."""
    wanted = {f"{name}.json": text(name) for name in SCHEMAS}
    there = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))


def write(folder: Path) -> list[str]:
    """Renew a folder of published schemas; the names of the files that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = stale(folder)
    for name in changed:
        stem = name.removesuffix(".json")
        if stem in SCHEMAS:
            fs.atomic_write(folder / name, text(stem))
        else:
            (folder / name).unlink()
    return changed
