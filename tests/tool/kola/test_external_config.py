"""Configs beside external tests, checked by the real butane and ignition-validate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosa.core.errors import CosaError
from cosa.kola import extrun
from cosa.kola.external import ExternalTest
from cosa.kola.extitem import load_config, machine_for
from cosa.kola.metadata import Metadata
from cosa.kola.spec import GIB, DiskSpec, MachineSpec
from cosa.tools.butane import combined
from cosa.tools.qemu import Firmware

HEAD = "variant: fcos\nversion: 1.4.0\n"
WARNS = HEAD + "storage:\n  files:\n    - path: /x\n      mode: 444\n"


def case(tmp_path: Path, name: str, text: str, **meta: object) -> ExternalTest:
    path = tmp_path / name
    path.write_text(text)
    return ExternalTest("t", tmp_path / "test.sh", config=path, meta=Metadata(**meta))


def test_butane_and_ignition(tmp_path: Path) -> None:
    config = load_config(case(tmp_path, "config.bu", HEAD))
    assert config["ignition"] == {"version": "3.3.0"}
    text = '{"ignition": {"version": "3.0.0"}, "passwd": {}}'
    assert load_config(case(tmp_path, "config.ign", text)) == json.loads(text)
    assert load_config(ExternalTest("t", tmp_path / "x")) is None


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("config.bu", HEAD + "storage:\n  files:\n    - path: relative\n", "butane/invalid"),
        ("config.bu", "variant: [", "butane/invalid"),
        ("config.bu", WARNS, "kola/config-warning"),
        ("config.ign", "{", "ignition/invalid"),
        ("config.ign", '{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "x"}]}}',
         "ignition/invalid"),
    ],
)  # fmt: skip
def test_a_bad_config_says_what_and_where(tmp_path: Path, name: str, text: str, code: str) -> None:
    with pytest.raises(CosaError) as caught:
        load_config(case(tmp_path, name, text))
    assert caught.value.code == code
    assert name in str(caught.value)


def test_warnings_may_be_allowed(tmp_path: Path) -> None:
    assert load_config(case(tmp_path, "config.bu", WARNS, allow_config_warnings=True))


def test_specs_newer_than_our_tools(tmp_path: Path) -> None:
    newer = '{"ignition": {"version": "3.99.0"}, "new": 1}'
    config = load_config(case(tmp_path, "config.ign", newer))
    assert config == json.loads(newer)
    whole = combined(config, extrun.unit_config(ExternalTest("t", Path("t"))))
    assert len(whole["ignition"]["config"]["merge"]) == 2, "the guest's Ignition judges it"


def test_the_machine_a_test_asks_for(tmp_path: Path) -> None:
    meta = Metadata(
        tags=("secure-boot", "needs-internet"), min_memory=4096, min_disk=20,
        additional_disks=("5G:channel=nvme", "1G:mpath"), primary_disk=":4k", additional_nics=2,
        append_kernel_args="a=1 b", append_firstboot_kernel_args="ip=dhcp", numa_nodes=True,
        bind_mount_host_ro=("data,/mnt/data",),
    )  # fmt: skip
    (tmp_path / "data").mkdir()
    test = ExternalTest("t", tmp_path / "test.sh", meta=meta)
    spec = machine_for(test, MachineSpec(Path("/i"), kargs=("z",)), None)
    assert spec == MachineSpec(
        Path("/i"), firmware=Firmware.UEFI_SECURE, memory=4096, kargs=("z", "a=1", "b"),
        firstboot_kargs="ip=dhcp", disks=(DiskSpec(5 * GIB, "nvme"), DiskSpec(GIB, "scsi", multipath=True)),
        primary=DiskSpec(20 * GIB, logical=4096, physical=4096), network=True, nics=2, numa=True,
        mounts=((str(tmp_path / "data"), "/mnt/data"),),
    )  # fmt: skip
    plain = machine_for(ExternalTest("t", Path("t")), MachineSpec(Path("/i")), None)
    assert plain == MachineSpec(Path("/i")), "like every other, so that one may stand for another"
