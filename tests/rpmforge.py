"""RPMs made in a millisecond each by our own writer: true headers, next to no content.

For tests in which names, versions and dependencies matter: hundreds of packages, indexed by
createrepo_c like any others.
"""

from __future__ import annotations

import functools
import io
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cosa.model.package import split_evr
from cosa.standin.openpgp import SigningKey
from cosa.standin.rpmwriter import (
    EQUAL,
    GREATER,
    LESS,
    Dependency,
    File,
    Payload,
    Spec,
    write,
)

EPOCH = 1_700_000_000
_FLAGS = {
    "=": EQUAL, ">": GREATER, "<": LESS, ">=": GREATER | EQUAL, "<=": LESS | EQUAL,
}  # fmt: skip


@dataclass(frozen=True)
class Rpm:
    """What a forged RPM says. `files` are absolute paths; their content is their name."""

    name: str
    evr: str = "1-1"
    arch: str = "noarch"
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    posttrans: str = ""


@functools.cache
def key() -> SigningKey:
    return SigningKey(b"cosa-tests" + bytes(22), EPOCH)


def forge(folder: Path, rpm: Rpm) -> Path:
    """Write one RPM; its path."""
    epoch, version, release = split_evr(rpm.evr)
    own = Dependency(rpm.name, EQUAL, rpm.evr)
    spec = Spec(
        name=rpm.name, epoch=int(epoch), version=version, release=release, arch=rpm.arch,
        summary=f"{rpm.name}, forged", description="For tests.", license="MIT", group="x",
        url="", packager="", vendor="", build_time=EPOCH,
        source_rpm=f"{rpm.name}-{version}-{release}.src.rpm",
        requires=dependencies(rpm.requires), provides=[own, *dependencies(rpm.provides)],
        recommends=dependencies(rpm.recommends), conflicts=dependencies(rpm.conflicts),
        scripts={"posttrans": rpm.posttrans} if rpm.posttrans else {},
    )  # fmt: skip
    packed = io.BytesIO()
    payload = Payload(packed)
    for path in sorted(rpm.files):
        mode = 0o755 if "/bin/" in path or "/sbin/" in path else 0o644
        data = path.encode()
        payload.add(File(path, stat.S_IFREG | mode, EPOCH, size=len(data)), [data])
    out = folder / f"{spec.nevra}.rpm"
    write(spec, payload, packed, key(), out)
    return out


def forge_all(folder: Path, rpms: Iterable[Rpm]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [forge(folder, rpm) for rpm in rpms]


def dependencies(texts: Iterable[str]) -> list[Dependency]:
    """`name`, `name >= 1:2-3`, or a rich one in parentheses."""
    found = []
    for text in texts:
        words = text.split()
        if text.startswith("(") or len(words) == 1:
            found.append(Dependency(text))
        else:
            name, sign, evr = words
            found.append(Dependency(name, _FLAGS[sign], evr))
    return found
