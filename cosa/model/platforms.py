"""The platforms a build can have images for: one table for the whole project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cosa.core.errors import CosaError, ExitClass

_LETTERS = {"X": "x86_64", "A": "aarch64", "P": "ppc64le", "S": "s390x", "R": "riscv64"}


@dataclass(frozen=True)
class Platform:
    """One platform.

    `suffix` ends the artefact's name; `format` is how the disk is stored and
    `wrapped` in what it is packed (empty: nothing). `skip_compression` marks
    formats that are compressed already. `sector` is
    the logical sector in bytes. Disks have the size image.yaml gives where
    `cloud_size` is true, else that of their content. `available` says that this
    version can make it.
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
    available: bool = False


def _arches(letters: str) -> tuple[str, ...]:
    return tuple(_LETTERS[letter] for letter in letters)


def _qcow2(name: str, arches: str, *, available: bool = False) -> Platform:
    return Platform(name, _arches(arches), "qcow2", "qcow2", available=available)


_TABLE = (
    _qcow2("qemu", "XAPSR", available=True),
    _qcow2("openstack", "XAPS"),
    _qcow2("ibmcloud", "XS"),
    _qcow2("oraclecloud", "XA"),
    _qcow2("aliyun", "X"),
    _qcow2("digitalocean", "X"),
    _qcow2("exoscale", "X"),
    _qcow2("proxmoxve", "X"),
    Platform(
        "nutanix", _arches("X"), "qcow2", "qcow2", compressed=True, skip_compression=True
    ),
    _qcow2("qemu-secex", "S"),
    Platform("metal", _arches("XAPSR"), "raw", "raw", cloud_size=False, available=True),
    Platform("metal4k", _arches("XAPSR"), "raw", "raw", cloud_size=False, sector=4096),
    Platform("applehv", _arches("XA"), "raw", "raw"),
    Platform("hetzner", _arches("XA"), "raw", "raw"),
    Platform("vultr", _arches("X"), "raw", "raw"),
    Platform("aws", _arches("XA"), "vmdk", "vmdk", compressed=True),
    Platform("azure", _arches("XA"), "vhd", "vpc"),
    Platform("azurestack", _arches("X"), "vhd", "vpc"),
    Platform("hyperv", _arches("XA"), "vhdx", "vhdx"),
    Platform(
        "gcp", _arches("XA"), "tar.gz", "raw", "tar.gz", compressed=True, skip_compression=True
    ),
    Platform(
        "kubevirt", _arches("XS"), "ociarchive", "qcow2", "ociarchive", skip_compression=True
    ),
    Platform(
        "vmware", _arches("X"), "ova", "vmdk", "ova", compressed=True, skip_compression=True
    ),
    Platform(
        "virtualbox", _arches("X"), "ova", "vmdk", "ova", compressed=True, skip_compression=True
    ),
    Platform(
        "powervs", _arches("P"), "ova.gz", "raw", "ova.gz", compressed=True,
        skip_compression=True,
    ),
    Platform(
        "live", _arches("XAPSR"), "iso", "iso", skip_compression=True, cloud_size=False
    ),
    Platform(
        "nvidiabluefield", _arches("A"), "bfb", "bfb", skip_compression=True, cloud_size=False
    ),
)  # fmt: skip

PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in _TABLE}


def platform(name: str, arch: str) -> Platform:
    """The row of a platform that exists for `arch`. Raises `platform/*`, class USAGE."""
    found = PLATFORMS.get(name)
    here = [p.name for p in _TABLE if arch in p.arches]
    if found is None or arch not in found.arches:
        why = f"known for {arch} are {', '.join(here)}"
        what = f"there is no platform '{name}'" if found is None else f"'{name}' is not for {arch}"
        raise CosaError("platform/unknown", what, why=why, exit_class=ExitClass.USAGE)
    if not found.available:
        able = ", ".join(p.name for p in _TABLE if p.available)
        raise CosaError(
            "platform/not-yet", f"images for '{name}' cannot be made yet",
            why=f"possible are {able}", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return found
