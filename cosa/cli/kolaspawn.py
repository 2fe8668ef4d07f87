"""`cosa kola spawn`: machines from one config, for scripts and for looking around."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.cli.parse import Options, usage_error

if TYPE_CHECKING:
    from cosa.kola.machine import Machine
    from cosa.kola.spec import MachineSpec

_COMMAND = 3600.0  # seconds under KVM a command may take


@dataclass(frozen=True)
class Wish:
    """What `spawn` was asked for."""

    count: int
    userdata: str
    keys: bool
    command: str
    idle: bool
    json_fd: int
    values: dict[str, Any]


def parse(words: Sequence[str]) -> Wish:
    """The words after `spawn`. Raises `usage/...`."""
    from invoke.parser.argument import Argument

    arguments = [
        Argument(names=("nodecount", "c"), kind=int, default=1),
        Argument(names=("userdata", "u"), default=""),
        Argument(names=("keys", "k"), kind=bool, default=False),
        Argument(names=("exec", "x"), default=""),
        Argument(names=("idle",), kind=bool, default=False),
        Argument(names=("detach",), kind=bool, default=False),
        Argument(names=("reconnect",), kind=bool, default=False),
        Argument(names=("json-info-fd",), kind=int, default=0, attr_name="json_info_fd"),
        Argument(names=("qemu-image",), default="", attr_name="qemu_image"),
        Argument(names=("build",), default=""),
        Argument(names=("qemu-memory",), kind=int, default=1024, attr_name="qemu_memory"),
        Argument(names=("qemu-firmware",), default="bios", attr_name="qemu_firmware"),
        Argument(names=("output",), default=""),
    ]
    values = Options("kola spawn", arguments).parse(words)
    given: dict[str, Any] = {
        (arg.attr_name or arg.names[0]): arg.default for arg in arguments
    } | values
    if given["detach"]:
        raise usage_error(
            "option-value", "machines end with the cosa that started them, so --detach cannot be",
            fix="use --idle, and let the shell put cosa into the background",
        )  # fmt: skip
    if not 0 < int(given["nodecount"]) <= 50:
        raise usage_error("option-value", "spawn takes -c 1 to 50")
    return Wish(
        int(given["nodecount"]), given["userdata"], given["keys"], given["exec"], given["idle"],
        int(given["json_info_fd"]), given,
    )  # fmt: skip


def spawn(words: Sequence[str]) -> int:
    """Start the machines, tell of them, and run the command, idle, or give a shell.

    Returns the highest exit status of the command on the machines.
    """
    wish = parse(words)
    from cosa.cli import machines
    from cosa.kola import cluster
    from cosa.kola.host import Host
    from cosa.kola.pool import Pool
    from cosa.kola.saved import Shelf

    spec = _spec(wish)
    output = machines.output_of(wish.values["output"], "kola-spawn")
    host = Host(machines.accelerator())
    pool = Pool(output, host, Shelf(machines.saved_machines(), host))
    with ExitStack() as stack:
        made = []
        for number in range(1, wish.count + 1):
            machine = pool.fresh(spec, f"node{number}", checks=False, saved=True)
            stack.callback(machine.close)
            made.append(machine)
        if wish.count > 1:
            cluster.form(made)
        _tell(made, wish.json_fd)
        if wish.command:
            return max(_run(machine, wish.command) for machine in made)
        if wish.idle:
            while all(machine.usable for machine in made):
                for machine in made:
                    machine.watch()
                _pause()
            return 0
        return made[0].shell()


def _pause() -> None:
    from cosa.core import clock

    clock.sleep(1)


def _spec(wish: Wish) -> MachineSpec:
    from cosa.cli import machines
    from cosa.kola.spec import MachineSpec
    from cosa.tools import butane

    config = butane.load(Path(wish.userdata)).config if wish.userdata else None
    keys = [p.read_text().strip() for p in sorted((Path.home() / ".ssh").glob("id_*.pub"))]
    if wish.keys and keys:
        ours: butane.Config = {
            "ignition": {"version": "3.0.0"},
            "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": list(keys)}]},
        }
        config = butane.combined(ours, config)
    image = machines.image_of(wish.values["qemu_image"], wish.values["build"])
    return MachineSpec(
        image.absolute(),
        ignition=config,
        memory=int(wish.values["qemu_memory"]),
        firmware=machines.firmware_of(wish.values["qemu_firmware"]),
    )


def _tell(made: Sequence[Machine], descriptor: int) -> None:
    """One line of JSON a machine, as upstream's --json-info-fd has them."""
    lines = "".join(
        json.dumps(
            {
                "id": machine.uuid, "public_ip": f"127.0.0.1:{machine.link.port}",
                "output_dir": str(machine.folder),
            }
        )
        + "\n"
        for machine in made
    )  # fmt: skip
    if not descriptor:
        print(lines, end="", flush=True)
        return
    try:
        with os.fdopen(descriptor, "w", closefd=False) as file:
            file.write(lines)
    except OSError as err:
        raise usage_error(
            "option-value", f"descriptor {descriptor} cannot be written to", why=str(err)
        ) from err


def _run(machine: Machine, command: str) -> int:
    result = machine.ssh(command, check=False, timeout=_COMMAND)
    os.write(1, result.raw)
    if result.err:
        os.write(2, result.err.encode() + b"\n")
    return result.status
