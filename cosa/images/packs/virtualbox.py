"""VirtualBox's OVA: SATA, a network card every VirtualBox has, UEFI."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid5

from cosa.core import clock
from cosa.images.layout import DISK_GUID
from cosa.images.packs import Facts, ova


def pack(disk: Path, out: Path, facts: Facts) -> None:
    """Write the OVA of a VMDK."""
    ova.write(disk, out, descriptor(facts), facts)


def descriptor(facts: Facts) -> str:
    """The OVF. Firmware and clock are only to be said in VirtualBox's own section."""
    machine = uuid5(DISK_GUID, f"virtualbox {facts.name} {facts.build}")
    image = uuid5(DISK_GUID, f"virtualbox disk {facts.name} {facts.build}")
    hardware = (
        ova.item(1, 3, f"{ova.CPUS} virtual CPUs", f"VirtualQuantity={ova.CPUS}",
                 "Caption=virtual CPUs", "Description=Number of virtual CPUs")
        + ova.item(2, 4, f"{ova.MEMORY_MIB} MB of memory", f"VirtualQuantity={ova.MEMORY_MIB}",
                   "AllocationUnits=MegaBytes", "Caption=memory", "Description=Memory Size")
        + ova.item(3, 20, "sataController0", "Address=0", "Caption=sataController0",
                   "Description=SATA Controller", "ResourceSubType=AHCI")
        + ova.item(4, 17, "disk1", "AddressOnParent=0", "Caption=disk1", "Description=Disk Image",
                   "HostResource=/disk/vmdisk1", "Parent=3")
        + ova.item(5, 10, "Ethernet adapter on 'NAT'", "AutomaticAllocation=true",
                   "Caption=Ethernet adapter on 'NAT'", "Connection=VM Network",
                   "ResourceSubType=82540EM")
    )  # fmt: skip
    return ova.envelope(
        ' ovf:version="1.0" xml:lang="en-US" xmlns:vbox="http://www.virtualbox.org/ovf/machine"',
        f"""\
  <VirtualSystem ovf:id="{{name}}">
    <Info>A virtual machine</Info>
    <OperatingSystemSection ovf:id="100">
      <Info>The operating system</Info>
      <Description>Linux26_64</Description>
      <vbox:OSType ovf:required="false">Linux26_64</vbox:OSType>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>What the machine consists of</Info>
      <System>
        <vssd:ElementName>Virtual hardware</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{{name}}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType>
      </System>
{hardware}    </VirtualHardwareSection>
    <vbox:Machine ovf:required="false" version="1.15-linux" uuid="{{{machine}}}" \
name="{{name}}" OSType="Linux26_64" snapshotFolder="Snapshots" \
lastStateChange="{clock.iso(facts.epoch)}">
      <ovf:Info>The machine as VirtualBox describes it</ovf:Info>
      <Hardware>
        <CPU count="{ova.CPUS}"><PAE enabled="true"/></CPU>
        <Memory RAMSize="{ova.MEMORY_MIB}"/>
        <Firmware type="EFI"/>
        <RTC localOrUTC="UTC"/>
        <Network>
          <Adapter slot="0" enabled="true" type="82540EM"><NAT/></Adapter>
        </Network>
      </Hardware>
      <StorageControllers>
        <StorageController name="SATA" type="AHCI" PortCount="1" useHostIOCache="false" \
Bootable="true">
          <AttachedDevice type="HardDisk" port="0" device="0">
            <Image uuid="{{{image}}}"/>
          </AttachedDevice>
        </StorageController>
      </StorageControllers>
    </vbox:Machine>
  </VirtualSystem>
""",
    )
