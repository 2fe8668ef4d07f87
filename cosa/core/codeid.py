"""Which of our own modules a result may come from, found by following their imports.

A list kept by hand would miss the module somebody adds tomorrow; all of cosa would make a new
build for every change of a help text. So the sources are read: what a module imports, also
inside functions, and the worker tasks it names as `"module:function"`, counts as well.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import cosa

_ROOT = Path(cosa.__file__).parent
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(cosa[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)"
    rb"|import[ \t]+(cosa[\w.]+))",
    re.MULTILINE,
)
_TASK = re.compile(rb'"([a-z_]+):[a-z_]+"')


@cache
def modules_behind(*roots: str) -> dict[str, str]:
    """Path below cosa/ to hex sha256 for `roots` (`compose.native`) and all they import, sorted."""
    found: dict[str, str] = {}
    waiting = [_file(root) for root in roots]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(_ROOT).as_posix()
        if name not in found:
            text = path.read_bytes()
            found[name] = hashlib.sha256(text).hexdigest()
            waiting += _imported(path, text)
    return dict(sorted(found.items()))


def _file(module: str) -> Path:
    path = _ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported(path: Path, text: bytes) -> list[Path]:
    names: list[str] = []
    for package, what, module in _IMPORT.findall(text):
        if module:
            names.append(module.decode())
            continue
        names.append(package.decode())
        # What is imported may be a module itself, or something out of one.
        words = re.sub(rb"#[^\n]*", b"", what.strip(b"()")).split(b",")
        names += [
            f"{package.decode()}.{word.split()[0].decode()}" for word in words if word.split()
        ]
    names += [f"cosa.{path.parent.name}.{task.decode()}" for task in _TASK.findall(text)]
    paths = [_file(name.removeprefix("cosa").lstrip(".")) for name in names]
    return [found for found in paths if found.is_file()]
