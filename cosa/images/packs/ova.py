"""OVA: a tar (ustar, as DSP0243 wants) of the descriptor and, behind it, the disk."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

from cosa.images.packs import Facts

NAMESPACES = (
    'xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
    'CIM_ResourceAllocationSettingData" '
    'xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
    'CIM_VirtualSystemSettingData" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
CPUS, MEMORY_MIB = 2, 4096


def write(disk: Path, out: Path, descriptor: str, facts: Facts) -> None:
    """Write an OVA of a streamOptimized VMDK; `descriptor` is the OVF with its placeholders.

    `{name}`, `{version}`, `{capacity}` and `{size}` (bytes of the disk as a guest
    sees it, and of its file) are filled in, escaped for XML.
    """
    size = disk.stat().st_size
    values = {
        "name": facts.name, "version": facts.build, "capacity": str(facts.capacity),
        "size": str(size),
    }  # fmt: skip
    text = descriptor
    for key, value in values.items():
        text = text.replace("{" + key + "}", escape(value, {'"': "&quot;"}))
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        data = text.encode()
        tar.addfile(_member("coreos.ovf", len(data), facts.epoch), BytesIO(data))
        with disk.open("rb") as file:
            tar.addfile(_member("disk.vmdk", size, facts.epoch), file)


def _member(name: str, size: int, mtime: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime, 0o644
    return info


def item(instance: int, kind: int, name: str, *more: str) -> str:
    """One piece of virtual hardware; `more` are `Element=value`, in CIM's alphabetical order.

    `kind` is CIM's ResourceType.
    """
    pairs = [tuple(each.split("=", 1)) for each in more]
    pairs += [("ElementName", name), ("InstanceID", str(instance)), ("ResourceType", str(kind))]
    lines = "".join(f"        <rasd:{key}>{value}</rasd:{key}>\n" for key, value in sorted(pairs))
    return f"      <Item>\n{lines}      </Item>\n"


def envelope(head: str, system: str) -> str:
    """The frame around a virtual system: the disk, one network, then what is given."""
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope {NAMESPACES}{head}>
  <References>
    <File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="{{size}}"/>
  </References>
  <DiskSection>
    <Info>The disk</Info>
    <Disk ovf:capacity="{{capacity}}" ovf:diskId="vmdisk1" ovf:fileRef="file1" \
ovf:format="{STREAM}"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network</Info>
    <Network ovf:name="VM Network">
      <Description>Where the machine's network card goes</Description>
    </Network>
  </NetworkSection>
{system}</Envelope>
"""
