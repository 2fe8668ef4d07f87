"""The peer: mkosi makes a bootable disk of the same packages, from its own package cache.

Downloads are excluded: a first build, not counted, fills the cache, and the
counted ones are told to stay off the network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Cost, measure
from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass

_CONF = """\
[Distribution]
Distribution=debian
Release={suite}
LocalMirror={mirror}
[Output]
Format=disk
ImageId=peer
Output=peer
OutputDirectory=out
[Content]
Bootable=yes
Bootloader=systemd-boot
Packages={packages}
[Build]
BuildSources=
Incremental=yes
PackageCacheDirectory=packages
WorkspaceDirectory=work
CacheDirectory=cache
"""


@dataclass(frozen=True)
class Peer:
    """mkosi in a folder of its own."""

    folder: Path

    @classmethod
    def prepare(cls, folder: Path, packages: Sequence[str]) -> Peer:
        """Write the configuration and, unless it is there already, fill the package cache."""
        for name in ("out", "packages", "work", "cache"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        suite, mirror = _apt_source()
        # The disk of ours brings its own boot loader; the peer takes the smallest it knows.
        wanted = ",".join([*packages, "systemd-boot"])
        text = _CONF.format(suite=suite, mirror=mirror, packages=wanted)
        conf, filled = folder / "mkosi.conf", folder / "filled"
        if not (filled.exists() and conf.exists() and conf.read_text() == text):
            conf.write_text(text)
            measure(["mkosi", "-f", "build"], folder / "fill.log", cwd=folder)
            filled.touch()
        return cls(folder)

    def cold(self) -> Cost:
        """A build with nothing but the packages at hand."""
        for name in ("out", "cache", "work"):
            fs.remove_tree(self.folder / name)
            (self.folder / name).mkdir()
        return self._build("cold.log")

    def incremental(self) -> Cost:
        """A build after which nothing is new."""
        return self._build("incremental.log")

    def size(self) -> int:
        """Bytes the disk image takes up."""
        return (self.folder / "out/peer.raw").stat().st_blocks * 512

    def _build(self, log: str) -> Cost:
        argv = ["mkosi", "--cache-only=always", "-f", "build"]
        return measure(argv, self.folder / log, cwd=self.folder)


def _apt_source() -> tuple[str, str]:
    """Suite and mirror of the assembler's own apt configuration."""
    folder = Path("/etc/apt")
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        text = path.read_text() if path.exists() else ""
        line = re.search(r"^deb +(?:\[[^]]*\] +)?(\S+) +(\S+) ", text, re.MULTILINE)
        if line:
            return line[2], line[1]
        uri = re.search(r"^URIs: *(\S+)", text, re.MULTILINE)
        suites = re.search(r"^Suites: *(\S+)", text, re.MULTILINE)
        if uri and suites:
            return suites[1], uri[1]
    raise CosaError(
        "bench/no-apt", "no apt source found below /etc/apt",
        fix="the peer needs the assembler of the Debian family",
        exit_class=ExitClass.ENVIRONMENT,
    )  # fmt: skip
