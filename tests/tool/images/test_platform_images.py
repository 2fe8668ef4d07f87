"""Every platform's image, taken apart by the programs that read such files."""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from diskworld import EPOCH, OSNAME, SPEC, boot_file, images, program

from cosa.core import fs
from cosa.core.errors import CosaError
from cosa.images import sparse
from cosa.images.produce import Image
from cosa.model.platforms import PLATFORMS, possible
from cosa.tools import gpt

NAMES = possible("x86_64")
GIB = 1 << 30
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
CIM = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
RASD, VSSD = f"{CIM}ResourceAllocationSettingData}}", f"{CIM}VirtualSystemSettingData}}"


def unpacked(image: Image, folder: Path) -> Path:
    """The disk inside of whatever a platform packs it in."""
    path = image.path
    if path.name.endswith((".ova", ".tar.gz")):
        program("tar", "-C", folder, "-xf", path)
        return next(each for each in folder.iterdir() if each.name.startswith("disk."))
    if path.suffix == ".ociarchive":
        program("skopeo", "copy", "-q", f"oci-archive:{path}", f"dir:{folder}/oci")
        manifest = json.loads((folder / "oci/manifest.json").read_text())
        (layer,) = manifest["layers"]
        program("tar", "-C", folder, "-xf", folder / "oci" / layer["digest"].partition(":")[2])
        return next((folder / "disk").iterdir())
    return path


def recovered(image: Image, name: str, folder: Path) -> Path:
    """The raw disk an image holds, by qemu-img."""
    disk = unpacked(image, folder)
    fmt = PLATFORMS[name].format
    if fmt == "raw":
        return disk
    if fmt != "vpc":  # which qemu-img cannot check
        assert "No errors were found" in program("qemu-img", "check", "-f", fmt, disk)
    out = folder / "recovered.raw"
    program("qemu-img", "convert", "-f", fmt, "-O", "raw", disk, out)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_image_holds_the_disk_and_knows_its_platform(
    made: dict[str, Image], raw: Path, tmp_path: Path, name: str
) -> None:
    row = PLATFORMS[name]
    disk = recovered(made[name], name, tmp_path)
    size = disk.stat().st_size
    if row.cloud_size:
        assert size == (100 if name == "ibmcloud" else SPEC.size) * GIB
    else:
        assert size == raw.stat().st_size
    told = program("sfdisk", "--sector-size", str(row.sector), "--verify", disk)
    assert "No errors detected" in told
    table, base = gpt.read(disk, row.sector), gpt.read(raw)
    assert table == base
    root = base.named("root")
    ranges = {"root": (root.start, root.start + root.size)}
    if row.sector == 512:
        ranges["before boot, the tables aside"] = (1 << 20, base.named("boot").start)
    for what, (start, end) in ranges.items():
        same = all(a == b for a, b in zip(sparse.pieces(disk, start, end),
                                          sparse.pieces(raw, start, end), strict=True))  # fmt: skip
        assert same, f"{what} differs from the unbranded disk"
    check_boot(disk, name, tmp_path)


def check_boot(disk: Path, name: str, folder: Path) -> None:
    sector = PLATFORMS[name].sector
    entry = boot_file(disk, "/loader/entries/ostree-1.conf", sector)
    options = next(line for line in entry.splitlines() if line.startswith("options ")).split()
    known_as = "metal" if name == "metal4k" else name
    assert options[-2:] == [f"ignition.platform.id={known_as}", f"for={name}"]
    assert entry.count("ignition.platform.id") == 1
    assert boot_file(disk, "/grub2/console.cfg", sector) == (
        f"# CONSOLE-SETTINGS-START\necho {name}\n# CONSOLE-SETTINGS-END\n"
    )
    table = json.loads(boot_file(disk, "/coreos/platforms.json", sector))
    assert table[name] == {"grub_commands": [f"echo {name}"], "kernel_arguments": [f"for={name}"]}
    boot = gpt.read(disk, sector).named("boot")
    piece = folder / "boot.ext4"
    program("dd", f"if={disk}", f"of={piece}", "bs=1M", f"skip={boot.start >> 20}",
            f"count={boot.size >> 20}", "conv=sparse", "status=none")  # fmt: skip
    program("e2fsck", "-fn", piece)


def info(path: Path) -> dict:
    return json.loads(program("qemu-img", "info", "--output=json", path))


def test_qcow2(made: dict[str, Image]) -> None:
    for name in NAMES:
        if PLATFORMS[name].suffix == "qcow2":
            assert info(made[name].path)["format-specific"]["data"]["compat"] == "1.1"
            checked = json.loads(
                program("qemu-img", "check", "--output=json", made[name].path)
            )  # fmt: skip
            assert bool(checked.get("compressed-clusters", 0)) == (name == "nutanix")


