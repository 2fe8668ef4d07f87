"""Saving and restoring guests: with a boot sector that counts, and the cache's own rules."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cosa.core import run
from cosa.core.errors import CosaError
from cosa.kola import saved
from cosa.kola.host import Host
from cosa.kola.machine import Machine
from cosa.kola.saved import Shelf
from cosa.kola.spec import DiskSpec, MachineSpec
from cosa.tools import qemu, qemu_state
from cosa.tools.qemu import Disk, Firmware, Guest, Qemu

pytestmark = pytest.mark.tool

# Prints A, B, C ... on COM1, each after a while, round and round; never starts again at A but
# when it boots.
COUNTER = (
    bytes.fromhex(
        "31c0 8ed8 ba f803 b041"  # ds = 0; dx = COM1; al = 'A'
        "ee fec0 3c5b 7502 b041"  # out; next letter; after Z comes A
        "bb 4000 b9 ffff e2fe 4b 75f8"  # 64 * 65536 rounds
        "ebea"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(COUNTER.ljust(1 << 20, b"\0"))
    return path


def guest(disk: Path, console: Path, *, incoming: bool = False) -> Guest:
    disks = (Disk(disk, "primary-disk", boot=True),)
    return Guest(str(console.stat().st_ino), disks, console, memory=64, incoming=incoming)


def new_console(path: Path) -> Path:
    path.touch()
    return path


def more(console: Path, count: int) -> None:
    """Wait until `count` more letters are on the console."""
    until = time.monotonic() + 60
    before = console.stat().st_size
    while console.stat().st_size < before + count:
        assert time.monotonic() < until, console.read_text()
        time.sleep(0.05)


def uuid_guest(one: Guest) -> Guest:
    return replace(one, uuid="12345678-1234-4234-8234-123456789abc")


def test_a_guest_goes_on_where_it_was_saved(image: Path, tmp_path: Path) -> None:
    disk, memory = tmp_path / "primary.qcow2", tmp_path / "memory"
    qemu.overlay(image, disk)
    first = uuid_guest(guest(disk, new_console(tmp_path / "first")))
    running = Qemu(first, tmp_path / "first.log")
    try:
        more(first.console, 3)
        qemu_state.save(running, memory, [tmp_path / "next.qcow2"], running.check)
        said = first.console.read_text().strip()[-1]
        frozen = disk.read_bytes()
        running.ask("cont")
        more(first.console, 2)  # it runs on
    finally:
        running.quit()
    assert disk.read_bytes() == frozen, "what was saved is not written to"

    layer = tmp_path / "layer.qcow2"
    # The image may have moved since.
    image = image.rename(tmp_path / "moved.raw")
    qemu.overlay_of_overlay(disk, image, layer)
    second = uuid_guest(guest(layer, new_console(tmp_path / "second"), incoming=True))
    again = Qemu(second, tmp_path / "second.log")
    try:
        qemu_state.load(again, memory, again.check)
        more(second.console, 2)
    finally:
        again.quit()
    after = "A" if said == "Z" else chr(ord(said) + 1)
    # A letter that was under way when the machine stopped comes once more.
    assert second.console.read_text()[0] in (said, after)


@pytest.mark.parametrize("damage", ["truncated", "empty", "absent"])
def test_a_damaged_state_is_refused(image: Path, tmp_path: Path, damage: str) -> None:
    disk, memory = tmp_path / "primary.qcow2", tmp_path / "memory"
    qemu.overlay(image, disk)
    first = uuid_guest(guest(disk, new_console(tmp_path / "first")))
    running = Qemu(first, tmp_path / "first.log")
    try:
        qemu_state.save(running, memory, [tmp_path / "next.qcow2"], running.check)
    finally:
        running.quit()
    if damage == "absent":
        memory.unlink()
    else:
        with memory.open("r+b") as file:
            file.truncate(memory.stat().st_size // 2 if damage == "truncated" else 0)
    second = uuid_guest(guest(disk, new_console(tmp_path / "second"), incoming=True))
    again = Qemu(second, tmp_path / "second.log")
    try:
        with pytest.raises(CosaError) as caught:
            qemu_state.load(again, memory, again.check)
    finally:
        again.quit()
    assert caught.value.code in ("qemu/load", "qemu/ended", "qemu/refused")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "machines", Host("tcg"))


def test_everything_that_makes_a_machine_is_in_its_key(shelf: Shelf, image: Path) -> None:
    spec = MachineSpec(image, memory=64)
    one = shelf._inputs(spec, checks=True)
    assert one == shelf._inputs(replace(spec), checks=True)
    others = [
        shelf._inputs(spec, checks=False),
        *(
            shelf._inputs(changed, checks=True)
            for changed in (
                replace(spec, kargs=("a",)),
                replace(spec, ignition={"ignition": {"version": "3.0.0"}}),
                replace(spec, firmware=Firmware.UEFI),
                replace(spec, memory=128),
                replace(spec, cpus=2),
                replace(spec, disks=(DiskSpec(1 << 30),)),
                replace(spec, primary=DiskSpec(1 << 30)),
                replace(spec, tolerate=frozenset({"oops"})),
                replace(spec, autologin=True),
            )
        ),
    ]
    copy = image.with_name("copy.raw")
    copy.write_bytes(image.read_bytes())
    assert shelf._inputs(replace(spec, image=copy), checks=True) == one, "the bytes count"
    copy.write_bytes(image.read_bytes()[:-1] + b"x")
    others.append(shelf._inputs(replace(spec, image=copy), checks=True))
    texts = [str(inputs) for inputs in [one, *others]]
    assert len(set(texts)) == len(texts)


def test_what_cannot_be_saved_has_no_key(shelf: Shelf, image: Path) -> None:
    spec = MachineSpec(image, memory=64)
    assert shelf._inputs(replace(spec, disks=(DiskSpec(1, "nvme"),)), checks=True) is None
    layered = image.with_name("layered.qcow2")
    qemu.overlay(image, layered)
    assert shelf._inputs(replace(spec, image=layered), checks=True) is None


def test_an_entry_that_does_not_come_up_is_dropped_and_the_machine_booted(
    shelf: Shelf, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = MachineSpec(image, memory=64)
    inputs = shelf._inputs(spec, checks=False)
    assert inputs
    with shelf._store.produce("machine", inputs) as out:
        for name in ("id_ed25519", "id_ed25519.pub", "memory"):
            (out / name).write_text("nonsense")
        run.run(["qemu-img", "create", "-q", "-f", "qcow2", out / "primary.qcow2", "1M"])
    assert shelf.has(spec, checks=False)
    # A boot sector has no SSH: that a boot was begun is all there is to see.
    booted: list[MachineSpec] = []

    def boot(spec: MachineSpec, *_args: object, **_more: object) -> Machine:
        booted.append(spec)
        raise CosaError("kola/boot", "it was tried")

    monkeypatch.setattr(saved.Machine, "boot", boot)
    with pytest.raises(CosaError, match="it was tried"):
        shelf.provide(spec, tmp_path / "out", checks=False)
    assert booted == [spec]
    assert not shelf.has(spec, checks=False)
    assert not list((tmp_path / "machines/running").iterdir()), "its disks are gone"


def test_an_image_that_is_not_there_is_one_clear_error(shelf: Shelf, tmp_path: Path) -> None:
    spec = MachineSpec(tmp_path / "none.qcow2", memory=64)
    with pytest.raises(CosaError) as caught:
        shelf.provide(spec, tmp_path / "out", checks=False)
    assert caught.value.code == "qemu/no-image"


@pytest.mark.parametrize("error", [CosaError("qemu/save", "no"), OSError(28, "No space left")])
def test_a_machine_that_cannot_be_saved_is_booted_again(
    shelf: Shelf, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The sector cannot be logged in to, so booting stops before that here."""
    started: list[Machine] = []

    def boot(spec: MachineSpec, folder: Path, host: Host, disks: Path | None = None) -> Machine:
        machine = Machine(spec, folder, host, disks=disks)
        machine._start()
        started.append(machine)
        return machine

    def freeze(_machine: Machine, _out: Path) -> None:
        raise error

    monkeypatch.setattr(saved.Machine, "boot", boot)
    monkeypatch.setattr(saved.Machine, "freeze", freeze)
    spec = MachineSpec(image, memory=64)
    machine, found = shelf.provide(spec, tmp_path / "out", checks=False)
    with machine:
        assert machine is started[1]
        assert machine.usable
        assert found is None
        assert not started[0].usable
    assert not shelf.has(spec, checks=False)


def test_pruned_by_use_and_size(shelf: Shelf) -> None:
    for number in range(4):
        with shelf._store.produce("machine", {"n": number}) as out:
            (out / "memory").write_bytes(b"x" * (1 << 20))
        time.sleep(0.02)
    assert shelf._store.find("machine", {"n": 0})  # a use
    shelf.prune(limit=5 << 19)
    left = [n for n in range(4) if shelf._store.find("machine", {"n": n})]
    assert left == [0, 3]


def test_a_run_killed_while_saving_leaves_nothing_to_use(shelf: Shelf) -> None:
    script = (
        "import os, sys; from pathlib import Path; from cosa.core.store import Store\n"
        "with Store(Path(sys.argv[1])).produce('machine', {'n': 1}) as out:\n"
        "    (out / 'memory').write_bytes(b'half'); os.kill(os.getpid(), 9)\n"
    )
    done = run.run(["python3", "-c", script, shelf.root], check=False, env={"PYTHONPATH": "."})
    assert done.status == -9
    assert shelf._store.find("machine", {"n": 1}) is None
    with shelf._store.produce("machine", {"n": 2}):
        pass
    assert [path.name for path in (shelf.root / "machine").glob(".cosa-*")] == []
