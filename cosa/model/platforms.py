"""The platforms a build can have images for: one table for the whole project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cosa.core.errors import CosaError, ExitClass

_LETTERS = {"X": "x86_64", "A": "aarch64", "P": "ppc64le", "S": "s390x", "R": "riscv64"}


@dataclass(frozen=True)
class Platform:
    """One platform.

    `suffix` ends the artefact's name; `format` is how the disk is stored
    (`compressed`: with compression inside) and `wrapped` in what it is packed
    (empty: nothing). `skip_compression` marks artefacts that are compressed
    already. `sector` is the logical sector in bytes. Disks have the size
    image.yaml gives where `cloud_size` is true, but `own_gib` where that is set;
    others that of their content. `same_as` names the platform Ignition knows it as,
    where that is another. `missing` says why this version cannot make it.
    """

    name: str
    arches: tuple[str, ...]
    suffix: str
    format: str
    wrapped: str = ""
    compressed: bool = False
    skip_compression: bool = False
    sector: int = 512
    cloud_size: bool = True
    own_gib: int = 0
    same_as: str = ""
    missing: str = ""

    @property
    def ignition_id(self) -> str:
        """What stands behind `ignition.platform.id=`."""
        return self.same_as or self.name


def _arches(letters: str) -> tuple[str, ...]:
    return tuple(_LETTERS[letter] for letter in letters)


def _qcow2(name: str, arches: str, *, own_gib: int = 0) -> Platform:
    return Platform(name, _arches(arches), "qcow2", "qcow2", own_gib=own_gib)


def _raw(name: str, arches: str) -> Platform:
    return Platform(name, _arches(arches), "raw", "raw")


def _packed(name: str, arches: str, suffix: str, fmt: str, missing: str = "") -> Platform:
    """A disk inside of something that is compressed as a whole or has compressed content."""
    return Platform(
        name, _arches(arches), suffix, fmt, wrapped=name, skip_compression=True, missing=missing
    )  # fmt: skip


_TABLE = (
    _qcow2("qemu", "XAPSR"),
    _qcow2("openstack", "XAPS"),
    _qcow2("ibmcloud", "XS", own_gib=100),
    _qcow2("oraclecloud", "XA"),
    _qcow2("aliyun", "X"),
    _qcow2("digitalocean", "X"),
    _qcow2("exoscale", "X"),
    _qcow2("proxmoxve", "X"),
    Platform(
        "nutanix", _arches("X"), "qcow2", "qcow2", compressed=True, skip_compression=True
    ),
    Platform(
        "qemu-secex", _arches("S"), "qcow2", "qcow2", same_as="qemu",
        missing="Secure Execution images are sealed on an s390x machine",
    ),
    Platform("metal", _arches("XAPSR"), "raw", "raw", cloud_size=False),
    Platform(
        "metal4k", _arches("XAPSR"), "raw", "raw", cloud_size=False, sector=4096, same_as="metal"
    ),
    _raw("applehv", "XA"),
    _raw("hetzner", "XA"),
    _raw("vultr", "X"),
    Platform("aws", _arches("XA"), "vmdk", "vmdk"),
    Platform("azure", _arches("XA"), "vhd", "vpc"),
    Platform("azurestack", _arches("X"), "vhd", "vpc"),
    Platform("hyperv", _arches("XA"), "vhdx", "vhdx"),
    _packed("gcp", "XA", "tar.gz", "raw"),
    _packed("kubevirt", "XS", "ociarchive", "qcow2"),
    _packed("vmware", "X", "ova", "vmdk"),
    _packed("virtualbox", "X", "ova", "vmdk"),
    _packed("powervs", "P", "ova.gz", "raw", "disks for ppc64le cannot be made yet"),
    Platform(
        "live", _arches("XAPSR"), "iso", "iso", skip_compression=True, cloud_size=False,
        missing="live media are not written yet",
    ),
    Platform(
        "nvidiabluefield", _arches("A"), "bfb", "bfb", skip_compression=True, cloud_size=False,
        missing="it takes NVIDIA's mkbfb and disks for aarch64",
    ),
)  # fmt: skip

PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in _TABLE}


# Where the boot chain is known; the other columns of the table wait for theirs.
ABLE_ARCHES = ("x86_64",)


def possible(arch: str) -> tuple[str, ...]:
    """The platforms of an architecture this version can make images for."""
    if arch not in ABLE_ARCHES:
        return ()
    return tuple(p.name for p in _TABLE if arch in p.arches and not p.missing)


def platform(name: str, arch: str) -> Platform:
    """The row of a platform that can be made for `arch`. Raises `platform/*`, class USAGE."""
    found = PLATFORMS.get(name)
    here = [p.name for p in _TABLE if arch in p.arches]
    if found is None or arch not in found.arches:
        why = f"known for {arch} are {', '.join(here)}"
        what = f"there is no platform '{name}'" if found is None else f"'{name}' is not for {arch}"
        raise CosaError("platform/unknown", what, why=why, exit_class=ExitClass.USAGE)
    missing = found.missing or (
        "" if arch in ABLE_ARCHES else f"disks for {arch} cannot be made yet"
    )  # fmt: skip
    if missing:
        raise CosaError(
            "platform/not-yet", f"images for '{name}' cannot be made yet: {missing}",
            why=f"possible are {', '.join(possible(arch)) or 'none'}", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return found
