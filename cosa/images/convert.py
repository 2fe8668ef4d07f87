"""From a platform's raw disk to the file users get.

A disk is stored in a format (one module each below formats/) and, on some
platforms, packed in something (packs/).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.images.formats import qcow2, raw, vhdx, vmdk, vpc
from cosa.images.packs import Facts, gcp, kubevirt, virtualbox, vmware
from cosa.model.platforms import Platform

FORMATS: dict[str, Callable[[Path, Path, Platform], None]] = {
    "qcow2": qcow2.convert,
    "raw": raw.convert,
    "vhdx": vhdx.convert,
    "vmdk": vmdk.convert,
    "vpc": vpc.convert,
}
PACKS: dict[str, Callable[[Path, Path, Facts], None]] = {
    "gcp": gcp.pack,
    "kubevirt": kubevirt.pack,
    "virtualbox": virtualbox.pack,
    "vmware": vmware.pack,
}


def convert(source: Path, out: Path, platform: Platform, facts: Facts) -> None:
    """Write the platform's raw disk `source` as its artefact to `out`, complete or not at all.

    Raises `image/format` for what cannot be made, `run/failed`, `env/disk-full`.
    """
    for kind, known in ((platform.format, FORMATS), (platform.wrapped or "gcp", PACKS)):
        if kind not in known:
            raise CosaError(
                "image/format", f"disks for {platform.name} cannot be stored as {kind}",
                why=f"possible are {', '.join(known)}", exit_class=ExitClass.USAGE,
            )  # fmt: skip
    fs.need_space(out.parent, needed(source, platform), out.name)
    with fs.private_dir(out.parent, platform.name) as work:
        made = work / out.name
        if not platform.wrapped:
            FORMATS[platform.format](source, made, platform)
        elif platform.format == "raw":
            PACKS[platform.wrapped](source, made, facts)
        else:
            disk = work / f"disk.{platform.format}"
            FORMATS[platform.format](source, disk, platform)
            PACKS[platform.wrapped](disk, made, facts)
        fs.publish(made, out)


def needed(source: Path, platform: Platform) -> int:
    """Bytes of room a conversion takes at most, the disk to be packed included.

    Compressed files are a bit larger than their content if that cannot be compressed.
    """
    data = source.stat().st_blocks * 512
    copies = 2 if platform.wrapped and platform.format != "raw" else 1
    return int(copies * data * 1.02) + (1 << 20)
