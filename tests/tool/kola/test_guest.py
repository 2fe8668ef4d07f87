"""QEMU with guests of one sector: what a machine notices, and how soon."""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path

import pytest

from cosa.core import run
from cosa.core.errors import CosaError
from cosa.kola import machine as machines
from cosa.kola.host import Host
from cosa.kola.machine import Machine
from cosa.kola.spec import MachineSpec, parse_disk
from cosa.tools import bootentry, qemu, qemu_net

pytestmark = pytest.mark.tool


def sector(text: str, then: str) -> bytes:
    """A boot sector that prints `text` on COM1 and goes on with machine code `then` (hex)."""
    code = bytes.fromhex(
        "31c0 8ed8 fc be207c ba f803"  # ds = 0; si = text; dx = COM1
        "ac 84c0 7403 ee ebf8"  # al = *si++ until 0: out
    ) + bytes.fromhex(then)
    assert len(code) <= 0x20
    return (code.ljust(0x20, b"\x90") + text.encode() + b"\0").ljust(510, b"\0") + b"\x55\xaa"


HALT = "f4 ebfd"
# The keyboard controller's reset line; without -no-reboot the sector runs again for ever.
RESET = "b0fe e664 f4"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(sector("hello from the sector\r\n", HALT).ljust(1 << 20, b"\0"))
    return path


def test_time_out_names_phase_and_last_line(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "BOOT", 0.5)
    with pytest.raises(CosaError) as caught:
        Machine.boot(MachineSpec(image, memory=64), tmp_path / "out", Host("tcg"))
    assert caught.value.code == "kola/boot"
    assert "no login by SSH within 4 s (phase firmware)" in caught.value.what
    assert "last console line: hello from the sector" in caught.value.why
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == ["console.txt", "ignition.json"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("Kernel panic - not syncing: sector", "kola/console"),
        ("Linux version 6\r\nIgnition failed: no such wizard", "kola/ignition-failed"),
    ],
)
def test_a_fatal_line_ends_the_wait(image: Path, tmp_path: Path, line: str, code: str) -> None:
    image.write_bytes(sector(line + "\r\n", HALT).ljust(1 << 20, b"\0"))
    started = time.monotonic()
    with pytest.raises(CosaError) as caught:
        Machine.boot(MachineSpec(image, memory=64), tmp_path / "out", Host("tcg"))
    assert caught.value.code == code
    assert line.splitlines()[-1] in caught.value.what + caught.value.why
    assert time.monotonic() - started < 40


def test_a_dead_qemu_is_noticed(image: Path, tmp_path: Path) -> None:
    spec = MachineSpec(image, memory=64)
    with Machine.boot(spec, tmp_path / "out", Host("tcg"), login=False) as machine:
        assert machine.usable
        assert machine._qemu
        machine._qemu.process.send_signal(signal.SIGKILL)
        machine._qemu.process.wait(10)
        assert not machine.usable
        with pytest.raises(CosaError) as caught:
            machine.ssh("true")
    assert "signal 9" in caught.value.what


def test_qemus_own_words_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(CosaError) as caught:
        Machine.boot(MachineSpec(tmp_path / "none"), tmp_path / "out", Host("tcg"))
    assert caught.value.code == "qemu/no-image"
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    with pytest.raises(CosaError) as caught:
        Machine.boot(MachineSpec(disk, memory=1 << 40), tmp_path / "out", Host("tcg"))
    assert caught.value.code == "qemu/ended"
    assert "memory" in caught.value.why


def test_nothing_of_a_guest_is_left(image: Path, tmp_path: Path) -> None:
    spec = MachineSpec(image, memory=64)
    with Machine.boot(spec, tmp_path / "out", Host("tcg"), login=False) as machine:
        assert machine._qemu
        pid, runtime = machine._qemu.process.pid, machine._runtime
        assert runtime.exists()
    assert not runtime.exists()
    assert not os.path.exists(f"/proc/{pid}")
    assert not list(tmp_path.glob("out/**/*.qcow2"))


def test_two_guests_have_two_ports(image: Path, tmp_path: Path) -> None:
    spec = MachineSpec(image, memory=64)
    with (
        Machine.boot(spec, tmp_path / "a", Host("tcg"), login=False) as one,
        Machine.boot(spec, tmp_path / "b", Host("tcg"), login=False) as two,
    ):
        assert one._ssh
        assert two._ssh
        assert one._ssh.port != two._ssh.port


