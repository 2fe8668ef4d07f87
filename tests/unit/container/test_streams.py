"""Tar and gzip made by hand, read back by Python's own readers."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib

import pytest

from cosa.tools import tarwrite
from cosa.tools.gzipstream import GzipWriter


def read(*pieces: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces) + tarwrite.end())) as tar:
        return tar.getmembers()


@pytest.mark.parametrize("length", [1, 98, 99, 100, 101, 155, 255, 300, 5000])
def test_names_of_any_length(length: int) -> None:
    name, target = b"n" * length, b"t" * length
    (found,) = read(tarwrite.header(tarwrite.SYMLINK, name, target=target, mode=0o777))
    assert (found.name, found.linkname) == (name.decode(), target.decode())
    assert found.issym()


def test_everything_of_an_entry() -> None:
    data = b"hello"
    xattrs = [(b"security.capability\0", b"\x01\x00\x00\x02\n="), (b"user.x", b"v" * 90)]
    head = tarwrite.header(
        tarwrite.REGULAR, b"usr/bin/x", size=5, mode=0o4755, uid=12, gid=70000, xattrs=xattrs
    )
    (found,) = read(head, tarwrite.padded(data))
    assert (found.mode, found.uid, found.gid, found.size) == (0o4755, 12, 70000, 5)
    assert (found.mtime, found.uname, found.gname) == (0, "", "")
    value = found.pax_headers["SCHILY.xattr.security.capability"]
    assert value.encode("utf-8", "surrogateescape") == xattrs[0][1]
    assert found.pax_headers["SCHILY.xattr.user.x"] == "v" * 90


@pytest.mark.parametrize("size", [*range(80, 100), *range(980, 1000)])
def test_record_lengths_count_themselves(size: int) -> None:
    head = tarwrite.header(tarwrite.REGULAR, b"x", xattrs=[(b"user.x", b"v" * size)])
    (found,) = read(head)
    assert len(found.pax_headers["SCHILY.xattr.user.x"]) == size


@pytest.mark.parametrize("number", [0, 0o7777777, 0o7777777 + 1, 2**32 - 1])
def test_large_owner_numbers(number: int) -> None:
    (found,) = read(tarwrite.header(tarwrite.DIRECTORY, b"d", uid=number, gid=number))
    assert (found.uid, found.gid) == (number, number)


def compress(data: bytes, workers: int, step: int) -> tuple[bytes, GzipWriter]:
    out = io.BytesIO()
    with GzipWriter(out, workers) as gz:
        for at in range(0, len(data), step):
            gz.write(data[at : at + step])
    return out.getvalue(), gz


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_gzip_is_one_member_that_anybody_reads(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    packed, gz = compress(data, 2, 100_000)
    assert gzip.decompress(packed) == data
    single = zlib.decompressobj(31)
    assert single.decompress(packed) == data
    assert single.eof
    assert single.unused_data == b""
    assert gz.digest == hashlib.sha256(packed).hexdigest()
    assert gz.plain_digest == hashlib.sha256(data).hexdigest()
    assert (gz.size, gz.plain_size) == (len(packed), len(data))


def test_gzip_does_not_depend_on_workers_or_writes() -> None:
    data = hashlib.shake_128(b"seed").digest(200_000) * 20
    first, _ = compress(data, 1, len(data))
    for workers, step in ((1, 7_777), (4, 1 << 20), (3, 65_536)):
        assert compress(data, workers, step)[0] == first


def test_gzip_of_a_failed_writer_ends_without_hanging() -> None:
    def fail() -> None:
        with GzipWriter(io.BytesIO(), 2) as gz:
            gz.write(b"x" * 5_000_000)
            raise RuntimeError("reader failed")

    with pytest.raises(RuntimeError, match="reader failed"):
        fail()
