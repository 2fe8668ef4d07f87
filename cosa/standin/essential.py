"""`deb-essential`: a package without files that stands for dpkg's Essential set.

Debian's packages do not name what is always there. Everything with maintainer
scripts requires this instead, so that RPM's solver brings the set in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from cosa.standin import convert, evr
from cosa.standin.openpgp import SigningKey
from cosa.standin.rpmwriter import EQUAL, Dependency, Payload, Spec, write


def spec(members: Sequence[str], version: str) -> Spec:
    """What the package says; `version` is that of base-files, which names Debian's release."""
    bare = evr.convert(version).version
    return Spec(
        name=convert.ESSENTIAL, epoch=0, version=bare, release=str(len(members)), arch="noarch",
        summary="Everything Debian takes for granted",
        description="Requires the packages marked Essential in Debian.",
        license="Apache-2.0", group="metapackages", url="", packager="", vendor="cosa",
        source_rpm=f"{convert.ESSENTIAL}-{bare}-{len(members)}.src.rpm", build_time=0,
        requires=[Dependency(name) for name in members],
        provides=[Dependency(convert.ESSENTIAL, EQUAL, f"{bare}-{len(members)}")],
    )  # fmt: skip


def make(members: Sequence[str], version: str, key: SigningKey, out: Path) -> None:
    """Write the RPM."""
    with tempfile.TemporaryFile(dir=out.parent) as packed:
        write(spec(members, version), Payload(packed), packed, key, out)
