"""What decides a commit, as digests by name: known before anything is downloaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from cosa.compose import layers
from cosa.core import fs
from cosa.core.store import Json, step_id
from cosa.model.package import Package
from cosa.model.treefile import Treefile
from cosa.tools import ostree

# Our own code that a commit comes from; where it changes, the result may.
_CODE = ("core", "model", "tools", "compose")


def compose_inputs(
    tree: Treefile,
    packages: Sequence[Package],
    config: Path,
    *,
    overrides_rootfs: Path | None,
    extra_layers: Mapping[str, Path],
) -> dict[str, Json]:
    """Name to digest of everything that decides the commit but version, time, metadata, parent.

    The names are for people: `package kernel`, `overlay.d/05core`, `file x.sh`.
    """
    inputs: dict[str, Json] = {
        f"package {package.name}": f"{package.evra} {package.digest}" for package in packages
    }
    inputs["treefile"] = _digest(_flat(tree))
    inputs["treefile variables"] = _digest(json.dumps(dict(tree.variables), sort_keys=True))
    for source, dest in tree.add_files:
        # One source may be a folder; and the same file may go to two places.
        inputs[f"add-files {dest}"] = fs.tree_digest(source)
    for number, script in enumerate(tree.finalize_d):
        inputs[f"finalize.d {number} {script.name}"] = _file_digest(script)
    if tree.postprocess_script:
        inputs["postprocess-script"] = _file_digest(tree.postprocess_script)
    for key, check in (("check-passwd", tree.check_passwd), ("check-groups", tree.check_groups)):
        if check.path:
            inputs[f"{key} {check.path.name}"] = _file_digest(check.path)
    for layer in layers.of_treefile(tree, config, extra_layers, overrides_rootfs):
        inputs[layer.title] = layer_digest(layer)
    inputs["tools"] = _digest(json.dumps(tool_versions(), sort_keys=True))
    inputs["cosa"] = code_digest()
    return inputs


def input_digest(inputs: Mapping[str, Json]) -> str:
    """One value for all inputs: `rpmostree.inputhash` of the commit."""
    return step_id("compose", inputs)


def _flat(tree: Treefile) -> str:
    """The flattened treefile without what does not reach the commit."""
    flat = json.loads(tree.to_flat_json())
    flat.pop("metadata", None)
    # What the automatic version is made from; the version itself is not an input.
    flat.pop("automatic-version-prefix", None)
    return json.dumps(flat, sort_keys=True)


def layer_digest(layer: layers.Layer) -> str:
    """A layer as it will be laid over the tree: paths, modes after normalising, content."""
    digest = hashlib.sha256()
    for item in layers.items(layer):
        body = item.target or ("" if item.is_dir else fs.sha256_file(item.source))
        digest.update(f"{item.path}\0{item.mode:o}\0{body}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@cache
def tool_versions() -> dict[str, str]:
    """Versions of what is of the assembler and not of the tree."""
    import sqlite3

    import rpm

    return {
        "ostree": ostree.version(),
        "rpm": str(rpm.__version__),
        "sqlite": sqlite3.sqlite_version,
    }


@cache
def code_digest() -> str:
    """Our own code, as far as a compose runs it."""
    top = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((top / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(top)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    return f"{path.stat().st_mode & 0o111:o}:{fs.sha256_file(path)}"
