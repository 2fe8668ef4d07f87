"""VMware's OVA: paravirtual SCSI, vmxnet3, UEFI; Ignition's configuration comes as a property."""

from __future__ import annotations

from pathlib import Path

from cosa.images.packs import Facts, ova

_PROPERTIES = (
    ("guestinfo.ignition.config.data", "Ignition config",
     "The Ignition config of the machine, encoded as the next property says"),
    ("guestinfo.ignition.config.data.encoding", "Encoding of the Ignition config",
     "base64, gzip+base64, or nothing"),
)  # fmt: skip


def pack(disk: Path, out: Path, facts: Facts) -> None:
    """Write the OVA of a VMDK."""
    ova.write(disk, out, descriptor(facts), facts)


def descriptor(facts: Facts) -> str:
    """The OVF; image.yaml decides guest type, hardware version and Secure Boot."""
    spec = facts.spec
    secure = str(spec.vmware_secure_boot).lower()
    hardware = (
        ova.item(1, 3, f"{ova.CPUS} virtual CPUs", f"VirtualQuantity={ova.CPUS}",
                 "AllocationUnits=hertz * 10^6")
        + ova.item(2, 4, f"{ova.MEMORY_MIB} MB of memory", f"VirtualQuantity={ova.MEMORY_MIB}",
                   "AllocationUnits=byte * 2^20")
        + ova.item(3, 6, "SCSI controller 0", "Address=0", "ResourceSubType=VirtualSCSI")
        + ova.item(4, 17, "Disk 1", "AddressOnParent=0", "HostResource=ovf:/disk/vmdisk1",
                   "Parent=3")
        + ova.item(5, 10, "Network adapter 1", "AddressOnParent=7", "AutomaticAllocation=true",
                   "Connection=VM Network", "ResourceSubType=VmxNet3")
    )  # fmt: skip
    properties = "".join(
        f'      <Property ovf:key="{key}" ovf:type="string" ovf:userConfigurable="true"'
        f' ovf:value="">\n        <Label>{title}</Label>\n'
        f"        <Description>{text}</Description>\n      </Property>\n"
        for key, title, text in _PROPERTIES
    )
    return ova.envelope(
        ' xmlns:vmw="http://www.vmware.com/schema/ovf"',
        f"""\
  <VirtualSystem ovf:id="{{name}}">
    <Info>A virtual machine</Info>
    <Name>{{name}} {{version}}</Name>
    <OperatingSystemSection ovf:id="100" vmw:osType="{spec.vmware_os_type}">
      <Info>The operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>What the machine consists of</Info>
      <System>
        <vssd:ElementName>Virtual hardware</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{{name}}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-{spec.vmware_hw_version}</vssd:VirtualSystemType>
      </System>
{hardware}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" \
vmw:value="{secure}"/>
    </VirtualHardwareSection>
    <ProductSection>
      <Info>What is installed, and what it wants to know</Info>
      <Product>{{name}}</Product>
      <Vendor>{{name}}</Vendor>
      <Version>{{version}}</Version>
{properties}    </ProductSection>
  </VirtualSystem>
""",
    )
