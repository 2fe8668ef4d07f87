import hashlib
import os
import stat
import struct
import tarfile

import pytest
from debmaker import MTIME, PLAIN, Entry, control, deb, folder, hardlink, symlink

from cosa.core.errors import CosaError
from cosa.standin import convert, essential, filecaps
from cosa.standin.openpgp import SigningKey

rpm = pytest.importorskip("rpm")

KEY = SigningKey(bytes(range(32)), 1_600_000_000)
CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)

FULL = control(
    "full", "2:1.0-rc1-3", "amd64",
    Source="fullsource (1.0-2)", Homepage="https://example.org/full",
    Multi_Arch="same",
    Depends="libc6 (>= 2.38), mta | exim4 (<< 4.9), perl:any, foo:arm64, self (= 2:1.0-rc1-3)",
    Pre_Depends="dpkg (>> 1.17)", Recommends="nice", Suggests="maybe | other",
    Breaks="old (<< 3)", Conflicts="enemy, virtual (<= 2)", Replaces="old",
    Provides="thing, other-thing (= 5)",
)  # fmt: skip
ENTRIES = [
    folder("./"), folder("./etc/"), Entry("./etc/full.conf", b"a=1\n", 0o640, group="shadow"),
    folder("./lib/"), Entry("./lib/libfull.so", b"ELF", 0o644),
    folder("./usr/"), folder("./usr/bin/"),
    Entry("./usr/bin/full", b"binary" * 1000, 0o4755),
    hardlink("./usr/bin/b-name", "./usr/bin/full"), hardlink("./usr/bin/z-name", "./usr/bin/full"),
    symlink("./usr/bin/sh", "full"), Entry("./usr/bin/empty", b"", 0o755),
    folder("./usr/share/doc/full/"), Entry("./usr/share/doc/full/copyright", b"free"),
    Entry("./usr/share/doc/full/README", b"read"), folder("./usr/share/man/man1/"),
    Entry("./usr/share/man/man1/full.1.gz", b"man"), folder("./var/lib/full/", 0o1777),
    Entry("./usr/bin/capable", b"x", 0o755),
]  # fmt: skip
PARTS = {
    "conffiles": b"/etc/full.conf\n",
    "postinst": b"#!/bin/sh\nset -e\necho configured\n",
    "prerm": b"#!/usr/bin/perl\nprint 1;\n",
    "preinst": b"#!/bin/sh\nexit 1\n",
    "templates": b"Template: full/x\n",
}


def make(tmp_path, raw=None, name="x", **options):
    path, out = tmp_path / f"{name}.deb", tmp_path / f"{name}.rpm"
    path.write_bytes(raw if raw is not None else deb(FULL, ENTRIES, PARTS))
    spec = convert.convert(path, out, KEY, **options)
    return spec, out


def header(path):
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(rpm.RPMVSF_MASK_NOSIGNATURES)
    with path.open("rb") as file:
        return transaction.hdrFromFdno(file.fileno())


def dependencies(head, kind):
    return set(head[kind + "nevrs"])


@pytest.fixture
def full(tmp_path):
    return header(make(tmp_path)[1])


def test_identity_and_texts(full):
    wanted = {
        "name": "full", "epochnum": 2, "version": "1.0_rc1", "release": "3", "arch": "x86_64",
        "os": "linux", "summary": "the full package", "url": "https://example.org/full",
        "description": "With a longer text.\n\nAnd a second paragraph.",
        "sourcerpm": "fullsource-1.0-2.src.rpm", "vendor": "Debian", "buildtime": MTIME,
        "payloadcompressor": "zstd", "packager": "Somebody <s@example.org>",
    }  # fmt: skip
    assert {key: full[key] for key in wanted} == wanted


