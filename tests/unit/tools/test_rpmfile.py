"""Packages nobody should unpack: paths, sizes and archives that do not fit their header."""

from __future__ import annotations

import io
import stat
import struct

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.tools import rpmfile
from cosa.tools.rpmheader import RpmFile, capability_xattr, check_paths

REG, DIR, LNK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def file(path: str, mode: int = REG, size: int = 0, **more) -> RpmFile:
    values = {
        "user": "root", "group": "root", "mtime": 0, "flags": 0, "digest": "", "linkto": "",
        "rdev": 0, "inode": abs(hash(path)), "caps": "", "lang": "",
    }  # fmt: skip
    return RpmFile(path=path, mode=mode, size=size, **(values | more))


def cpio(*members: tuple[str, bytes], trailer: bool = True) -> bytes:
    out = b""
    for name, data in (*members, ("TRAILER!!!", b"")) if trailer else members:
        raw = name.encode() + b"\0"
        fields = [0, REG, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        out += b"070701" + b"".join(b"%08x" % field for field in fields)
        out += raw + b"\0" * (-(110 + len(raw)) % 4) + data + b"\0" * (-len(data) % 4)
    return out


def members(files: list[RpmFile], archive: bytes) -> list[tuple[str, bytes, str | None]]:
    stream = io.BufferedReader(io.BytesIO(archive))
    found = rpmfile._members(stream, files, "bad.rpm")
    return [(e.file.path, e.stream.read(), e.hardlink_to) for e in found]


def test_members_are_read_whole() -> None:
    files = [file("/a", size=3), file("/b", size=0), file("/l", LNK, 1, linkto="/a")]
    archive = cpio(("./a", b"abc"), ("./b", b""), ("./l", b"/a"))
    assert members(files, archive) == [("/a", b"abc", None), ("/b", b"", None), ("/l", b"/a", None)]


def test_unread_data_is_skipped() -> None:
    files = [file("/a", size=3), file("/b", size=2)]
    stream = io.BufferedReader(io.BytesIO(cpio(("./a", b"abc"), ("./b", b"xy"))))
    paths = [entry.file.path for entry in rpmfile._members(stream, files, "x")]
    assert paths == ["/a", "/b"]


def test_hard_links_carry_data_on_the_last_name() -> None:
    files = [file("/one", size=3, inode=1), file("/two", size=3, inode=1)]
    archive = cpio(("./one", b""), ("./two", b"abc"))
    assert members(files, archive) == [("/one", b"", None), ("/two", b"abc", "/one")]


def test_stripped_form_names_files_by_number() -> None:
    files = [file("/zero", size=1), file("/one", size=5)]
    archive = b"07070X" + b"00000001" + b"\0\0" + b"hello\0\0\0" + cpio()
    assert members(files, archive) == [("/one", b"hello", None)]


@pytest.mark.parametrize(
    ("files", "archive", "code"),
    [
        ([file("/etc/x")], cpio(("../../etc/x", b"")), "rpm/path"),
        ([file("/a")], cpio(("./b", b"")), "rpm/unlisted"),
        ([file("/a", size=1)], cpio(("./a", b"1"), ("./a", b"1")), "rpm/unlisted"),
        ([file("/a", size=1)], cpio(("./a", b"much more")), "rpm/size"),
        ([file("/a", size=9)], cpio(("./a", b"")), "rpm/size"),
        ([file("/a")], b"garbage in place of an archive", "rpm/payload"),
        ([file("/a")], b"07070X" + b"000000ff" + b"\0\0", "rpm/unlisted"),
    ],
)
def test_payload_that_does_not_fit_is_refused(
    files: list[RpmFile], archive: bytes, code: str
) -> None:
    with pytest.raises(CosaError) as caught:
        members(files, archive)
    assert (caught.value.code, caught.value.exit_class) == (code, ExitClass.UNTRUSTED)
    assert "bad.rpm" in caught.value.what


@pytest.mark.parametrize(
    ("cut", "error"), [(3, EOFError), (60, EOFError), (115, EOFError), (125, CosaError)]
)
def test_truncated_payload(cut: int, error: type[Exception]) -> None:
    # In the data of a member it is whoever reads that who meets the end.
    with pytest.raises(error):
        members([file("/a", size=20)], cpio(("./a", b"x" * 20))[:cut])


@pytest.mark.parametrize(
    "paths",
    [
        [file("/usr/../etc/x")],
        [file("usr/x")],
        [file("/usr/./x")],
        [file("/usr//x")],
        [file("/usr/\n")],
        [file("/usr/l", LNK, linkto="/etc"), file("/usr/l/passwd")],
        [file("/l", LNK, linkto="/"), file("/l/a/b/c")],
        [file("/usr/a"), file("/usr/a/b")],
    ],
)
def test_paths_that_leave_the_root(paths: list[RpmFile]) -> None:
    with pytest.raises(CosaError) as caught:
        check_paths(paths, "bad.rpm")
    assert caught.value.code == "rpm/path"


def test_ordinary_paths_pass() -> None:
    check_paths([file("/usr", DIR), file("/usr/l", LNK, linkto="../etc"), file("/usr/lx/y")], "x")


@pytest.mark.parametrize(
    ("text", "permitted", "inheritable", "effective"),
    [
        ("cap_net_raw=p", 1 << 13, 0, 0),
        ("cap_net_admin,cap_net_raw=ep", 1 << 12 | 1 << 13, 0, 1),
        ("= cap_net_raw+ep", 1 << 13, 0, 1),
        ("cap_setuid=ep cap_setgid+i", 1 << 7, 1 << 6, 1),
        ("cap_checkpoint_restore=p", 1 << 40, 0, 0),
    ],
)
def test_capabilities(text: str, permitted: int, inheritable: int, effective: int) -> None:
    magic, low, low_i, high, high_i = struct.unpack("<5I", capability_xattr(text))
    assert magic == 0x02000000 | effective
    assert (low | high << 32, low_i | high_i << 32) == (permitted, inheritable)


@pytest.mark.parametrize("text", ["cap_nonsense=p", "no operator"])
def test_capability_texts_nobody_writes(text: str) -> None:
    with pytest.raises(ValueError, match=r"nonsense|capability"):
        capability_xattr(text)
