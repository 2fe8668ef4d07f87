"""What decides a commit, as digests by name: known before anything is downloaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from cosa.compose import layers
from cosa.core import codeid, fs
from cosa.core.store import Json, step_id
from cosa.model.package import Package
from cosa.model.treefile import Treefile
from cosa.tools import ostree, programs

# Where the making of a commit begins; what they import counts as well.
_CODE = ("compose.engine", "compose.tasks")


def compose_inputs(
    tree: Treefile,
    packages: Sequence[Package],
    config: Path,
    *,
    overrides_rootfs: Path | None,
    extra_layers: Mapping[str, Path],
) -> dict[str, Json]:
    """Everything that decides the commit but version, time, metadata, parent.

    The names are for people: `package kernel`, `overlay.d/05core`, `file x.sh`. Values are
    digests, or objects of them, so that what changed can be said to the file and key.
    """
    inputs: dict[str, Json] = {
        f"package {package.name}": f"{package.evra} {package.digest}" for package in packages
    }
    inputs["treefile"] = _flat(tree)
    inputs["treefile variables"] = dict(tree.variables)
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
        inputs[layer.title] = layer_items(layer)
    inputs["tools"] = dict(tool_versions())
    inputs["code of cosa"] = codeid.modules_behind(*_CODE)
    return inputs


def input_digest(inputs: Mapping[str, Json]) -> str:
    """One value for all inputs: `rpmostree.inputhash` of the commit."""
    return step_id("compose", inputs)


def _flat(tree: Treefile) -> dict[str, Json]:
    """The flattened treefile: all of it is in the commit, as usr/share/rpm-ostree/treefile.json."""
    flat: dict[str, Json] = json.loads(tree.to_flat_json())
    return flat


def layer_items(layer: layers.Layer) -> dict[str, Json]:
    """A layer as it will be laid over the tree: by path its mode after normalising and content."""
    found: dict[str, Json] = {}
    for item in layers.items(layer):
        body = item.target or ("" if item.is_dir else fs.sha256_file(item.source))
        # A name need not be UTF-8, JSON has to be.
        name = item.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        target = body.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        found[name] = f"{item.mode:o} {target}".rstrip()
    return found


@cache
def tool_versions() -> dict[str, str]:
    """Versions of what is of the assembler and not of the tree."""
    import platform
    import sqlite3
    import zlib

    import rpm

    return {
        "ostree": ostree.version(),
        "rpm": str(rpm.__version__),
        "sqlite": sqlite3.sqlite_version,
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "libselinux": programs.library_digest("libselinux.so.1"),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    return f"{path.stat().st_mode & 0o111:o}:{fs.sha256_file(path)}"
