"""QEMU: the command line of a guest, and a guest that is running.

`command()` is pure: a `Guest` in, an argv out. `Qemu` runs it: the monitor is
a socket pair handed over as a descriptor (no path, no race), the SSH port is
chosen by QEMU itself and asked for afterwards, the console and the journal go
straight to files that others may follow. A guest that dies says so at once,
with QEMU's own words.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cosa.core import clock, run
from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json
from cosa.tools import qemu_net

PROGRAM = "qemu-system-x86_64"
JOURNAL_PORT = "mantlejournal"
VARIABLES = "firmware-variables.fd"
IGNITION_PORT = "com.coreos.ignition.journal"
_COSTLY = "erms=off,fsrm=off,la57=off,smap=off,mpx=off,pku=off"
_ACCELERATION = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # MTTCG: one host thread per virtual processor. `max` has what x86-64-v3 programs need;
    # taken from it is what costs much more in software than it gives: string instructions
    # by the byte (a page is cleared in 4096 rounds instead of 512), a fifth level of page
    # tables, a flag toggled at each copy from user space, registers saved at each switch.
    # Measured: a boot takes 81 s of processor time instead of 95.
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", f"max,{_COSTLY}"),
}
_QCOW2_MAGIC = b"QFI\xfb"


class Firmware(StrEnum):
    """What the guest starts with; the names are those of `--firmware`."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_SECURE = "uefi-secure"


# Code and variables, as Debian's ovmf and Fedora's edk2-ovmf lay them out.
_OVMF = {
    Firmware.UEFI: (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ),
    Firmware.UEFI_SECURE: (
        ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
    ),
}


@dataclass(frozen=True)
class Disk:
    """A disk of the guest: a file, how it is attached, its sector size as seen by the guest."""

    file: Path
    serial: str
    channel: str = "virtio"  # or nvme, scsi
    logical: int = 512
    physical: int = 512
    wwn: int = 0
    boot: bool = False
    socket: Path | None = None  # the file is served there (qemu_nbd), and seen on two paths


@dataclass(frozen=True)
class Guest:
    """All that decides a guest's command line; paths must exist when it starts."""

    uuid: str
    disks: tuple[Disk, ...]
    console: Path
    accelerator: str = "tcg"
    firmware: Firmware = Firmware.BIOS
    pflash: tuple[Path, Path] | None = None  # code, a private copy of the variables
    memory: int = 1024  # MiB
    cpus: int = 1
    ignition: Path | None = None
    ports: Mapping[str, Path] = field(default_factory=dict)  # virtio port -> file it fills
    network: bool = False  # may the guest reach beyond itself
    nics: int = 0  # network cards beside the first
    numa: bool = False  # memory and processors in two nodes
    interactive: bool = False  # console on our terminal too
    generation: str = ""  # a UUID new to each copy of a saved guest, or "auto"
    incoming: bool = False  # wait for a saved state instead of booting


def command(guest: Guest, monitor: int) -> list[str]:
    """The argv of a guest whose monitor is the open descriptor `monitor`."""
    argv = [PROGRAM, *_machine(guest), *_ACCELERATION[guest.accelerator]]
    argv += [*_memory(guest), "-uuid", guest.uuid]
    argv += ["-nodefaults", "-display", "none", "-boot", "order=c,strict=on"]
    argv += ["-object", "rng-random,filename=/dev/urandom,id=rng0"]
    argv += ["-device", "virtio-rng-pci,rng=rng0"]
    # When its value changes under a running kernel, that mixes it into its random numbers.
    argv += ["-device", f"vmgenid,guid={guest.generation or 'auto'}"]
    argv += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
    argv += _console(guest)
    argv += qemu_net.cards(guest.nics, outside=guest.network)
    for number, disk in enumerate(guest.disks):
        argv += _disk(disk, number)
    if guest.ports:
        argv += ["-device", "virtio-serial-pci"]
    for number, (name, file) in enumerate(sorted(guest.ports.items())):
        argv += ["-chardev", f"file,id=port{number},path={_escape(file)},append=on"]
        argv += ["-device", f"virtserialport,chardev=port{number},name={name}"]
    if guest.ignition:
        argv += ["-fw_cfg", f"name=opt/com.coreos/config,file={_escape(guest.ignition)}"]
    if guest.incoming:
        argv += ["-incoming", "defer"]
    return argv


def _memory(guest: Guest) -> list[str]:
    argv = ["-smp", str(guest.cpus), "-m", str(guest.memory)]
    for node in range(2) if guest.numa else ():
        size = guest.memory // 2 if node else guest.memory - guest.memory // 2
        argv += ["-object", f"memory-backend-ram,id=node{node},size={size}M"]
        # The second node may have memory only.
        first, last = (0, (guest.cpus + 1) // 2 - 1) if not node else (
            (guest.cpus + 1) // 2, guest.cpus - 1,
        )  # fmt: skip
        cpus = f",cpus={first}-{last}" if first <= last else ""
        argv += ["-numa", f"node,nodeid={node},memdev=node{node}{cpus}"]
    return argv


