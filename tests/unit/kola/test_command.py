"""QEMU's command line, whole: what a guest is made of is written down here."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosa.tools import qemu, qemu_state
from cosa.tools.qemu import Disk, Firmware, Guest


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"QFI\xfb rest")
    return path


def guest(disk: Path, **changes: object) -> Guest:
    facts: dict[str, object] = {
        "uuid": "u-1",
        "disks": (Disk(disk, "primary-disk", boot=True),),
        "console": Path("/o/console.txt"),
    }
    return Guest(**(facts | changes))  # type: ignore[arg-type]


def test_plain_bios_guest(disk: Path) -> None:
    assert qemu.command(guest(disk, ignition=Path("/o/c.ign")), 7) == [
        "qemu-system-x86_64", "-machine", "pc",
        "-accel", "tcg,thread=multi",
        "-cpu", "max,erms=off,fsrm=off,la57=off,smap=off,mpx=off,pku=off",
        "-smp", "1", "-m", "1024", "-uuid", "u-1",
        "-nodefaults", "-display", "none", "-boot", "order=c,strict=on",
        "-object", "rng-random,filename=/dev/urandom,id=rng0",
        "-device", "virtio-rng-pci,rng=rng0", "-device", "vmgenid,guid=auto",
        "-chardev", "socket,id=monitor,fd=7", "-mon", "chardev=monitor,mode=control",
        "-chardev", "file,append=on,path=/o/console.txt,id=console", "-serial", "chardev:console",
        "-netdev", "user,id=net0,restrict=on,hostname=qemu0,hostfwd=tcp:127.0.0.1:0-:22",
        "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56",
        "-drive", f"if=none,id=disk0,format=qcow2,cache=unsafe,file={disk}",
        "-device", "virtio-blk-pci,drive=disk0,serial=primary-disk,bootindex=1",
        "-fw_cfg", "name=opt/com.coreos/config,file=/o/c.ign",
    ]  # fmt: skip


def test_secure_boot_guards_the_variables(disk: Path) -> None:
    argv = qemu.command(
        guest(disk, firmware=Firmware.UEFI_SECURE, pflash=(Path("/f/code"), Path("/f/vars"))), 3
    )
    assert argv[1:9] == [
        "-machine", "q35,smm=on",
        "-global", "driver=cfi.pflash01,property=secure,value=on",
        "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/f/code",
        "-drive", "if=pflash,unit=1,format=raw,file=/f/vars",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"accelerator": "kvm"}, ["-accel", "kvm", "-cpu", "host"]),
        ({"network": True}, ["-netdev", "user,id=net0,restrict=off"]),
        ({"interactive": True},
         ["-chardev", "stdio,mux=on,signal=off,logappend=on,logfile=/o/console.txt"]),
        ({"incoming": True}, ["-incoming", "defer"]),
        ({"nics": 2}, ["-netdev", "user,id=net2,restrict=on,hostname=qemu0,dhcpstart=10.0.2.32",
                       "-device", "virtio-net-pci,netdev=net2,mac=52:55:00:d1:56:01"]),
        ({"numa": True, "cpus": 2, "memory": 1025},
         ["-object", "memory-backend-ram,id=node0,size=513M", "-numa",
          "node,nodeid=0,memdev=node0,cpus=0-0",
          "-object", "memory-backend-ram,id=node1,size=512M", "-numa",
          "node,nodeid=1,memdev=node1,cpus=1-1"]),
        ({"numa": True}, ["-numa", "node,nodeid=1,memdev=node1"]),
        ({"ports": {"j": Path("/o/a,b")}}, ["-chardev", "file,id=port0,path=/o/a,,b,append=on"]),
        ({"ports": {"j": Path("/o/j")}}, ["-device", "virtserialport,chardev=port0,name=j"]),
    ],
)  # fmt: skip
def test_options(disk: Path, changes: dict[str, object], expected: list[str]) -> None:
    assert " ".join(expected) in " ".join(qemu.command(guest(disk, **changes), 3))


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        ({"channel": "nvme"}, "nvme,drive=disk0,serial=s"),
        ({"logical": 4096, "physical": 4096},
         "virtio-blk-pci,drive=disk0,serial=s,logical_block_size=4096,physical_block_size=4096"),
        ({"channel": "scsi", "wwn": 9}, "scsi-hd,bus=scsi0.0,drive=disk0,serial=s,wwn=9"),
        ({"boot": True}, "virtio-blk-pci,drive=disk0,serial=s,bootindex=1"),
    ],
)  # fmt: skip
def test_disks(disk: Path, settings: dict[str, object], device: str) -> None:
    argv = qemu.command(guest(disk, disks=(Disk(disk, "s", **settings),)), 3)  # type: ignore[arg-type]
    assert device in argv


def test_a_raw_image_is_not_probed_by_qemu(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(512))
    argv = qemu.command(guest(raw), 3)
    assert f"if=none,id=disk0,format=raw,cache=unsafe,file={raw}" in argv


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"uuid": "u-2", "console": Path("/p/console.txt"), "incoming": True}, True),
        ({"ports": {"j": Path("/p/j")}, "ignition": Path("/p/c.ign")}, True),
        ({"memory": 2048}, False),
        ({"cpus": 2}, False),
        ({"network": True}, False),
        ({"ports": {"k": Path("/o/j")}}, False),
        ({"firmware": Firmware.UEFI, "pflash": (Path("/f/code"), Path("/f/vars"))}, False),
    ],
)
def test_the_shape_of_a_guest_is_all_but_its_files(
    disk: Path, changes: dict[str, object], same: bool
) -> None:
    facts = {"ports": {"j": Path("/o/j")}, "ignition": Path("/o/c.ign")}
    one, other = guest(disk, **facts), guest(disk, **(facts | changes))
    assert (qemu_state.shape(one) == qemu_state.shape(other)) is same
    assert str(disk) not in " ".join(qemu_state.shape(one))


def test_nvme_cannot_be_moved(disk: Path) -> None:
    assert qemu_state.movable(guest(disk))
    assert not qemu_state.movable(guest(disk, disks=(Disk(disk, "s", channel="nvme"),)))
