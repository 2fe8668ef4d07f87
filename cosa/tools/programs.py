"""Which program, exactly: for steps whose bytes are made by programs of the assembler.

A version alone is not enough (a distribution's patch changes none), a digest alone says nothing
to people, and neither of a program tells of the libraries that do its work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from cosa.core import fs, run

# Asked for its version; all others answer to --version.
_OPTION = {"mke2fs": "-V", "debugfs": "-V", "mkfs.fat": "--help"}
# Libraries that decide what a program writes, by the names the loader knows them by.
_LIBRARIES = {
    "mke2fs": ("libext2fs.so.2", "libarchive.so.13"),
    "debugfs": ("libext2fs.so.2",),
}
_FOLDERS = ("/usr/lib64", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
_VERSION = re.compile(r"\d+\.\d+[\w.+~-]*")


def identities(names: Iterable[str], memory: Path | None = None) -> dict[str, str]:
    """For each program `VERSION sha256:DIGEST` of it and its libraries; `absent` without one.

    `memory` is a file that keeps the answers for as long as the files stay the same: asking a
    program for its version takes far longer than looking at its file.
    """
    wanted = {name: shutil.which(name) for name in names}
    known = _remembered(memory)
    keys = {name: _key(name, path) for name, path in wanted.items() if path}
    missing = [name for name, key in keys.items() if key not in known]
    with ThreadPoolExecutor(4) as pool:
        fresh = pool.map(lambda name: _identity(name, str(wanted[name])), missing)
        known |= {keys[name]: identity for name, identity in zip(missing, fresh, strict=True)}
    if memory and missing:
        # A read-only cache costs time, no more.
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            fs.atomic_write(memory, json.dumps(known, indent=1, sort_keys=True))
    return {name: known[keys[name]] if name in keys else "absent" for name in wanted}


def _remembered(memory: Path | None) -> dict[str, str]:
    try:
        found = json.loads(memory.read_bytes()) if memory else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(name: str, path: str) -> str:
    """A program's and its libraries' files as the kernel knows them."""
    parts = [name]
    for file in (Path(path).resolve(), *filter(None, map(_library, _LIBRARIES.get(name, ())))):
        info = file.stat()
        parts.append(f"{file} {info.st_size} {info.st_mtime_ns} {info.st_ino}")
    return "; ".join(parts)


def _identity(name: str, path: str) -> str:
    digest = hashlib.sha256(fs.sha256_file(Path(path).resolve()).encode())
    for library in _LIBRARIES.get(name, ()):
        digest.update(f"{library} {library_digest(library)}".encode())
    return f"{_version(path, name)} sha256:{digest.hexdigest()}"


@cache
def library_digest(soname: str) -> str:
    """Hex sha256 of a shared library, or `absent`."""
    path = _library(soname)
    return fs.sha256_file(path) if path else "absent"


def _library(soname: str) -> Path | None:
    found = (Path(folder, soname) for folder in _FOLDERS)
    return next((path.resolve() for path in found if path.is_file()), None)


def _version(path: str, name: str) -> str:
    result = run.run([path, _OPTION.get(name, "--version")], check=False, timeout=20)
    found = _VERSION.search(f"{result.out}\n{result.err}")
    return found.group() if found else "unknown"