def gpt_disk(path: Path, boot: Path) -> None:
    """A raw disk with one GPT partition `boot` at 1 MiB that holds the filesystem image."""
    size = boot.stat().st_size
    first = 2048
    name = "boot".encode("utf-16le").ljust(72, b"\0")
    entry = b"\1" * 32 + struct.pack("<QQQ", first, first + size // 512 - 1, 0) + name
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 128, 128)
    with path.open("wb") as file:
        file.truncate(first * 512 + size + (1 << 20))
        file.seek(512)
        file.write(header)
        file.seek(1024)
        file.write(entry)
        file.seek(first * 512)
        file.write(boot.read_bytes())


def test_kernel_arguments_reach_the_boot_entry(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "loader.1/entries").mkdir(parents=True)
    (tree / "loader").symlink_to("loader.1")
    options = "options root=LABEL=root " + "x" * 1400
    (tree / "loader.1/entries/ostree-1.conf").write_text(f"title T\n{options}\n")
    (tree / "ignition.firstboot").touch()
    boot = tmp_path / "boot.img"
    with boot.open("wb") as file:
        file.truncate(8 << 20)
    run.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, boot])
    disk, overlay = tmp_path / "disk.raw", tmp_path / "overlay.qcow2"
    gpt_disk(disk, boot)
    before = disk.read_bytes()
    qemu.overlay(disk, overlay)

    bootentry.append_kargs(overlay, ("a=1", "b"), tmp_path, firstboot='ip=dhcp x="$y"')

    assert disk.read_bytes() == before
    run.run(["qemu-img", "convert", "-O", "raw", overlay, tmp_path / "after.raw"])
    after = (tmp_path / "after.raw").read_bytes()[1 << 20 :][: 8 << 20]
    boot.write_bytes(after)
    entry = run.run(["debugfs", "-R", "cat /loader/entries/ostree-1.conf", boot]).out
    assert entry == f"title T\n{options} a=1 b\n"
    script = run.run(["debugfs", "-R", "cat /ignition.firstboot", boot]).out
    assert script == 'set ignition_network_kcmdline="ip=dhcp x=\\"\\$y\\""\n'
    assert run.run(["e2fsck", "-fn", boot], check=False).status == 0


def test_a_disk_without_boot_entries_says_so(image: Path, tmp_path: Path) -> None:
    qemu.overlay(image, tmp_path / "o.qcow2")
    with pytest.raises(CosaError) as caught:
        bootentry.append_kargs(tmp_path / "o.qcow2", ("a",), tmp_path)
    assert (caught.value.code, caught.value.why) == ("bootentry/none", "there is no GPT")


def test_a_card_can_be_plugged_into_a_running_guest(image: Path, tmp_path: Path) -> None:
    spec = MachineSpec(image, memory=64)
    with (
        Machine.boot(spec, tmp_path / "a", Host("tcg"), login=False) as one,
        Machine.boot(spec, tmp_path / "b", Host("tcg"), login=False) as two,
    ):
        for number, machine in enumerate((one, two)):
            mac = f"52:56:00:d1:56:0{number}"
            qemu_net.plug(machine.monitor, "cluster", mac, "239.1.2.3:23456")
            shown = str(
                machine.monitor.ask("human-monitor-command", **{"command-line": "info network"})
            )
            assert f"model=virtio-net-pci,macaddr={mac}" in shown
            assert "mcast=239.1.2.3:23456" in shown


def test_a_disk_on_two_paths(image: Path, tmp_path: Path) -> None:
    spec = MachineSpec(image, memory=64, primary=parse_disk(":mpath"), disks=(parse_disk("1G"),))
    with Machine.boot(spec, tmp_path / "out", Host("tcg"), login=False) as machine:
        while "hello from the sector" not in machine.console.text:
            machine.watch()
            time.sleep(0.05)
        shown = str(machine.monitor.ask("human-monitor-command", **{"command-line": "info block"}))
        assert "disk1p0" in shown
        assert "disk1p1" in shown
        servers = [child for child in machine.monitor.guest.disks if child.socket]
        assert len(servers) == 1
    assert not Path(str(servers[0].socket)).exists()
