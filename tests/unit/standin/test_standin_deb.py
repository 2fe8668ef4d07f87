import io
import tarfile

import pytest
from debmaker import MTIME, PACK, PLAIN, Entry, ar, control, deb, folder, hardlink, symlink, tar

from cosa.core.errors import CosaError, ExitClass
from cosa.standin import tarstream
from cosa.standin.deb import Deb, safe_members


def read(path):
    package = Deb(path)
    with package.data() as members:
        return package, {
            member.name: (member, members.read(member.size)) for member in safe_members(members)
        }


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".zst"])
@pytest.mark.parametrize("control_suffix", ["", ".xz", ".gz", ".zst"])
def test_every_compression_of_the_format_is_read(tmp_path, suffix, control_suffix):
    path = tmp_path / "a.deb"
    path.write_bytes(deb(data_suffix=suffix, control_suffix=control_suffix))
    package, members = read(path)
    assert package.control.name == "tiny"
    assert list(members) == ["usr", "usr/bin", "usr/bin/tiny"]
    member, content = members["usr/bin/tiny"]
    assert content == b"#!/bin/sh\necho tiny\n"
    assert (member.mode, member.mtime, member.user) == (0o755, MTIME, "root")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_and_odd_names_survive_each_tar_dialect(tmp_path, form):
    depth, length = (2, 80) if form == tarfile.USTAR_FORMAT else (3, 180)
    long = "usr/share/" + "/".join(["d" * 50] * depth) + "/" + "x" * length
    odd = "usr/share/na\udcefve" if form == tarfile.GNU_FORMAT else "usr/share/naïve"
    path = tmp_path / "a.deb"
    path.write_bytes(deb(entries=[Entry("./" + long, b"1"), Entry("./" + odd, b"2")], form=form))
    assert list(read(path)[1]) == [long, odd]


def test_links_and_capabilities_are_told(tmp_path):
    caps = {"SCHILY.xattr.security.capability": "raw"}
    path = tmp_path / "a.deb"
    entries = [
        Entry("./one", b"1", pax=caps), hardlink("./two", "./one"), symlink("./three", "/etc/x"),
    ]  # fmt: skip
    path.write_bytes(deb(entries=entries, form=tarfile.PAX_FORMAT))
    _, members = read(path)
    assert members["one"][0].xattrs == {"security.capability": b"raw"}
    assert (members["two"][0].kind, members["two"][0].link) == (tarstream.HARDLINK, "one")
    assert members["three"][0].link == "/etc/x"


def named(name, **more):
    return deb(entries=[*PLAIN, Entry(name, b"x", **more)])


def broken_checksum():
    raw = bytearray(tar(PLAIN))
    raw[3] ^= 1
    return deb(data_suffix="", data=bytes(raw))


