"""The same bits twice, and `cosa rebuild`, which says where they are not."""

import json
import os
import re
import shutil

from cosa.core.errors import ExitClass

EPOCH = "1700000000"
TARGETS = ("ostree", "qemu", "metal")


def meta_of(w):
    return json.loads((w / "builds/latest/x86_64/meta.json").read_text())


def results(w):
    """What a build's bits come down to: the commit and the digest of every file."""
    meta = meta_of(w)
    files = {name: image["sha256"] for name, image in meta["images"].items()}
    return {"commit": meta["ostree-commit"], "version": meta["ostree-version"]} | files


def test_same_bits_whatever_the_day_the_place_the_cache_and_the_load(small, place):
    """Folder, clock, cache, number of jobs, umask and environment all differ."""
    config = small.config
    first = small.init(place / "w")
    small.cosa(first, "build", *TARGETS, SOURCE_DATE_EPOCH=EPOCH, COSA_JOBS="1")
    expected = results(first)
    assert set(TARGETS) < set(expected)

    second = place / "quite another/place"
    shutil.copytree(config, place / "config copy", symlinks=True)
    small.cosa(second, "init", str(place / "config copy"))
    umask = os.umask(0o077)
    try:
        small.cosa(
            second, "build", *TARGETS, SOURCE_DATE_EPOCH=EPOCH, COSA_JOBS="5",
            COSA_FAKE_TIME="1900000000", TZ="Pacific/Kiritimati", LANG="tr_TR.UTF-8",
            COSA_CACHE=str(place / "cold"), TMPDIR=str(place),
        )  # fmt: skip
    finally:
        os.umask(umask)
    assert results(second) == expected

    # Warm: everything is imported already, nothing of the build itself is left.
    shutil.rmtree(first / "builds")
    shutil.rmtree(first / "tmp")
    shutil.rmtree(first / "cache/steps", ignore_errors=True)
    small.cosa(first, "build", *TARGETS, SOURCE_DATE_EPOCH=EPOCH)
    assert results(first) == expected


def test_a_build_can_be_made_again(small, place):
    w = small.init(place / "w")
    rootfs = w / "overrides/rootfs/usr/share/over"
    rootfs.parent.mkdir(parents=True)
    rootfs.write_text("override")
    small.cosa(w, "build")
    # The world moves on: another package, another definition, an empty cache of downloads.
    small.update("2")
    manifest = small.config / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("[app, data,", "[data,"))
    done = small.cosa(w, "rebuild", "latest")
    assert "made again: the same to the bit" in done.stdout
    assert [*w.glob("tmp/.cosa*")] == []
    found = json.loads(small.cosa(w, "rebuild", "--json").stdout)
    assert found["equal"]
    assert {each["name"] for each in found["findings"]} >= {"commit", "ostree", "qemu"}

    rootfs.write_text("edited since")
    done = small.cosa(w, "rebuild", check=False)
    assert done.returncode == ExitClass.STEP
    assert "first difference: /usr/share/over: 8 and 12 bytes" in done.stdout
    assert "overrides/rootfs: usr/share/over changed" in done.stdout


def test_what_is_not_reproducible_is_named(small, place):
    w = small.init(place / "w")
    manifest = small.config / "manifest.yaml"
    manifest.write_text(
        manifest.read_text().replace(
            "echo post >", "read x < /proc/sys/kernel/random/uuid; echo $x >"
        )
    )
    small.cosa(w, "build")
    done = small.cosa(w, "rebuild", check=False)
    assert done.returncode == ExitClass.STEP
    assert re.search(r"commit +DIFFERENT\n.*: /usr/share/data/postprocess: byte 0", done.stdout)
    assert "something in the build is not reproducible" in done.stdout


def test_records_that_do_not_hold(small, place):
    w = small.init(place / "w")
    small.cosa(w, "build", "ostree")
    folder = w / "builds/latest/x86_64"
    lock = folder / "manifest-lock.generated.x86_64.json"
    data = json.loads(lock.read_text())
    del data["packages"]["app"]["digest"]
    archive = folder / "coreos-assembler-config.tar.gz"
    for path, text, code, status in (
        (lock, json.dumps(data).encode(), "rebuild/lockfile", ExitClass.USAGE),
        (archive, b"another", "rebuild/config-digest", ExitClass.UNTRUSTED),
        (archive, None, "rebuild/no-config", ExitClass.USAGE),
    ):
        good = path.read_bytes()
        path.unlink()
        if text is not None:
            path.write_bytes(text)
        done = small.cosa(w, "rebuild", check=False)
        assert (done.returncode, code in done.stderr) == (status, True)
        path.unlink(missing_ok=True)
        path.write_bytes(good)