def test_vmdk_is_stream_optimized(made: dict[str, Image]) -> None:
    path = made["aws"].path
    told = info(path)
    assert told["format-specific"]["data"]["create-type"] == "streamOptimized"
    with path.open("rb") as file:
        head = file.read(512)
        text = file.read(20 * 512).rstrip(b"\0").decode()
        file.seek(-1024, 2)
        footer, end = file.read(512), file.read(512)
    magic, version, flags, capacity, grain = struct.unpack_from("<4sIIQQ", head)
    assert (magic, version, grain, capacity * 512) == (b"KDMV", 3, 128, SPEC.size * GIB)
    assert flags & 0x30000 == 0x30000, "compressed grains and markers"
    assert struct.unpack_from("<Q", head, 56)[0] == 2**64 - 1, "the directory is at the end"
    assert footer[:4] == b"KDMV"
    assert end == bytes(512)
    assert 'ddb.adapterType = "lsilogic"' in text
    assert 'ddb.virtualHWVersion = "6"' in text
    assert f"RW {capacity} SPARSE" in text


def test_vhd_is_fixed_with_whole_mebibytes(made: dict[str, Image]) -> None:
    seen = set()
    for name in ("azure", "azurestack"):
        path = made[name].path
        with path.open("rb") as file:
            file.seek(-512, 2)
            footer = file.read()
        assert path.stat().st_size == SPEC.size * GIB + 512
        assert footer[:8] == b"conectix"
        assert struct.unpack_from(">Q", footer, 48)[0] == SPEC.size * GIB
        assert struct.unpack_from(">I", footer, 60)[0] == 2, "fixed"
        total = sum(footer) - sum(footer[64:68])
        assert struct.unpack_from(">I", footer, 64)[0] == ~total & 0xFFFFFFFF
        seen.add(footer[68:84])
    assert len(seen) == 2


def test_gcp_is_a_tar_of_the_old_gnu_format_with_one_sparse_file(
    made: dict[str, Image], tmp_path: Path
) -> None:
    path = made["gcp"].path
    with gzip.open(path) as file:
        block = file.read(512)
    assert block[257:265] == b"ustar  \0"
    assert block[156:157] == b"S"
    with tarfile.open(path) as tar:
        (member,) = tar.getmembers()
    assert (member.name, member.size) == ("disk.raw", SPEC.size * GIB)
    assert (member.uid, member.gid, member.mtime, member.pax_headers) == (0, 0, EPOCH, {})
    program("tar", "-C", tmp_path, "-xf", path)
    disk = tmp_path / "disk.raw"
    assert disk.stat().st_blocks * 512 < disk.stat().st_size // 4, "holes stay holes"


def descriptor(image: Image) -> ET.Element:
    with tarfile.open(image.path) as tar:
        first, second = tar.getmembers()
        assert (first.name, second.name) == ("coreos.ovf", "disk.vmdk")
        assert first.mtime == EPOCH
        data = tar.extractfile(first).read()
    with image.path.open("rb") as file:
        assert file.read(512)[257:265] == b"ustar\x0000"
    tree = ET.fromstring(data)
    file, disk = tree.find(f".//{OVF}File"), tree.find(f".//{OVF}Disk")
    assert file.get(f"{OVF}size") == str(second.size)
    assert file.get(f"{OVF}href") == "disk.vmdk"
    assert disk.get(f"{OVF}fileRef") == file.get(f"{OVF}id")
    assert disk.get(f"{OVF}capacity") == str(SPEC.size * GIB)
    assert disk.get(f"{OVF}format").endswith("#streamOptimized")
    return tree


def check_hardware(tree: ET.Element) -> dict[str, dict[str, str]]:
    """What DSP0243 asks of a virtual system; its items by resource type."""
    order = [child.tag.removeprefix(OVF) for child in tree]
    assert order == ["References", "DiskSection", "NetworkSection", "VirtualSystem"]
    for section in tree.iter():
        if section.tag.endswith("Section") or section.tag == f"{OVF}VirtualSystem":
            assert section[0].tag == f"{OVF}Info", section.tag
    items = {}
    numbers = set()
    for item in tree.iter(f"{OVF}Item"):
        names = [child.tag.removeprefix(RASD) for child in item]
        assert all(a < b for a, b in pairwise(names)), f"the schema wants {sorted(names)}"
        facts = {child.tag.removeprefix(RASD): child.text for child in item}
        numbers.add(facts["InstanceID"])
        items[facts["ResourceType"]] = facts
    assert len(numbers) == len(list(tree.iter(f"{OVF}Item"))) == len(items)
    disk = tree.find(f".//{OVF}Disk").get(f"{OVF}diskId")
    assert items["17"]["HostResource"].endswith(f"/disk/{disk}")
    assert items["17"]["Parent"] in numbers
    network = tree.find(f".//{OVF}Network").get(f"{OVF}name")
    assert items["10"]["Connection"] == network
    assert (items["3"]["VirtualQuantity"], items["4"]["VirtualQuantity"]) == ("2", "4096")
    for element in tree.iter():
        texts = [element.text or "", *element.attrib.values()]
        assert not any("{size}" in text or "{name}" in text for text in texts)
    return items


