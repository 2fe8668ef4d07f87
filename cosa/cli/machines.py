"""`run`: boot the image and look around in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.settings import settings

if TYPE_CHECKING:
    from cosa.tools.butane import Config
    from cosa.tools.qemu import Firmware


@command(
    group="Machines",
    iterable=["add_disk", "add_ignition"],
    short={
        "ignition": "i", "butane": "B", "exec": "x", "memory": "m", "add_disk": "D", "console": "c",
        "usernet": "U",
    },
    metavar={
        "ignition": "FILE", "butane": "FILE", "exec": "COMMAND", "memory": "MIB",
        "add_disk": "SIZE", "kargs": "ARGS", "firmware": "bios|uefi|uefi-secure",
        "qemu_image": "FILE", "build": "ID", "output": "DIR", "smp": "N",
        "firstbootkargs": "ARGS", "additional_nics": "N", "console_to_file": "FILE",
        "add_ignition": "autologin|autoresize|noautoupdate",
    },
    help={
        "firstbootkargs": "append to the first boot's command line only",
        "additional-nics": "network cards beside the first one; at most 16",
        "auto-cpus": "as many processors as here (what happens without --smp)",
        "add-ignition": "upstream's ready-made configs: noautoupdate; the others always hold",
        "console-to-file": "the serial console also under this name",
        "ignition": "Ignition config of the machine",
        "butane": "Butane config of the machine",
        "exec": "run a command and end with its exit status, instead of a shell",
        "memory": "memory of the machine; default 2048",
        "smp": "processors of the machine; default as many as here",
        "add-disk": "attach an empty disk, as 5G or 5G:channel=nvme,serial=x; may be repeated",
        "kargs": "append to the kernel's command line",
        "firmware": "what the machine starts with; default bios",
        "console": "the serial console on this terminal instead of SSH (Ctrl-a x ends it)",
        "usernet": "let the machine reach the network",
        "devshell": "a shell at once, the machine ends with it (this is what always happens)",
        "qemu-image": "boot this disk image instead of a build's",
        "build": "boot this build's image; default the latest",
        "output": "keep console and journal below this folder; default tmp/run",
    },
)  # fmt: skip
def run(
    _c: Context,
    *,
    ignition: str = "",
    butane: str = "",
    exec: str = "",  # noqa: A002  the option's name
    memory: int = 2048,
    smp: int = 0,
    add_disk: list[str] | None = None,
    kargs: str = "",
    firmware: str = "bios",
    console: bool = False,
    usernet: bool = False,
    firstbootkargs: str = "",
    additional_nics: int = 0,
    add_ignition: list[str] | None = None,
    console_to_file: str = "",
    auto_cpus: bool = False,  # noqa: ARG001  upstream's word for what we always do
    devshell: bool = False,  # noqa: ARG001  the same
    qemu_image: str = "",
    build: str = "",
    output: str = "",
) -> int:
    """Boot the latest image and log in, or run a command in it."""
    from cosa.core import events, parallel
    from cosa.kola.host import Host
    from cosa.kola.machine import Machine
    from cosa.kola.spec import MachineSpec, parse_disk

    image = image_of(qemu_image, build)
    spec = MachineSpec(
        image=image,
        ignition=_ready_made(_config(ignition, butane), add_ignition or []),
        firmware=firmware_of(firmware),
        memory=memory,
        cpus=smp or parallel.jobs(),
        kargs=tuple(kargs.split()),
        firstboot_kargs=firstbootkargs,
        nics=_nics(additional_nics),
        disks=tuple(parse_disk(text) for text in add_disk or ()),
        network=usernet,
        autologin=True,
    )
    folder = Path(output) if output else settings().workdir / "tmp/run"
    folder.mkdir(parents=True, exist_ok=True)
    host = Host(accelerator())
    events.note(f"image {image}")
    with Machine.boot(spec, folder, host, login=not console, interactive=console) as machine:
        if console_to_file:
            _follow(machine.console.path, Path(console_to_file))
        if console:
            machine.wait_end()
            return 0
        if not exec:
            return machine.shell()
        result = machine.ssh(exec, check=False, timeout=3600)
        os.write(1, result.raw)
        if result.err:
            os.write(2, result.err.encode() + b"\n")
        return result.status


def image_of(qemu_image: str, build: str) -> Path:
    """The disk to boot: a file named outright, or that of a build."""
    from cosa.core.errors import CosaError, ExitClass
    from cosa.pipeline.workdir import Workdir

    if qemu_image:
        path = Path(qemu_image)
        if not path.is_file():
            raise CosaError(
                "usage/no-image", f"there is no disk image {path}", exit_class=ExitClass.USAGE
            )
        return path
    return Workdir(settings().workdir).plain_image("qemu", build)


def _ready_made(config: Config | None, names: list[str]) -> Config | None:
    """The config with upstream's ready-made ones; a login on the console is there anyway."""
    from cosa.cli.parse import usage_error
    from cosa.tools import butane

    unknown = set(names) - {"autologin", "autoresize", "noautoupdate"}
    if unknown:
        raise usage_error("option-value", f"--add-ignition knows no {', '.join(sorted(unknown))}")
    if "noautoupdate" not in names:
        return config
    path = "/etc/zincati/config.d/90-disable-auto-updates.toml"
    source = butane.data_url("[updates]\nenabled = false\n")
    ours: Config = {
        "ignition": {"version": "3.0.0"},
        "storage": {"files": [{"path": path, "mode": 0o644, "contents": {"source": source}}]},
    }
    return butane.combined(ours, config)