def flipped_xz():
    raw = bytearray(PACK[".xz"](tar(PLAIN)))
    raw[len(raw) // 2] ^= 0x40
    return deb(data=bytes(raw))


GOOD = deb()
BAD = {
    "empty": (b"", "standin/bad-archive"),
    "no ar": (b"PK\3\4" + b"\0" * 100, "standin/bad-archive"),
    "cut in ar header": (GOOD[:30], "standin/truncated"),
    "cut in control": (GOOD[:200], "standin/truncated"),
    "cut in data": (GOOD[:-40], "standin/truncated"),
    "no data": (ar({"debian-binary": b"2.0\n", "control.tar": tar([])}), "standin/truncated"),
    "cut inside xz": (deb(data=PACK[".xz"](tar(PLAIN))[:-30]), "standin/truncated"),
    "cut inside gz": (
        deb(data=PACK[".gz"](tar(PLAIN))[:-30], data_suffix=".gz"), "standin/truncated",
    ),
    "cut inside zst": (
        deb(data=PACK[".zst"](tar(PLAIN))[:-30], data_suffix=".zst"), "standin/truncated",
    ),
    "cut inside tar": (deb(data=tar(PLAIN)[:700], data_suffix=""), "standin/truncated"),
    "flipped bit": (flipped_xz(), "standin/bad-archive"),
    "not xz at all": (deb(data=b"hello" * 9), "standin/bad-archive"),
    "format 3": (
        ar({"debian-binary": b"3.0\n", "control.tar": tar([]), "data.tar": tar([])}),
        "standin/bad-archive",
    ),
    "order": (
        ar({"debian-binary": b"2.0\n", "data.tar": tar([]), "control.tar": tar([])}),
        "standin/bad-archive",
    ),
    "no control": (
        ar({"debian-binary": b"2.0\n", "control.tar": tar([]), "data.tar": tar([])}),
        "standin/bad-archive",
    ),
    "lzma": (deb(data_suffix=".lzma"), "standin/compression"),
    "bzip2 control": (
        ar({"debian-binary": b"2.0\n", "control.tar.bz2": b"BZh9", "data.tar": tar([])}),
        "standin/compression",
    ),
    "two paragraphs": (deb(control() + "\n" + control("other")), "standin/control"),
    "no version": (deb("Package: a\nArchitecture: all\n"), "standin/control"),
    "name with slash": (deb(control("../evil")), "standin/control"),
    "checksum": (broken_checksum(), "standin/bad-archive"),
    "absolute": (named("/etc/passwd"), "untrusted/path"),
    "dotdot": (named("./usr/../../etc/passwd"), "untrusted/path"),
    "dotdot first": (named("../x"), "untrusted/path"),
    "newline": (named("./a\nb"), "untrusted/path"),
    "double slash": (named("./usr//x"), "standin/bad-archive"),
    "twice": (named("./usr/bin/tiny"), "standin/bad-archive"),
    "below a symlink": (
        deb(entries=[symlink("./etc", "/tmp"), Entry("./etc/passwd", b"x")]),
        "standin/bad-archive",
    ),
    "below a file": (named("./usr/bin/tiny/x"), "standin/bad-archive"),
    "device": (named("./dev-null", kind=tarfile.CHRTYPE), "standin/bad-archive"),
    "hard link out": (
        deb(entries=[hardlink("./x", "/etc/shadow")]), "standin/bad-archive",
    ),
    "hard link to a folder": (
        deb(entries=[folder("./d"), hardlink("./x", "d")]), "standin/bad-archive",
    ),
    "symlink with newline": (deb(entries=[symlink("./x", "a\nb")]), "standin/bad-archive"),
    "unknown type": (named("./x", kind=b"Z"), "standin/bad-archive"),
    "sparse": (
        deb(
            entries=[Entry("./x", b"x", pax={"GNU.sparse.major": "1"})], form=tarfile.PAX_FORMAT
        ),
        "standin/bad-archive",
    ),
    "huge": (deb(entries=[Entry("./x", claim=1 << 40)]), "standin/bad-archive"),
    "huge control": (
        ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar": tar([Entry("./x", claim=1 << 30)]),
                "data.tar": tar([]),
            }
        ),
        "standin/bad-archive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_packages_are_refused(tmp_path, case):
    raw, code = BAD[case]
    path = tmp_path / "bad.deb"
    path.write_bytes(raw)
    with pytest.raises(CosaError) as caught:
        read(path)
    assert caught.value.code == code
    assert caught.value.exit_class == ExitClass.UNTRUSTED


def test_a_bomb_of_many_large_files_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr(tarstream, "MAX_TOTAL", 5000)
    stream = tarstream.TarStream(io.BytesIO(tar(Entry(f"f{i}", b"x" * 1000) for i in range(9))))
    with pytest.raises(CosaError, match="more than is allowed"):
        list(stream)


def test_a_giant_extended_header_is_not_read_into_memory():
    raw = tar([Entry("x", kind=b"L", claim=1 << 30)])
    with pytest.raises(CosaError, match="extended header"):
        list(tarstream.TarStream(io.BytesIO(raw)))
