"""What the machine can really do, found out by doing it.

A device node, a kernel option or a CPU flag proves nothing: `/dev/kvm` opens on
machines where a guest never gets past its first loop. So the accelerator is
chosen by booting a guest of 512 bytes, and the other probes below likewise do
the thing they report on.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen

from cosa.core import clock, fs, run, store
from cosa.core.errors import CosaError, ExitClass
from cosa.core.store import Json

QEMU = "qemu-system-x86_64"
TCG_SECONDS = 60.0  # 0.8 s on an idle machine; a busy one may take its time
_PORT = 0xF4
_VALUE = 0x2A
_PASSED = _VALUE << 1 | 1  # QEMU's isa-debug-exit makes this exit status of the value written

# A boot sector that enters long mode, counts, leaves the guest (CPUID) two thousand
# times and says it is done through isa-debug-exit. Real KVM needs some 50 ms for it.
# The page tables lie at 0x1000..0x3fff, one 2 MiB page maps the sector onto itself.
_CODE = bytes.fromhex(
    "fa fc 31c0 8ed8 8ec0"  # cli; cld; ax = ds = es = 0
    "bf0010 b90018 f3ab"  # clear three pages from 0x1000 on
    "c70600100320 c70600200330 c70600308300"  # PML4[0], PDPT[0], PD[0]
    "66b800100000 0f22d8"  # cr3 = 0x1000
    "0f20e0 0c20 0f22e0"  # cr4.PAE
    "66b9800000c0 0f32 80cc01 0f30"  # EFER.LME
    "0f0116907c"  # lgdt 0x7c90
    "0f20c0 660d01000080 0f22c0"  # cr0.PE, cr0.PG
    "ea567c0800"  # far jump to the 64-bit segment: the next byte
    "bd00e1f505 ffcd 75fc"  # ebp = 100,000,000; count down to 0
    "bdd0070000 31c0 0fa2 ffcd 75f8"  # 2,000 times: eax = 0; cpuid
    "48b8000000002a000000 48c1e820"  # rax = 0x2a << 32; shift right by 32
    "e6f4 f4 ebfd"  # out 0xf4, al; halt for ever
)
_GDT = bytes.fromhex("0000000000000000 00000000009a2000")  # none, 64-bit code
_GDTR = bytes.fromhex("0f00 807c0000")  # limit 15, base 0x7c80
BOOT_SECTOR = (_CODE.ljust(0x80, b"\0") + _GDT + _GDTR).ljust(510, b"\0") + b"\x55\xaa"


@dataclass(frozen=True)
class Accelerators:
    """How long the probe guest took under each accelerator; None where it never came up."""

    qemu: str
    kvm: float | None
    tcg: float | None
    kvm_trouble: str = ""

    @property
    def best(self) -> str:
        """`kvm` where it works and is worth it, else `tcg`."""
        return "kvm" if self.kvm is not None else "tcg"


def accelerator(cache: Path) -> str:
    """The accelerator guests should run under on this machine: `kvm` or `tcg`.

    Raises `env/no-accelerator` when the probe guest boots under neither,
    `env/missing-tool` without QEMU.
    """
    found = accelerators(cache)
    if found.kvm is None and found.tcg is None:
        raise CosaError(
            "env/no-accelerator",
            "QEMU is installed but a guest of 512 bytes does not boot under KVM or TCG",
            why=found.kvm_trouble,
            fix="run `cosa doctor`",
            exit_class=ExitClass.ENVIRONMENT,
        )
    return found.best


def accelerators(cache: Path) -> Accelerators:
    """Boot the probe guest under KVM and TCG, once per boot of the machine and version of QEMU."""
    version = qemu_version()
    inputs: dict[str, Json] = {
        "qemu": version,
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "kvm": os.access("/dev/kvm", os.R_OK | os.W_OK),
        "guest": BOOT_SECTOR.hex(),
    }
    path = cache / "probes" / f"accelerators-{store.step_id('accelerators', inputs)[:16]}.json"
    try:
        known = json.loads(path.read_text())
        return Accelerators(**known)
    except (OSError, ValueError, TypeError):
        found = _boot_both(version)
    if found.tcg is not None:  # a failed probe is looked at anew next time
        path.parent.mkdir(parents=True, exist_ok=True)
        fs.atomic_write(path, json.dumps(found.__dict__) + "\n")
    return found


def qemu_version() -> str:
    """`10.0.2 (Debian 1:10.0.2+ds-2)`, as QEMU says it."""
    first = run.run([QEMU, "--version"], timeout=30).out.partition("\n")[0]
    return first.removeprefix("QEMU emulator version ").strip()


def processor() -> str:
    """The processor guests see under KVM: its model and what it can do (proc(5), cpuinfo)."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "microcode", "flags")
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return "\n".join(value.strip() for name, _, value in pairs if name.strip() in wanted)


def _boot_both(version: str) -> Accelerators:
    """Boot under both at once: TCG's time on this machine, as busy as it is, bounds KVM's."""
    trouble = _kvm_trouble()
    guests: dict[str, Popen[bytes]] = {}
    with tempfile.TemporaryDirectory(prefix="cosa-probe.") as folder:
        disk = Path(folder, "sector")
        disk.write_bytes(BOOT_SECTOR)
        try:
            guests["tcg"] = _guest("tcg", disk)
            if not trouble:
                guests["kvm"] = _guest("kvm", disk)
            took = _watch(guests)
            if "kvm" in guests and took.get("kvm") is None:
                trouble = _last_words(guests["kvm"])
        finally:
            for guest in guests.values():
                run.end(guest)
    return Accelerators(version, took.get("kvm"), took.get("tcg"), trouble)


def _watch(guests: Mapping[str, Popen[bytes]]) -> dict[str, float | None]:
    """Seconds to each guest's sign of life, None if it never came.

    KVM gets little more than twice TCG's time: slower than that, it would not
    be worth having even if it worked.
    """
    started = clock.monotonic()
    limits = {"tcg": TCG_SECONDS, "kvm": TCG_SECONDS}
    took: dict[str, float | None] = {}
    while pending := guests.keys() - took.keys():
        for name in sorted(pending):
            spent = clock.monotonic() - started
            try:
                status = guests[name].wait(0.01)
            except subprocess.TimeoutExpired:
                if spent >= limits[name]:
                    took[name] = None
                continue
            took[name] = round(spent, 3) if status == _PASSED else None
        if took.get("tcg"):
            limits["kvm"] = 2 + 2 * (took["tcg"] or 0)
    return took


def _kvm_trouble() -> str:
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user"
    return ""


def _guest(name: str, disk: Path) -> Popen[bytes]:
    return run.start(
        [
            QEMU, "-M", "pc", "-accel", name, "-m", "32", "-nodefaults", "-display", "none",
            "-no-reboot", "-device", f"isa-debug-exit,iobase={_PORT:#x},iosize=1",
            "-drive", f"file={disk},format=raw,if=ide,snapshot=on",
        ],
        stderr=PIPE,
    )  # fmt: skip


def _last_words(guest: Popen[bytes]) -> str:
    """Why KVM was given up: QEMU's own words if it ended, else that the guest hung."""
    if guest.poll() is None:
        return "/dev/kvm opens, but a guest does not get through a simple loop"
    assert guest.stderr is not None
    words = guest.stderr.read(4096).decode("utf-8", "replace").strip().splitlines()
    return words[-1] if words else f"QEMU ended with status {guest.returncode}"