def _nics(count: int) -> int:
    from cosa.cli.parse import usage_error

    if not 0 <= count <= 16:
        raise usage_error("option-value", "--additional-nics takes 0 to 16")
    return count


def _follow(console: Path, target: Path) -> None:
    """Make `target` another name of the console's file; it goes on growing."""
    target.unlink(missing_ok=True)
    try:
        os.link(console, target)
    except OSError:  # another file system
        target.symlink_to(console.absolute())


def _config(ignition: str, butane: str) -> Config | None:
    from cosa.cli.parse import usage_error
    from cosa.core import events
    from cosa.tools import butane as tool

    if ignition and butane:
        raise usage_error("exclusive", "--ignition and --butane exclude each other")
    if not ignition and not butane:
        return None
    checked = tool.load_butane(Path(butane)) if butane else tool.load_ignition(Path(ignition))
    for warning in checked.warnings:
        events.warn(f"{warning.where}: {warning.what}")
    return checked.config


def firmware_of(name: str) -> Firmware:
    """The firmware of this name. Raises `usage/option-value`."""
    from cosa.cli.parse import nearest, usage_error
    from cosa.tools.qemu import Firmware

    try:
        return Firmware(name)
    except ValueError:
        names = ", ".join(Firmware)
        raise usage_error(
            "option-value", f"there is no firmware '{name}'",
            fix=f"{nearest(name, list(Firmware))} choose one of {names}".strip(),
        ) from None  # fmt: skip


def accelerator() -> str:
    """The accelerator guests really boot under here; says which and why."""
    from cosa.core import events
    from cosa.tools import probe

    cache = Path(os.environ.get("COSA_CACHE") or Path.home() / ".cache/cosa")
    chosen = probe.accelerator(cache)
    found = probe.accelerators(cache)
    if chosen == "kvm":
        events.note(f"accelerator kvm: a probe guest booted in {found.kvm:.2f} s")
    else:
        events.note(f"accelerator tcg (slow), not kvm: {found.kvm_trouble}")
    return chosen


def output_of(given: str, name: str = "kola") -> Path:
    """Where results go: what was said, else below $ARTIFACT_DIR or the working directory's tmp."""
    if given:
        return Path(given).absolute()
    artifacts = os.environ.get("ARTIFACT_DIR")
    return (Path(artifacts) if artifacts else settings().workdir / "tmp") / name


def saved_machines() -> Path:
    """The cache of machines that were booted once and are restored since."""
    return Path(os.environ.get("COSA_CACHE") or Path.home() / ".cache/cosa") / "machines"