def test_dependencies_keep_their_meaning(full):
    requires = {d for d in dependencies(full, "require") if not d.startswith("rpmlib(")}
    assert requires == {
        "libc6 >= 2.38-0", "(mta or exim4 < 4.9-0)", "perl", "self = 2:1.0_rc1-3",
        "dpkg > 1.17-0", "deb-essential",
    }  # fmt: skip
    assert "rpmlib(RichDependencies) <= 4.12.0-1" in dependencies(full, "require")
    assert dependencies(full, "provide") == {
        "full = 2:1.0_rc1-3", "thing", "other-thing = 5-0", "/bin/sh",
    }  # fmt: skip
    assert dependencies(full, "conflict") == {"old < 3-0", "enemy", "virtual <= 2-0"}
    assert dependencies(full, "recommend") == {"nice"}
    assert dependencies(full, "suggest") == {"(maybe or other)"}
    assert not full["obsoletename"]


def test_a_conflict_only_rpm_would_see_is_left_out(tmp_path):
    _, out = make(tmp_path, dropped=["virtual (<= 2)"])
    assert dependencies(header(out), "conflict") == {"old < 3-0", "enemy"}


def test_files_keep_owner_mode_kind_and_role(full):
    files = {item.name: item for item in rpm.files(full)}
    assert [item.name for item in rpm.files(full)] == sorted(files)
    conf = files["/etc/full.conf"]
    assert (conf.user, conf.group, stat.S_IMODE(conf.mode)) == ("root", "shadow", 0o640)
    assert conf.fflags == rpm.RPMFILE_CONFIG | rpm.RPMFILE_NOREPLACE
    assert files["/usr/bin/full"].mode == stat.S_IFREG | 0o4755
    assert files["/usr/bin/sh"].linkto == "full"
    assert files["/var/lib/full"].mode == stat.S_IFDIR | 0o1777
    assert files["/usr/share/doc/full/copyright"].fflags == rpm.RPMFILE_LICENSE
    assert files["/usr/share/doc/full/README"].fflags == rpm.RPMFILE_DOC
    assert files["/usr/share/man/man1/full.1.gz"].fflags == rpm.RPMFILE_DOC
    # / holds only links, so what a package ships there belongs below /usr.
    assert "/usr/lib/libfull.so" in files
    assert "/lib/libfull.so" not in files


def test_hard_links_share_an_inode_and_one_content(tmp_path):
    _, out = make(tmp_path)
    files = {item.name: item for item in rpm.files(header(out))}
    names = ["/usr/bin/b-name", "/usr/bin/full", "/usr/bin/z-name"]
    assert len({files[name].inode for name in names}) == 1
    assert {files[name].nlink for name in names} == {3}
    assert {files[name].size for name in names} == {6000}
    assert contents(out)["/usr/bin/z-name"] == b"binary" * 1000


def contents(path):
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(rpm.RPMVSF_MASK_NOSIGNATURES)
    found = {}
    with path.open("rb") as file:
        head = transaction.hdrFromFdno(file.fileno())
        payload = rpm.fd(file.fileno(), "r", head["payloadcompressor"])
        archive = rpm.files(head).archive(payload)
        for item in archive:
            found[item.name] = archive.read() if archive.hascontent() else b""
    return found


def test_payload_and_digests_agree(tmp_path):
    _, out = make(tmp_path)
    found = contents(out)
    for item in rpm.files(header(out)):
        assert item.name in found
        if stat.S_ISREG(item.mode) and (item.nlink == 1 or item.name.endswith("z-name")):
            assert hashlib.sha256(found[item.name]).hexdigest() == item.digest, item.name


def test_dpkgs_database_travels_along(tmp_path):
    found = contents(make(tmp_path)[1])
    base = "/usr/share/standin/dpkg"
    listed = found[f"{base}/info/full:amd64.list"].decode().splitlines()
    assert listed[0] == "/."
    assert "/etc/full.conf" in listed
    assert not [line for line in listed if "standin" in line]
    assert found[f"{base}/info/full:amd64.templates"] == b"Template: full/x\n"
    status = found[f"{base}/status.d/full"].decode()
    assert status.startswith("Package: full\nStatus: install ok installed\nVersion: 2:1.0-rc1-3\n")
    assert status.endswith("\n\n")