def _machine(guest: Guest) -> list[str]:
    if guest.firmware is Firmware.BIOS:
        return ["-machine", "pc"]
    assert guest.pflash, "firmware_files() gives them"
    code, variables = guest.pflash
    secure = guest.firmware is Firmware.UEFI_SECURE
    argv = ["-machine", "q35,smm=on" if secure else "q35"]
    if secure:  # only code in system management mode may write the variables
        argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_escape(code)}"]
    return [*argv, "-drive", f"if=pflash,unit=1,format=raw,file={_escape(variables)}"]


def _console(guest: Guest) -> list[str]:
    log = _escape(guest.console)
    # Appended to: a restored machine's file begins with the boot it was saved after.
    kind = f"file,append=on,path={log}"
    if guest.interactive:
        kind = f"stdio,mux=on,signal=off,logappend=on,logfile={log}"
    return ["-chardev", f"{kind},id=console", "-serial", "chardev:console"]


def _disk(disk: Disk, number: int) -> list[str]:
    if disk.socket:
        return _two_paths(disk, disk.socket, number)
    source = f"format={_format(disk.file)},cache=unsafe,file={_escape(disk.file)}"
    argv = ["-drive", f"if=none,id=disk{number},{source}"]
    options = f"drive=disk{number},serial={disk.serial}"
    if (disk.logical, disk.physical) != (512, 512):
        options += f",logical_block_size={disk.logical},physical_block_size={disk.physical}"
    if disk.boot:
        options += ",bootindex=1"
    if disk.channel == "scsi":
        argv += ["-device", f"virtio-scsi-pci,id=scsi{number}"]
        wwn = f",wwn={disk.wwn}" if disk.wwn else ""
        return [*argv, "-device", f"scsi-hd,bus=scsi{number}.0,{options}{wwn}"]
    device = {"virtio": "virtio-blk-pci", "nvme": "nvme"}[disk.channel]
    return [*argv, "-device", f"{device},{options}"]


def _two_paths(disk: Disk, socket: Path, number: int) -> list[str]:
    """A disk on two controllers, known for one by its WWN; the names are upstream's."""
    argv = []
    for path in range(2):
        server = f"file.driver=nbd,file.server.type=unix,file.server.path={_escape(socket)}"
        argv += ["-drive", f"if=none,id=disk{number}p{path},format=raw,cache=unsafe,{server}"]
        argv += ["-device", f"virtio-scsi-pci,id=scsi{number}p{path}"]
        options = f"drive=disk{number}p{path},serial={disk.serial},vendor=NVME,wwn={disk.wwn}"
        options += f",logical_block_size={disk.logical},physical_block_size={disk.physical}"
        boot = ",bootindex=1" if disk.boot and not path else ""
        argv += ["-device", f"scsi-hd,bus=scsi{number}p{path}.0,{options}{boot}"]
    return argv


def _escape(path: Path) -> str:
    """A comma in an option's value is written twice."""
    return str(path).replace(",", ",,")


def firmware_paths(firmware: Firmware) -> tuple[Path, Path] | None:
    """OVMF's code and its fresh variables as installed here; None for BIOS.

    Raises `env/missing-firmware` when the machine has no such OVMF.
    """
    if firmware is Firmware.BIOS:
        return None
    for code, variables in _OVMF[firmware]:
        if os.path.exists(code) and os.path.exists(variables):
            return Path(code), Path(variables)
    raise CosaError(
        "env/missing-firmware",
        f"there is no OVMF for firmware '{firmware}' here",
        why="looked for " + ", ".join(code for code, _ in _OVMF[firmware]),
        fix="install ovmf (Debian) or edk2-ovmf (Fedora)",
        exit_class=ExitClass.ENVIRONMENT,
    )


def firmware_files(firmware: Firmware, scratch: Path) -> tuple[Path, Path] | None:
    """OVMF's code and a copy of its variables in `scratch`, as `firmware_paths` finds them."""
    paths = firmware_paths(firmware)
    if not paths:
        return None
    copy = scratch / VARIABLES
    shutil.copyfile(paths[1], copy)
    return paths[0], copy


def overlay(image: Path, path: Path, size: int = 0) -> None:
    """A fresh qcow2 file `path` whose unwritten blocks are those of `image`.

    `size` (bytes) makes the disk larger than the image; never smaller. Raises
    `qemu/no-image` when there is no such image, `run/failed` when it is damaged.
    """
    if not image.is_file():
        raise CosaError("qemu/no-image", f"there is no disk image {image}", fix="run `cosa build`")
    whole, fmt = image.resolve(), _format(image)
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", whole, "-F", fmt, path])
    if size > virtual_size(path):
        run.run(["qemu-img", "resize", "-q", path, str(size)])


