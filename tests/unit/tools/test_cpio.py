"""Initramfs images: several archives, compressed or not, and hostile ones."""

import contextlib
import gzip
import lzma
import os
import random
import shutil

import pytest
import zstandard
from cpiomaker import CHAR, DIR, FILE, LINK, archive, entry

from cosa.core.errors import CosaError
from cosa.tools import cpio


def packed_by_zstd(data):
    return zstandard.ZstdCompressor().compress(data)


EARLY = archive(entry("kernel", DIR), entry("kernel/ucode.bin", FILE, b"micro"))
MAIN = archive(
    entry(".", DIR), entry("./usr/lib/a", FILE | 0o111, b"new"), entry("lib", LINK, b"usr/lib"),
    entry("one", FILE, ino=7, links=2), entry("two", FILE, b"same", ino=7, links=2),
    entry("dev/console", CHAR),
)  # fmt: skip
LATE = archive(entry("late", FILE, b"x"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, packed_by_zstd])
def test_archives_behind_each_other(tmp_path, pack):
    image, out = tmp_path / "i", tmp_path / "out"
    image.write_bytes(EARLY + pack(MAIN) + bytes(100) + pack(archive()) + LATE)
    out.mkdir()
    cpio.extract(image, out)
    assert (out / "kernel/ucode.bin").read_bytes() == b"micro"
    assert (out / "usr/lib/a").read_bytes() == b"new"
    assert os.access(out / "usr/lib/a", os.X_OK)
    assert os.readlink(out / "lib") == "usr/lib"
    assert (out / "one").read_bytes() == b"same"
    assert (out / "one").samefile(out / "two")
    assert (out / "dev/console").stat().st_size == 0
    assert (out / "late").read_bytes() == b"x"
    assert [p.name for p in tmp_path.iterdir() if p.name not in ("i", "out")] == []


def test_a_stream_in_two_frames(tmp_path):
    (tmp_path / "i").write_bytes(packed_by_zstd(MAIN[:300]) + packed_by_zstd(MAIN[300:]) + LATE)
    names = [member.name for member in cpio.members(tmp_path / "i")]
    assert names == ["usr/lib/a", "lib", "one", "two", "dev/console", "late"]


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../x", FILE, b"x")],
        [entry("a/../../x", FILE, b"x")],
        [entry("a", LINK, b".."), entry("a/x", FILE, b"x")],
        [entry("a", LINK, b"/"), entry("a", DIR), entry("a/x", FILE, b"x")],
        [entry("a", FILE, b"1"), entry("a/x", FILE, b"x")],
        [entry("a/b", FILE, b"1"), entry("a", LINK, b".."), entry("a/x", FILE, b"x")],
        [entry("/x", FILE, b"x")],
    ],
)
def test_nothing_is_written_outside(tmp_path, entries):
    (tmp_path / "i").write_bytes(archive(*entries))
    out = tmp_path / "out"
    out.mkdir()
    with contextlib.suppress(CosaError):
        cpio.extract(tmp_path / "i", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "out"]


@pytest.mark.parametrize(
    "data",
    [
        b"random bytes that are nothing",
        MAIN[:50],
        entry("a", FILE, b"x" * 100)[:-50],
        b"070701" + b"zz" * 52,
        entry("a").replace(b"00000002", b"ffffffff"),
        packed_by_zstd(MAIN)[:-20],
        gzip.compress(MAIN, mtime=0)[:-9],
        gzip.compress(b"no cpio in here", mtime=0),
        b"\x28\xb5\x2f\xfd" + bytes(40),
    ],
)
def test_damaged_images_are_refused(tmp_path, data):
    (tmp_path / "i").write_bytes(data)
    (tmp_path / "out").mkdir()
    with pytest.raises(CosaError) as caught:
        cpio.extract(tmp_path / "i", tmp_path / "out")
    assert caught.value.code == "cpio/malformed"


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cpio, "LIMIT", 1 << 20)
    (tmp_path / "i").write_bytes(gzip.compress(archive(entry("a", FILE, bytes(4 << 20)))))
    with pytest.raises(CosaError) as caught:
        list(cpio.members(tmp_path / "i"))
    assert caught.value.code == "cpio/too-big"


def mutated(chance, data):
    raw = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(raw))
        what = chance.randrange(4)
        if what == 0:
            raw[at] = chance.randrange(256)
        elif what == 1:
            raw[at : at + 8] = b"%08x" % chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, at))
        elif what == 2:
            del raw[at : at + chance.randint(1, 60)]
        else:
            raw[at:at] = chance.randbytes(chance.randint(1, 60))
    return bytes(raw)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, packed_by_zstd])
def test_whatever_is_in_an_image_nothing_leaves_the_folder(tmp_path, pack):
    chance = random.Random(1)
    image = tmp_path / "i"
    for number in range(120):
        plain = mutated(chance, EARLY + MAIN) if number % 2 else EARLY + MAIN
        packed = pack(plain)
        image.write_bytes(packed if number % 2 else mutated(chance, packed))
        out = tmp_path / "out"
        out.mkdir()
        with contextlib.suppress(CosaError):
            cpio.extract(image, out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "out"]
        shutil.rmtree(out)
