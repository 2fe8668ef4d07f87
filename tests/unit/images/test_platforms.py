"""The platform table against the facts it stands for."""

from __future__ import annotations

import pytest

from cosa.core.errors import CosaError
from cosa.model.platforms import PLATFORMS, platform, possible


@pytest.mark.parametrize(
    ("names", "arches", "suffix", "skip"),
    [
        ("qemu", "x86_64 aarch64 ppc64le s390x riscv64", "qcow2", False),
        ("openstack", "x86_64 aarch64 ppc64le s390x", "qcow2", False),
        ("aliyun digitalocean exoscale proxmoxve", "x86_64", "qcow2", False),
        ("metal metal4k", "x86_64 aarch64 ppc64le s390x riscv64", "raw", False),
        ("nutanix", "x86_64", "qcow2", True),
        ("aws", "x86_64 aarch64", "vmdk", False),
        ("gcp", "x86_64 aarch64", "tar.gz", True),
        ("vmware virtualbox", "x86_64", "ova", True),
        ("kubevirt", "x86_64 s390x", "ociarchive", True),
        ("powervs", "ppc64le", "ova.gz", True),
    ],
)
def test_rows(names, arches, suffix, skip):
    for name in names.split():
        row = PLATFORMS[name]
        assert sorted(row.arches) == sorted(arches.split())
        assert (row.suffix, row.skip_compression) == (suffix, skip)


def test_only_clouds_have_a_size_of_their_own():
    assert PLATFORMS["qemu"].cloud_size
    assert not PLATFORMS["metal"].cloud_size


@pytest.mark.parametrize(
    ("name", "arch", "code"),
    [
        ("qmu", "x86_64", "platform/unknown"),
        ("powervs", "x86_64", "platform/unknown"),
        ("live", "x86_64", "platform/not-yet"),
        ("qemu", "aarch64", "platform/not-yet"),
        ("powervs", "ppc64le", "platform/not-yet"),
    ],
)
def test_refusals(name, arch, code):
    with pytest.raises(CosaError) as caught:
        platform(name, arch)
    assert caught.value.code == code
    assert caught.value.why


def test_every_platform_of_x86_64_but_live_can_be_made():
    here = {row.name for row in PLATFORMS.values() if "x86_64" in row.arches}
    assert set(possible("x86_64")) == here - {"live"}
    assert possible("s390x") == ()