def overlay_of_overlay(frozen: Path, image: Path | None, path: Path) -> None:
    """A fresh qcow2 file `path` over the qcow2 file `frozen`, whose own overlaid file is `image`.

    What `frozen` itself says of its backing file does not count; None: it has none.
    """
    node: dict[str, Json] = {"driver": "qcow2", "file": _file_node(frozen)}
    if image:
        node["backing"] = {"driver": _format(image), "file": _file_node(image.resolve())}
    below = "json:" + json.dumps(node)
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", path])


def _file_node(path: Path) -> Json:
    return {"driver": "file", "filename": str(path)}


def _format(path: Path) -> str:
    with path.open("rb") as file:
        return "qcow2" if file.read(4) == _QCOW2_MAGIC else "raw"


def virtual_size(path: Path) -> int:
    """Bytes a guest sees of a disk image."""
    return int(_info(path)["virtual-size"])


def has_backing(path: Path) -> bool:
    """Does a disk image take part of its content from another file."""
    return _format(path) == "qcow2" and "backing-filename" in _info(path)


def _info(path: Path) -> dict[str, Any]:
    text = run.run(["qemu-img", "info", "-U", "--output=json", path]).out
    info: dict[str, Any] = json.loads(text)
    return info


def blank(path: Path, size: int) -> None:
    """An empty disk of `size` bytes."""
    run.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)])


class Qemu:
    """A running guest. Start it in the main thread: it ends with the thread that started it."""

    def __init__(self, guest: Guest, log: Path) -> None:
        self.guest = guest
        self._log = log
        ours, theirs = socket.socketpair()
        try:
            with log.open("wb") as errors:
                self.process = run.start(
                    command(guest, theirs.fileno()), pass_fds=[theirs.fileno()], stderr=errors,
                    stdin=0 if guest.interactive else subprocess.DEVNULL,
                    stdout=1 if guest.interactive else subprocess.DEVNULL,
                )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        self._buffer = b""
        self.events: list[str] = []
        try:
            self._receive(60)  # the greeting
            self.ask("qmp_capabilities")
            self.ssh_port = self._find_port()
        except BaseException:
            self.quit()
            raise

    @property
    def alive(self) -> bool:
        """Is the guest still there."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise `qemu/ended` with QEMU's last words if the guest is gone."""
        if not self.alive:
            raise self._ended()

    def ask(self, name: str, **arguments: Json) -> object:
        """Send a QMP command and give its answer. Raises `qemu/refused`, `qemu/ended`."""
        message = json.dumps({"execute": name, "arguments": arguments})
        try:
            self._socket.sendall(message.encode() + b"\n")
        except OSError as err:
            raise self._ended() from err
        answer = self._receive(60)
        if "error" in answer:
            raise CosaError(
                "qemu/refused", f"QEMU refused '{name}'", why=str(answer["error"]),
                exit_class=ExitClass.STEP,
            )  # fmt: skip
        return answer.get("return")

    def quit(self) -> None:
        """End the guest at once; its disks are thrown away, so nothing is asked of it."""
        if self.alive:
            try:
                self._socket.sendall(b'{"execute": "quit"}\n')
                self.process.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                pass
        run.end(self.process)
        self._socket.close()

    def wait_end(self, seconds: float) -> bool:
        """Wait for the guest to switch itself off; False if it has not after `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _find_port(self) -> int:
        text = str(self.ask("human-monitor-command", **{"command-line": "info usernet"}))
        found = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", text)
        if not found:
            raise CosaError(
                "qemu/no-port", "QEMU does not say which port leads to the guest's SSH",
                why=text, exit_class=ExitClass.STEP,
            )  # fmt: skip
        return int(found.group(1))

    def _receive(self, seconds: float) -> dict[str, object]:
        """The next answer; events met on the way are noted by name."""
        until = clock.monotonic() + seconds
        while True:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                message: dict[str, object] = json.loads(line)
                if "event" not in message:
                    return message
                self.events.append(str(message["event"]))
            self._socket.settimeout(max(0.1, until - clock.monotonic()))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError as err:
                raise CosaError(
                    "qemu/silent", f"QEMU's monitor says nothing for {seconds:g} s",
                    exit_class=ExitClass.STEP,
                ) from err  # fmt: skip
            except OSError as err:
                raise self._ended() from err
            if not data:
                raise self._ended()
            self._buffer += data

    def _ended(self) -> CosaError:
        try:
            status: int | None = self.process.wait(5)
        except subprocess.TimeoutExpired:
            status = None
        words = self._log.read_text("utf-8", "replace").strip()
        how = f"killed by signal {-status}" if status is not None and status < 0 else "ended"
        if status and status > 0:
            how = f"ended with status {status}"
        if status == 0:
            how = "ended: the guest switched itself off"
        return CosaError(
            "qemu/ended", f"QEMU {how}", why=words[-2000:],
            fix="" if words else "the console's last lines may say more",
            exit_class=ExitClass.STEP,
        )  # fmt: skip
