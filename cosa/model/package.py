"""One binary RPM as a repository describes it: identity, place and digest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Package:
    """A binary RPM.

    `digest` (`sha256:HEX`) and `size` (bytes) are those of the RPM file as it lies in the
    repository `repo`, at `location` (URL, or path below the repository's base). `epoch` is
    "0" when the package has none. `sourcerpm` is the file name of its source RPM.
    """

    name: str
    epoch: str
    version: str
    release: str
    arch: str
    repo: str = ""
    location: str = ""
    digest: str = ""
    size: int = 0
    sourcerpm: str = ""

    @property
    def evr(self) -> str:
        """`1:1.2-3`; an epoch of 0 is left out."""
        return join_evr(self.epoch, self.version, self.release)

    @property
    def evra(self) -> str:
        """`1:1.2-3.x86_64`, the form lockfiles use."""
        return f"{self.evr}.{self.arch}"

    @property
    def nevra(self) -> str:
        """`podman-5:5.4.2-1.x86_64`, unique within a build."""
        return f"{self.name}-{self.evra}"

    @property
    def source_name(self) -> str:
        """`coreutils` of the source RPM `coreutils-9.1-1.src.rpm`; the package's own if unknown."""
        return self.sourcerpm.rsplit("-", 2)[0] if self.sourcerpm else self.name

    @property
    def sha256(self) -> str:
        """The hex part of `digest`."""
        return self.digest.removeprefix("sha256:")


def join_evr(epoch: str, version: str, release: str) -> str:
    """`[EPOCH:]VERSION-RELEASE`; an epoch of 0 or none is left out."""
    prefix = f"{epoch}:" if epoch not in ("", "0") else ""
    return f"{prefix}{version}-{release}"


def split_evr(text: str) -> tuple[str, str, str]:
    """Epoch ("0" if absent), version, release ("" if absent) of `[EPOCH:]VERSION[-RELEASE]`."""
    epoch, colon, rest = text.rpartition(":")
    version, _, release = rest.partition("-")
    return (epoch if colon and epoch else "0"), version, release


def split_evra(text: str) -> tuple[str, str, str, str]:
    """Epoch, version, release, arch of `[EPOCH:]VERSION-RELEASE.ARCH`.

    Raises `ValueError` when a part is missing.
    """
    evr, dot, arch = text.rpartition(".")
    epoch, version, release = split_evr(evr)
    if not (dot and arch and version and release):
        raise ValueError(f"{text!r} is not of the form [EPOCH:]VERSION-RELEASE.ARCH")
    return epoch, version, release, arch