def test_ova_of_vmware(made: dict[str, Image]) -> None:
    tree = descriptor(made["vmware"])
    items = check_hardware(tree)
    assert items["6"]["ResourceSubType"] == "VirtualSCSI"
    assert items["10"]["ResourceSubType"] == "VmxNet3"
    assert tree.find(f".//{VSSD}VirtualSystemType").text == f"vmx-{SPEC.vmware_hw_version}"
    system = tree.find(f".//{OVF}OperatingSystemSection")
    assert SPEC.vmware_os_type in system.attrib.values()
    hardware = tree.find(f".//{OVF}VirtualHardwareSection")
    assert hardware.get(f"{OVF}transport") == "com.vmware.guestInfo"
    vmw = "{http://www.vmware.com/schema/ovf}"
    config = {each.get(f"{vmw}key"): each.get(f"{vmw}value") for each in tree.iter(f"{vmw}Config")}
    assert config == {"firmware": "efi", "bootOptions.efiSecureBootEnabled": "true"}
    keys = [each.get(f"{OVF}key") for each in tree.iter(f"{OVF}Property")]
    assert keys == ["guestinfo.ignition.config.data", "guestinfo.ignition.config.data.encoding"]
    assert tree.find(f".//{OVF}Version").text == "7.1"


def test_ova_of_virtualbox(made: dict[str, Image]) -> None:
    tree = descriptor(made["virtualbox"])
    items = check_hardware(tree)
    assert items["20"]["ResourceSubType"] == "AHCI"
    assert tree.find(f".//{VSSD}VirtualSystemType").text == "virtualbox-2.2"
    machine = tree.find(".//{http://www.virtualbox.org/ovf/machine}Machine")
    uuid = machine.get("uuid")
    assert len(uuid) == 38
    assert uuid[0] + uuid[-1] == "{}"
    assert tree.find(f".//{OVF}Firmware").get("type") == "EFI"


def test_kubevirt_is_a_container_disk(made: dict[str, Image], tmp_path: Path) -> None:
    path = made["kubevirt"].path
    told = json.loads(program("skopeo", "inspect", "--config", f"oci-archive:{path}"))
    assert told["config"]["Labels"] == {"version": "7.1"}
    assert (told["architecture"], told["os"]) == ("amd64", "linux")
    disk = unpacked(made["kubevirt"], tmp_path)
    assert disk.name == f"{OSNAME}-7.1-kubevirt.x86_64.qcow2"
    status = disk.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (107, 107, 0o440)


def test_metal4k_has_large_sectors_everywhere(made: dict[str, Image], tmp_path: Path) -> None:
    disk = made["metal4k"].path
    with disk.open("rb") as file:
        head = file.read(8192)
    assert head[:440] == bytes(440), "a BIOS cannot boot it"
    assert head[512:520] != b"EFI PART"
    assert head[4096:4104] == b"EFI PART"
    with pytest.raises(CosaError, match="no valid partition table"):
        gpt.read(disk)
    esp = gpt.read(disk, 4096).named("EFI-SYSTEM")
    piece = tmp_path / "esp"
    program("dd", f"if={disk}", f"of={piece}", "bs=1M", f"skip={esp.start >> 20}",
            f"count={esp.size >> 20}", "conv=sparse", "status=none")  # fmt: skip
    assert struct.unpack_from("<H", piece.read_bytes(), 11)[0] == 4096
    program("fsck.fat", "-n", piece)
    listing = program("mdir", "-i", piece, "-b", "-/", "::", MTOOLS_SKIP_CHECK="1")
    assert "::/EFI/BOOT/BOOTX64.EFI" in listing
    assert "::/EFI/debian/grub.cfg" in listing


def test_files_are_read_only_and_complete(made: dict[str, Image]) -> None:
    assert list(made) == list(NAMES)
    for image in made.values():
        assert image.path.stat().st_mode & 0o777 == 0o444
        assert image.size == image.path.stat().st_size


def test_a_disk_too_small_for_all_images_is_refused_beforehand(
    raw: Path, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    asked = []

    def need_space(_path: Path, size: int, purpose: str) -> None:
        asked.append((size, purpose))
        raise CosaError("env/disk-full", "too small")

    monkeypatch.setattr(fs, "need_space", need_space)
    with pytest.raises(CosaError, match="too small"):
        images(raw, room, ["qemu", "aws"])
    data = raw.stat().st_blocks * 512
    assert asked[0][1] == "2 images"
    assert asked[0][0] > 2 * data
    assert raw.exists()
