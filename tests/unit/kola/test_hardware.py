"""What a machine's disks and cards are for QEMU."""

from __future__ import annotations

from pathlib import Path

from cosa.kola import hardware
from cosa.kola.hardware import Places
from cosa.kola.host import Host
from cosa.kola.spec import MachineSpec, parse_disk
from cosa.tools import qemu, qemu_state


def spec(*disks: str, primary: str = "") -> MachineSpec:
    return MachineSpec(
        Path("/image"), disks=tuple(parse_disk(text) for text in disks),
        primary=parse_disk(primary),
    )  # fmt: skip


def test_the_systems_own_disk_comes_last_and_is_booted() -> None:
    found = hardware.disks(spec("1G", "2G:serial=mine"), Path("/d"))
    assert [(disk.file.name, disk.serial, disk.boot) for disk in found] == [
        ("disk1.qcow2", "disk1", False),
        ("disk2.qcow2", "mine", False),
        ("primary.qcow2", "primary-disk", True),
    ]


def test_a_disk_on_two_paths_is_one_disk(tmp_path: Path) -> None:
    wanted = spec("1G:mpath", "1G:mpath,wwn=7", primary=":mpath")
    found = hardware.disks(wanted, tmp_path)
    assert len({disk.wwn for disk in found}) == 3
    assert found[1].wwn == 7
    nowhere = Places(tmp_path, tmp_path)
    guest = hardware.guest(wanted, Host("tcg"), "u", found, nowhere, pflash=None)
    assert not qemu_state.movable(guest)
    argv = " ".join(qemu.command(guest, 3))
    assert argv.count(f"wwn={found[2].wwn}") == 2
    assert argv.count("bootindex=1") == 1
    assert argv.count(str(tmp_path / "primary.socket")) == 2


def test_only_what_is_there_is_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    (source / "key").write_text("secret")
    (source / "key").chmod(0o600)
    hardware.copy_present(source, target, ("key", "none"))
    assert (target / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.iterdir()] == ["key"]
