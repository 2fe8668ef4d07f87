"""Room for a build, from what is known; and what a cache may lose."""

import os
import time

import pytest

from cosa.compose import translate
from cosa.core import store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.meta import Meta
from cosa.model.package import Package
from cosa.pipeline import cachetools, space
from cosa.pipeline.cachetools import DAY, Entry

MIB = 1 << 20
SUM = "ab" * 32


def package(name="vim", size=100 * MIB):
    return Package(name, "0", "1", "1", "noarch", "r", f"{name}.rpm", f"sha256:{SUM}", size)


def needs(tmp_path, before=None, targets=("ostree", "qemu")):
    found = space.needs(
        [package()], targets, tmp=tmp_path / "tmp", cache=tmp_path / "cache",
        pkgcache=tmp_path / "pkgcache", before=before,
    )  # fmt: skip
    return {need.purpose: need.size // MIB for need in found}


def test_a_first_build_goes_by_factors(tmp_path):
    found = needs(tmp_path)
    assert found["packages to download"] == 100
    assert found["packages to unpack"] == 300
    assert found["ostree, qemu"] == 500
    assert "the raw disk, for a while" not in needs(tmp_path, targets=("ostree",))


def test_what_is_there_needs_no_room(tmp_path):
    place = tmp_path / f"cache/rpms/sha256/{SUM[:2]}/{SUM}.rpm"
    place.parent.mkdir(parents=True)
    place.touch()
    ref = tmp_path / "pkgcache/refs/heads" / translate.ref_name("vim", "1-1", "noarch")
    ref.parent.mkdir(parents=True)
    ref.touch()
    found = needs(tmp_path)
    assert found["packages to download"] == found["packages to unpack"] == 0
    assert found["the commit"] < 100


def test_the_build_before_tells_what_will_come_out(tmp_path):
    images = {
        name: {"path": name, "sha256": SUM, "size": size * MIB}
        for name, size in (("ostree", 10), ("qemu", 20))
    }
    before = Meta.of({
        "buildid": "1", "name": "n", "ostree-commit": SUM, "ostree-timestamp": "2026-01-01T00:00:00Z",
        "ostree-version": "1", "images": images,
    })  # fmt: skip
    assert needs(tmp_path, before)["ostree, qemu"] == 33


def test_too_little_says_for_what_and_what_would_help(tmp_path):
    huge = [
        space.Need("the commit", tmp_path / "not/there/yet", 1 << 60),
        space.Need("x", tmp_path, 0),
    ]
    with pytest.raises(CosaError) as caught:
        space.check(huge, lambda: ["`cosa prune` frees much"])
    err = caught.value
    assert (err.code, err.exit_class) == ("env/disk-full", ExitClass.ENVIRONMENT)
    assert f"below {tmp_path}, only" in err.what
    assert err.why == "1,099,511,627,776 MiB for the commit"
    assert err.fix.splitlines() == [
        "`cosa prune` frees much, or", "choose another place with --workdir",
    ]  # fmt: skip
    space.check([space.Need("x", tmp_path, 1)], lambda: pytest.fail("nobody asked"))


def entry(tmp_path, name, size, days):
    return Entry("k", "shared", tmp_path / name, size, time.time() - days * DAY, lambda: None)


@pytest.mark.parametrize(
    ("bounds", "gone"),
    [
        ({}, []),
        ({"unused_for": 2 * DAY}, ["old", "older"]),
        ({"max_size": 1000}, []),
        ({"max_size": 60}, ["older"]),
        ({"max_size": 30}, ["old", "older"]),
        ({"max_size": 0}, ["day", "old", "older"]),  # not what was just used
        ({"max_size": 60, "unused_for": 9 * DAY}, ["older"]),
    ],
)
def test_the_longest_unused_goes_first(tmp_path, bounds, gone):
    found = [
        entry(tmp_path, "now", 10, 0), entry(tmp_path, "older", 40, 10),
        entry(tmp_path, "day", 20, 1), entry(tmp_path, "old", 30, 3),
    ]  # fmt: skip
    assert sorted(e.path.name for e in cachetools.choose(found, **bounds)) == gone


def test_users_keep_a_cache_from_being_pruned(tmp_path):
    with store.unused(tmp_path) as free:
        assert free
    with store.using(tmp_path), store.using(tmp_path), store.unused(tmp_path) as free:
        assert not free
    with store.unused(tmp_path) as free:
        assert free


def test_names_of_a_file_share_its_size(tmp_path):
    one = tmp_path / "one"
    one.write_bytes(b"x" * 8192)
    size, used = cachetools._measure(one)
    os.link(one, tmp_path / "two")
    assert cachetools._measure(one)[0] == size // 2
    assert used >= one.stat().st_mtime
