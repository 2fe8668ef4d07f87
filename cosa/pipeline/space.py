"""How much room a build needs, from sizes that are known, before anything is begun.

What was built here before tells what will come out and how far packages unpack; only the first
build has to go by factors, which were measured on the stand-in OS and rounded up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.compose import translate
from cosa.compose.fetch import missing_size
from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.model.meta import Meta
from cosa.model.package import Package

# Bytes on disk for each byte of a packed RPM. Of 187 MiB came: the package cache 500 MiB, the
# repository 579, the archive 240, the qcow2 601, and for a while the raw disk, as large.
_UNPACKED, _COMMIT = 3.0, 3.2
_ARTEFACTS = {"ostree": 1.5, "raw": 3.5, "other": 3.5}
# Whatever the content: metadata of ostree and of file systems, a boot partition.
_METADATA = 32 << 20


@dataclass(frozen=True)
class Need:
    """Room for one purpose: how many bytes, on the file system of which folder."""

    purpose: str
    folder: Path
    size: int


def needs(
    packages: Sequence[Package],
    targets: Sequence[str],
    *,
    tmp: Path,
    cache: Path,
    pkgcache: Path,
    before: Meta | None,
) -> list[Need]:
    """What a build of `packages` will take. `tmp` and `pkgcache` are the working directory's.

    `before` is the metadata of the latest build, of which the new one's files will not be far.
    """
    packed = sum(package.size for package in packages)
    fresh = sum(package.size for package in packages if not _imported(pkgcache, package))
    made = [Need("packages to download", cache, missing_size(packages, cache))]
    made.append(Need("packages to unpack", pkgcache, int(fresh * _UNPACKED)))
    made.append(Need("the commit", tmp, int(max(fresh, packed // 20) * _COMMIT) + _METADATA))
    sizes = {name: image.size or 0 for name, image in before.images.items()} if before else {}
    files = sum(
        int(sizes[name] * 1.1) if sizes.get(name) else int(packed * _factor(name))
        for name in targets
    )
    made.append(Need(f"{', '.join(targets)}", tmp, files))
    if any(name != "ostree" for name in targets):
        made.append(Need("the raw disk, for a while", tmp, int(packed * _ARTEFACTS["raw"])))
    return made


def _factor(target: str) -> float:
    return _ARTEFACTS.get(target, _ARTEFACTS["other"])


def _imported(pkgcache: Path, package: Package) -> bool:
    ref = translate.ref_name(package.name, package.evr, package.arch)
    return (pkgcache / "refs/heads" / ref).exists()


def check(found: Sequence[Need], freeable: Callable[[], Sequence[str]]) -> None:
    """Compare with what is free, each file system once.

    Raises `env/disk-full` saying what is needed for what, what there is, and what `freeable()`
    says would make room.
    """
    by_device: dict[int, list[Need]] = {}
    for need in found:
        by_device.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    for group in by_device.values():
        folder = min((_existing(need.folder) for need in group), key=lambda path: len(path.parts))
        usage = os.statvfs(folder)
        free = usage.f_bavail * usage.f_frsize
        total = sum(need.size for need in group)
        if free < total:
            parts = [f"{fs.mib(need.size)} for {need.purpose}" for need in group if need.size]
            ways = [f"{way}, or" for way in freeable()]
            raise CosaError(
                "env/disk-full",
                f"the build needs {fs.mib(total)} below {folder}, only {fs.mib(free)} are free",
                why="; ".join(parts),
                fix="\n".join([*ways, "choose another place with --workdir"]),
                exit_class=ExitClass.ENVIRONMENT,
            )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