def test_scripts_land_where_they_belong(full):
    assert full["posttransprog"] == ["/bin/sh"]
    assert "echo configured" in full["posttrans"]
    assert "print 1;" in full["preun"]
    assert full["prein"] is None
    assert full["postin"] is None


def test_equal_input_gives_equal_bytes(tmp_path):
    one, two = make(tmp_path, name="one")[1], make(tmp_path, name="two")[1]
    assert one.read_bytes() == two.read_bytes()


def test_capabilities(tmp_path):
    # PAX keeps values as text; surrogates carry the raw bytes through.
    raw = CAP_NET_RAW.decode("utf-8", "surrogateescape")
    entry = Entry("./usr/bin/ping", b"x", 0o755)
    entry.pax = {"SCHILY.xattr.security.capability": raw}
    out = make(tmp_path, deb(entries=[entry], form=tarfile.PAX_FORMAT))[1]
    head = header(out)
    assert next(i.caps for i in rpm.files(head) if i.name == "/usr/bin/ping") == "cap_net_raw=ep"
    assert "rpmlib(FileCaps) <= 4.6.1-1" in dependencies(head, "require")


@pytest.mark.parametrize("raw", [b"", CAP_NET_RAW[:12], struct.pack("<5I", 0x01000000, 1, 0, 0, 0)])
def test_odd_capabilities_are_refused(raw):
    with pytest.raises(CosaError):
        filecaps.text(raw)


def test_base_passwd_brings_the_accounts(tmp_path):
    masters = [
        Entry("./usr/share/base-passwd/passwd.master", b"root:*:0:0:root:/root:/bin/bash\n"),
        Entry("./usr/share/base-passwd/group.master", b"root:*:0:\nshadow:*:42:\n"),
    ]
    out = make(tmp_path, deb(control("base-passwd", Essential="yes"), masters))[1]
    assert contents(out)["/etc/group"] == b"root:*:0:\nshadow:*:42:\n"
    flags = {item.name: item.fflags for item in rpm.files(header(out))}
    assert flags["/etc/passwd"] & rpm.RPMFILE_CONFIG


def test_essential_packages_do_not_require_themselves(tmp_path):
    text = control("dash", Essential="yes")
    out = make(tmp_path, deb(text, PLAIN, {"postinst": b"#!/bin/sh\n"}))[1]
    assert "deb-essential" not in dependencies(header(out), "require")


def test_the_essential_package(tmp_path):
    out = tmp_path / "e.rpm"
    essential.make(["bash", "dash"], "13.8+deb13u1", KEY, out)
    head = header(out)
    assert {"bash", "dash"} <= dependencies(head, "require")
    assert head["nevra"] == "deb-essential-13.8+deb13u1-2.noarch"
    assert list(rpm.files(head)) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (deb(control(arch="vax")), "standin/bad-archive"),
        (deb(control(version="1_2")), "standin/version"),
        (deb(parts={"postinst": b"\x7fELF"}), "standin/bad-archive"),
        (deb(parts={"postinst": b"#!/bin/sh\n\0"}), "standin/bad-archive"),
        (deb(control(Depends="a (>= x y)")), "standin/control"),
        (deb(control("base-passwd")), "standin/bad-archive"),
    ],
)
def test_what_cannot_be_converted_is_refused(tmp_path, raw, code):
    with pytest.raises(CosaError) as caught:
        make(tmp_path, raw)
    assert caught.value.code == code


def test_non_utf8_names_pass_through(tmp_path):
    out = make(tmp_path, deb(entries=[Entry("./usr/na\udcefve", b"x")]))[1]
    assert os.fsencode("/usr/na\udcefve") in out.read_bytes() or b"na\xefve" in out.read_bytes()
