"""The readers that meet input nobody vouches for, one target for each."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import zstandard
from hypothesis import strategies as st

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "unit/standin")]

from debmaker import PACK, Entry, ar, control, deb, folder, hardlink, symlink, tar  # noqa: E402
from harness import Target  # noqa: E402
from rpmforge import Rpm, forge, key  # noqa: E402
from strategies import (  # noqa: E402
    NASTY,
    Draw,
    damaged,
    dump,
    edited,
    rpms,
    texts,
    values,
)

from cosa.compose import importer, layers  # noqa: E402
from cosa.compose.rpmostree_result import read as read_composejson  # noqa: E402
from cosa.model import lockfile as lockfiles  # noqa: E402
from cosa.model.builds import Builds  # noqa: E402
from cosa.model.commitmeta import CommitMeta  # noqa: E402
from cosa.model.imagespec import load_image_spec, load_platform_settings  # noqa: E402
from cosa.model.lockfile_overrides import load_overrides  # noqa: E402
from cosa.model.meta import Meta  # noqa: E402
from cosa.model.treefile import load_treefile  # noqa: E402
from cosa.model.treefile_keys import KEYS  # noqa: E402
from cosa.payload.layer import files_below  # noqa: E402
from cosa.pipeline import record, validate  # noqa: E402
from cosa.pipeline.workdir import Workdir  # noqa: E402
from cosa.standin import control as deb822  # noqa: E402
from cosa.standin.convert import convert  # noqa: E402
from cosa.tools import gpg, gpt, ostree, repofile, repos, rpmdb, solver  # noqa: E402
from cosa.tools.rpmfile import RpmReader  # noqa: E402

ROOT = HERE.parents[2]
_REPO = repofile.RepoConfig("fuzz", baseurl=("file:///nowhere",))


def wrote(folder_: Path, name: str, data: bytes) -> Path:
    path = folder_ / name
    path.write_bytes(data)
    return path


# RPM


@functools.cache
def good_rpms() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as name:
        made = (
            Rpm(
                "one",
                files=("/usr/bin/one", "/etc/one", "/usr/share/doc/one"),
                requires=("two >= 1",),
            ),
            Rpm("two", "3:2~rc1-4", "x86_64", provides=("x = 1",), posttrans="echo two"),
            Rpm("empty"),
        )
        return tuple(forge(Path(name), rpm).read_bytes() for rpm in made)


def read_rpm(data: bytes, folder_: Path) -> None:
    with RpmReader(wrote(folder_, "x.rpm", data)) as reader:
        _ = (reader.package.nevra, reader.files, reader.scriptlets)
        for entry in reader.payload():
            while entry.stream.read(1 << 16):
                pass


def import_rpm(data: bytes, folder_: Path) -> None:
    repo = ostree.Repo.ensure(folder_ / "repo", "bare")
    writer = ostree.ObjectWriter(repo.path)
    try:
        importer.import_rpm(
            repo, writer, wrote(folder_, "x.rpm", data), "sha256:0", importer.Options()
        )
    finally:
        writer.close()


def order_rpm(data: bytes, folder_: Path) -> None:
    """What comes after the import: librpm's own reading of the header."""
    read_rpm(data, folder_)
    (folder_ / "scratch").mkdir()
    rpmdb.install_order({"x": folder_ / "x.rpm"}, folder_ / "scratch")


# Debian packages

DEB_WORDS = (
    b"Package: ",
    b"../x",
    b"./",
    b"\n ",
    b"`\n",
    b"\0\0\0\0\0\0\0\0000",
    b"data.tar.gz",
    b"777777777777",
)


@functools.cache
def good_debs() -> tuple[bytes, ...]:
    rich = [
        folder("./"), folder("./usr/"), folder("./usr/lib/"), Entry("./usr/lib/a", b"a" * 700),
        hardlink("./usr/lib/b", "./usr/lib/a"), symlink("./usr/lib/c", "a"),
        Entry("./usr/lib/" + "l" * 120, b"long", pax={"path": "usr/lib/" + "m" * 120}),
    ]  # fmt: skip
    parts = {
        "conffiles": b"/etc/x\n",
        "md5sums": b"",
        "postinst": b"#!/bin/sh\nexit 0\n",
        "triggers": b"",
    }
    text = control(Depends="a (>= 1:2-3) | b, c:any", Conflicts="d (<< 2)", Provides="e (= 1)")
    return (
        deb(data_suffix="", control_suffix=""), deb(text, rich, parts, data_suffix="", control_suffix=""),
        deb(text, rich, parts, data_suffix="", control_suffix="", form=tarfile.PAX_FORMAT),
        deb(data_suffix=".zst"), deb(data_suffix=".gz", control_suffix=".gz"),
    )  # fmt: skip


_KINDS = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
          b"x", b"g", b"L", b"K", b"S", b"Z", b"7")  # fmt: skip
_PAX_KEYS = (
    "path",
    "linkpath",
    "size",
    "mtime",
    "uid",
    "uname",
    "SCHILY.xattr.user.x",
    "GNU.sparse.size",
)
_FIELDS = ("Depends", "Version", "Provides", "Architecture", "Source", "Essential", "Conflicts", "Multi_Arch",
           "Package", "Description", "Pre_Depends", "Breaks", "Homepage")  # fmt: skip
_RELATIONS = ("a | b (>= 1)", "a (>> 1:2~x-3) [amd64 !i386] <!nocheck>", "a:any, b:native", "a (= )", "(a)", "a b",
              ", ,", "a (>= 1) | ", "a:x:y", "a (1)")  # fmt: skip


def make_deb(draw: Draw) -> bytes:
    """A package of a few files; up to four things about it are not as they should be."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(good_debs(), DEB_WORDS))
    entries = [folder("./"), folder("./usr/"), folder("./usr/lib/")]
    entries += [
        Entry(f"./usr/lib/f{number}", b"x" * draw(st.integers(0, 40)))
        for number in range(draw(st.integers(0, 3)))
    ]
    fields: dict[str, str] = {}
    parts: dict[str, bytes] = {}
    for _ in range(draw(st.integers(0, 3))):
        entry = draw(st.sampled_from(entries))
        match draw(st.integers(0, 8)):
            case 0:
                entry.name = draw(st.sampled_from(("./usr/lib", "./x/y", *NASTY))).replace("\0", "")
            case 1:
                entry.link, entry.kind = (
                    draw(st.sampled_from(("f0", "./usr/lib/f0", *NASTY))),
                    draw(st.sampled_from(_KINDS)),
                )
                entry.link = entry.link.replace("\0", "")
            case 2:
                entry.mode = draw(st.sampled_from((0o4755, 0, 0o7777777, 0o2755)))
            case 3:
                entry.claim = draw(st.sampled_from((0, 5, 1 << 30, 1 << 33)))
            case 4:
                entry.pax = {draw(st.sampled_from(_PAX_KEYS)): draw(texts())}
            case 5:
                entries.append(Entry(entry.name, b"again"))
            case 6:
                parts[
                    draw(
                        st.sampled_from(
                            (
                                "conffiles",
                                "postinst",
                                "preinst",
                                "triggers",
                                "md5sums",
                                "../x",
                                "shlibs",
                            )
                        )
                    )
                ] = draw(
                    st.one_of(
                        st.binary(max_size=40), texts().map(lambda t: t.encode("utf-8", "replace"))
                    )
                )
            case _:
                fields[draw(st.sampled_from(_FIELDS))] = draw(
                    st.one_of(st.sampled_from(_RELATIONS), texts())
                )
    try:
        text = control(**fields).encode()
        form = tarfile.PAX_FORMAT if any(entry.pax for entry in entries) else tarfile.GNU_FORMAT
        body = tar(entries, form)
        inner = tar([Entry(f"./{name}", raw) for name, raw in ({"control": text} | parts).items()])
    except (ValueError, UnicodeError, OverflowError, struct.error):
        return draw(damaged(good_debs(), DEB_WORDS))  # what tarfile cannot write
    suffix = draw(st.sampled_from(("", "", ".gz", ".zst")))
    return ar(
        {"debian-binary": b"2.0\n", "control.tar": inner, f"data.tar{suffix}": PACK[suffix](body)}
    )


def read_deb(data: bytes, folder_: Path) -> None:
    convert(wrote(folder_, "x.deb", data), folder_ / "x.rpm", key())


CONTROL = (control(Depends="a (>= 1:2-3) | b, c:any [amd64] <!x>", Replaces="d").encode(),)


def read_control(data: bytes, _: Path) -> None:
    text = data.decode("utf-8", "replace")
    for each in deb822.parse(text):
        each.relations("Depends", "Replaces", "Provides")
    one = deb822.parse_one(text)
    _ = (one.name, one.version, one.arch, one.essential)


# Definitions

TREEFILES = (
    {
        "ref": "x/${basearch}/y", "rojig": {"name": "x", "summary": "y", "license": "MIT"}, "packages": ["a b", "'c >= 1'"],
        "repos": ["r"], "variables": {"v": 1, "w": "x", "z": True}, "include": "inc.yaml", "releasever": 42,
        "conditional-include": [{"if": "v == 1", "include": {"packages": ["d"]}}, {"if": ['w != "x"'], "include": "inc.yaml"}],
        "arch-include": {"s390x": "inc.yaml"}, "add-files": [["inc.yaml", "/usr/x"]], "remove-files": ["usr/y"],
        "remove-from-packages": [["a", "/usr/.*"]], "check-passwd": {"type": "data", "entries": {"a": 1, "b": [1, 2]}},
        "check-groups": {"type": "data", "entries": {"a": 1}}, "repo-packages": [{"repo": "r", "packages": ["a"]}],
        "postprocess": ["#!/bin/sh\ntrue"], "metadata": {"a": {"b": [1, 2.5]}}, "automatic-version-prefix": "1.${v}",
    },
)  # fmt: skip


def read_treefile(data: bytes, folder_: Path, name: str = "m.yaml") -> None:
    (folder_ / "inc.yaml").write_text("packages: [z]\nvariables: {q: 5}\n")
    load_treefile(wrote(folder_, name, data), "x86_64")


LOCKS = (
    {
        "packages": {"a": {"evra": "1:1-1.x86_64", "digest": "sha256:" + "0" * 64, "metadata": {"size": 3}}, "b": {"evr": "1-1"}},
        "source-packages": {"a": "1-1"},
        "metadata": {"generated": "2026-11-22T00:00:00Z", "rpmmd_repos": {"r": {"generated": "2026-11-22T00:00:00Z"}}},
    },
)  # fmt: skip


def read_lock(data: bytes, folder_: Path, name: str = "l.json") -> None:
    lock = lockfiles.load_lockfile(wrote(folder_, name, data))
    merged = lockfiles.merge([lock, lock])
    for each in merged.locked.values():
        _ = (each.wanted_evr, each.wanted_arch, each.kind, each.fits("1-1", "x86_64"))
    lock.to_json()


OVERRIDES = (
    {"packages": {"a": {"evr": "1-1", "metadata": {"type": "pin", "reason": "https://example.org/1"}},
                  "b": {"evra": "1-1.noarch", "metadata": {"type": "fast-track", "bodhi": "https://example.org/2"}}}},
)  # fmt: skip
IMAGES = (
    {"size": 10, "extra-kargs": ["a=b"], "compressor": "xz", "include": "inc.yaml", "platform-compressor": {"aws": "gzip"},
     "ostree-remote": "x", "vmware-os-type": "y", "composefs": True, "container-imgref": "z:{stream}"},
)  # fmt: skip
PLATFORMS = (
    {"x86_64": {"qemu": {"grub_commands": ["a b"], "kernel_arguments": ["c=d"]}, "metal": {}}},
)


def read_image(data: bytes, folder_: Path) -> None:
    (folder_ / "inc.yaml").write_text("size: 5\nextra-kargs: [x]\n")
    load_image_spec(wrote(folder_, "image.yaml", data), stream="s").to_json()


REPO_FILE = (
    (
        b"[main]\nx=1\n[r]\nname=R $releasever\nbaseurl=file:///x/$basearch\n  http://y/\nenabled=1\ngpgkey=k\n"
        b"priority=5\nexcludepkgs=a,b\nsslverify=no\n[s]\nmetalink=http://z/\nretries=3\n"
    ),
)


def read_repo_file(data: bytes, folder_: Path) -> None:
    wrote(folder_, "r.repo", data)
    found = repofile.read_repo_files(folder_, {"releasever": "42", "basearch": "x86_64"})
    repofile.select(found, None)
    _ = [(repo.folder, repr(repo)) for repo in found]


# What builds say of themselves

META = (
    {"buildid": "1", "name": "x", "ostree-commit": "0" * 64, "ostree-timestamp": "2026-11-22T00:00:00Z",
     "ostree-version": "1", "images": {"ostree": {"path": "x.ociarchive", "sha256": "0" * 64, "size": 1}},
     "coreos-assembler.meta-stamp": 1.5, "coreos-assembler.container-config-git": {"commit": "1"},
     "pkgdiff": [["a", 0, {"NewPackage": ["a", "1-1", "x86_64"]}]]},
)  # fmt: skip
BUILDS = (
    {"schema-version": "1.0.0", "timestamp": "2026-11-22T00:00:00Z", "builds": [{"id": "1", "arches": ["x86_64"]}],
     "tags": [{"name": "t", "created": "", "target": "1"}], "tombstone-builds": []},
)  # fmt: skip
COMMITMETA = (
    {"version": "1", "ostree.linux": "6", "ostree.bootable": True, "rpmostree.rpmdb.pkglist": [["a", "0", "1", "1", "noarch"]],
     "rpmostree.advisories": [], "fedora-coreos.stream": "s"},
)  # fmt: skip
COMPOSEJSON = (
    {"ref": "r", "ostree-commit": "0" * 64, "ostree-content-checksum": "1" * 64, "ostree-version": "1",
     "ostree-timestamp": "2026-11-22T00:00:00Z", "ostree-n-metadata-total": 1, "pkgdiff": [["a", 2, {"NewPackage": ["a", "1", "x"]}]]},
)  # fmt: skip


def read_meta(data: bytes, folder_: Path) -> None:
    found = Meta.read(wrote(folder_, "meta.json", data))
    found.merge(found)
    found.write(folder_ / "meta.json")
    Meta.read(folder_ / "meta.json")


def read_builds(data: bytes, folder_: Path) -> None:
    found = Builds.read(wrote(folder_, "builds.json", data))
    found.with_build("2", "x86_64").without(["1"]).write(folder_ / "builds.json")


def read_commitmeta(data: bytes, folder_: Path) -> None:
    found = CommitMeta.read(wrote(folder_, "commitmeta.json", data))
    assert found is not None
    _ = [package.nevra for package in found.rpms]


# Repositories

REPOMD = (
    b'<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>'
    b'<data type="primary"><checksum type="sha256">'
    + b"0"
    * 64
    + b'</checksum><location href="repodata/p.xml.gz"/>'
    b"<timestamp>1.5</timestamp><size>5</size></data></repomd>",
)
PRIMARY = (
    b'<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="2">'
    b'<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>'
    b'<checksum type="sha256" pkgid="YES">' + b"a" * 64 + b'</checksum><summary/><description/><packager/><url/>'
    b'<time file="1" build="1"/><size package="100" installed="100" archive="100"/><location href="a.rpm"/><format>'
    b'<rpm:license/><rpm:sourcerpm>a-1-1.src.rpm</rpm:sourcerpm><rpm:provides><rpm:entry name="a" flags="EQ" epoch="0" ver="1" rel="1"/>'
    b'</rpm:provides><rpm:requires><rpm:entry name="b"/><rpm:entry name="(c if d)"/></rpm:requires><file>/usr/bin/a</file></format></package>'
    b'<package type="rpm"><name>b</name><arch>x86_64</arch><version epoch="1" ver="2" rel="3"/>'
    b'<checksum type="sha256" pkgid="YES">' + b"b" * 64 + b'</checksum><summary/><description/><packager/><url/>'
    b'<time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="b.rpm"/><format>'
    b'<rpm:conflicts><rpm:entry name="z"/></rpm:conflicts></format></package></metadata>',
)  # fmt: skip
XML_WORDS = (b"<", b">", b"</package>", b'<package type="rpm">', b"&amp;", b"&#0;", b"&x;", b'<!DOCTYPE x [<!ENTITY x "y">]>',
             b"\xff\xfe", b"../../etc/passwd", b"(((((", b'<rpm:entry name="(a or b"/>', b'epoch="99999999999999999999"',
             b'<location href="../../x"/>', b'<location href="http://x/y.rpm" xml:base="file:///etc"/>', b"sha1", b"NaN", b"1e999")  # fmt: skip


def read_repomd(data: bytes, _: Path) -> None:
    repos.parse_repomd(data, _REPO)


def read_primary(data: bytes, folder_: Path) -> None:
    """Whole: repomd.xml that fits the data, then the solver."""
    (folder_ / "r/repodata").mkdir(parents=True)
    packed = zstandard.compress(data, 1) if len(data) % 2 else gzip.compress(data, 1, mtime=0)
    name = "primary.xml." + ("zst" if len(data) % 2 else "gz")
    wrote(folder_ / "r/repodata", name, packed)
    entry = (
        f'<data type="primary"><checksum type="sha256">{hashlib.sha256(packed).hexdigest()}</checksum>'
        f'<location href="repodata/{name}"/><timestamp>1</timestamp><size>{len(packed)}</size></data>'
    )
    wrote(folder_ / "r/repodata", "repomd.xml",
          f'<repomd xmlns="http://linux.duke.edu/metadata/repo">{entry}</repomd>'.encode())  # fmt: skip
    config = repofile.RepoConfig("r", baseurl=((folder_ / "r").as_uri(),))
    meta = repos.refresh(config, folder_ / "cache")
    solver.solve(solver.Request(("a",), "x86_64"), [meta], [], folder_ / "cache")


def good_keys() -> tuple[bytes, ...]:
    return (
        key().public_armored().encode(),
        key().sign(b"data"),
        key().sign_armored(b"data").encode(),
    )


def read_key(data: bytes, _: Path) -> None:
    keys = gpg.read_keys([("k", key().public_armored().encode())])
    if len(data) % 2:
        gpg.verify_detached(b"data", data, keys, "it")
    else:
        gpg.read_keys([("k", data)])


# Archives and disks of a build


@functools.cache
def good_archives() -> tuple[bytes, ...]:
    blob = b"blob"
    digest = hashlib.sha256(blob).hexdigest()
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": f"sha256:{digest}"}]}).encode()
    entries = [
        Entry("oci-layout", b"{}"),
        Entry("index.json", index),
        Entry(f"blobs/sha256/{digest}", blob),
    ]
    return (tar(entries), tar(entries, tarfile.PAX_FORMAT), tar(entries, tarfile.USTAR_FORMAT))


@functools.cache
def good_layers() -> tuple[bytes, ...]:
    entries = [folder("release-manifests/"), Entry("release-manifests/a.yaml", b"a: 1"), symlink("x", "../y"),
               Entry("release-manifests/" + "n" * 120, b"", pax={"path": "release-manifests/b.json"})]  # fmt: skip
    plain = tar(entries)
    return (
        plain,
        tar(entries, tarfile.PAX_FORMAT),
        gzip.compress(plain, mtime=0),
        zstandard.compress(plain),
    )


def read_archive(data: bytes, folder_: Path) -> None:
    validate._archive(wrote(folder_, "x.ociarchive", data))


def read_layer(data: bytes, _: Path) -> None:
    files_below(io.BytesIO(data), "release-manifests", "the layer")


def make_disk(draw: Draw) -> bytes:
    """A table whose checksums hold, whatever it says."""
    edge = st.sampled_from((0, 1, 2, 34, 63, 0x7FFFFFFF, 2**55, 2**63, 2**64 - 1))
    rows = [
        struct.pack("<16s16sQQQ72s", draw(st.sampled_from((b"", b"k" * 16, b"\xff" * 16))), b"u" * 16,
                    draw(edge), draw(edge), 0, draw(st.one_of(st.just("boot".encode("utf-16le")), st.binary(max_size=72))))
        for _ in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    entries = b"".join(rows)
    count = draw(st.sampled_from((len(rows), len(rows), 128, 1024, 2**32 - 1)))
    entries = entries.ljust(min(count, 1024) * 128, b"\0")
    start = draw(st.sampled_from((2, 2, 2, 0, 2**50, 2**63, 2**64 - 1)))
    size = draw(st.sampled_from((128, 128, 128, 0, 2**32 - 1)))
    head = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 99, 34, 90, b"d" * 16,
                       start, count, size, zlib.crc32(entries))  # fmt: skip
    head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
    disk = bytes(512) + head.ljust(512, b"\0") + entries
    return draw(damaged((disk,))) if draw(st.integers(0, 3)) == 0 else disk


def read_disk(data: bytes, folder_: Path) -> None:
    gpt.read(wrote(folder_, "disk", data))


# Small files of a definition and of a working directory

STATOVERRIDE = (b"# why\n=288 /etc/secret\n+2048 /usr/bin/x\n420 /y z\n",)


def read_statoverride(data: bytes, folder_: Path) -> None:
    wrote(folder_, "statoverride", data)
    layers.read_statoverride(folder_)


RECORD = ({"inputs": {"compose": {"package a": "1"}}, "artefacts": {"qemu": "x"}},)


def read_record(data: bytes, folder_: Path) -> None:
    wrote(folder_, "cosa-inputs.json", data)
    found = record.Record.read(folder_)
    if found:
        found.write(folder_)


VARIANT = ({"coreos-assembler.config-variant": "x"},)


def read_variant(data: bytes, folder_: Path) -> None:
    (folder_ / "src").mkdir()
    wrote(folder_ / "src", "config.json", data)
    Workdir(folder_).variant()


# How inputs are made


def _bytes(seeds: tuple[bytes, ...], words: tuple[bytes, ...] = ()):
    return lambda draw: draw(damaged(seeds, words))


def _document(seeds: tuple[object, ...], names: list[str], *, yaml: bool):
    keys = tuple(names)
    raw = tuple(json.dumps(seed, indent=1).encode() for seed in seeds)

    def make(draw: Draw) -> bytes:
        match draw(st.integers(0, 5)):
            case 0:
                return draw(
                    damaged(
                        raw,
                        (b"\\ud800", b"[[[[", b"1e999", b"NaN", b"/*", b"\xff", b'"a":1,"a":1,'),
                    )
                )
            case 1:
                return dump(draw, draw(values(keys)), yaml=yaml)
        return draw(edited(seeds, keys, yaml=yaml))

    return make


def _keys(*seeds: object) -> list[str]:
    found: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            found.update(value)
            for item in value.values():
                walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)

    walk(seeds)
    return sorted(found)


TREE_KEYS = [*KEYS, *_keys(*TREEFILES), "type", "filename", "if"]


def all_targets() -> dict[str, Target]:
    rows = [
        Target("rpm", read_rpm, lambda draw: draw(rpms()) if draw(st.integers(0, 3)) else draw(damaged(good_rpms()))),
        Target("rpm-import", import_rpm, lambda draw: draw(rpms())),
        Target("rpm-order", order_rpm, lambda draw: draw(rpms())),
        Target("deb", read_deb, make_deb),
        Target("deb-control", read_control, _bytes(CONTROL, DEB_WORDS)),
        Target("treefile-yaml", read_treefile, _document(TREEFILES, TREE_KEYS, yaml=True)),
        Target("treefile-json", functools.partial(read_treefile, name="m.json"), _document(TREEFILES, TREE_KEYS, yaml=False)),
        Target("lockfile-json", read_lock, _document(LOCKS, _keys(*LOCKS), yaml=False)),
        Target("lockfile-yaml", functools.partial(read_lock, name="l.yaml"), _document(LOCKS, _keys(*LOCKS), yaml=True)),
        Target("lock-overrides", lambda d, f: load_overrides(wrote(f, "o.yaml", d)), _document(OVERRIDES, _keys(*OVERRIDES), yaml=True)),
        Target("image-yaml", read_image, _document(IMAGES, _keys(*IMAGES), yaml=True)),
        Target("platforms-yaml", lambda d, f: load_platform_settings(wrote(f, "p.yaml", d)), _document(PLATFORMS, _keys(*PLATFORMS), yaml=True)),
        Target("meta-json", read_meta, _document(META, _keys(*META), yaml=False)),
        Target("builds-json", read_builds, _document(BUILDS, _keys(*BUILDS), yaml=False)),
        Target("commitmeta-json", read_commitmeta, _document(COMMITMETA, _keys(*COMMITMETA), yaml=False)),
        Target("compose-json", lambda d, f: read_composejson(wrote(f, "c.json", d)), _document(COMPOSEJSON, _keys(*COMPOSEJSON), yaml=False)),
        Target("repomd", read_repomd, _bytes(REPOMD, XML_WORDS)),
        Target("primary", read_primary, _bytes(PRIMARY, XML_WORDS)),
        Target("repo-file", read_repo_file, _bytes(REPO_FILE, (b"[", b"]", b"=", b"\n ", b"$", b"${", b"gpgkey=", b"\xff", b"timeout=", b"9" * 5000))),
        Target("ociarchive", read_archive, _bytes(good_archives(), (b"../x", b"sha256:", b"\0" * 512, b"777777777777"))),
        Target("oci-layer", read_layer, _bytes(good_layers(), (b"../x", b"/", b"\0" * 512, b"777777777777", b"99 path=x\n"))),
        Target("gpt", read_disk, make_disk),
        Target("statoverride", read_statoverride, _bytes(STATOVERRIDE, (b"=", b"+", b"9" * 5000, b"\xff", b"-1"))),
        Target("inputs-record", read_record, _document(RECORD, _keys(*RECORD), yaml=False)),
        Target("variant-json", read_variant, _document(VARIANT, _keys(*VARIANT), yaml=False)),
        Target("openpgp", read_key, _bytes(good_keys(), (b"-----BEGIN", b"=", b"\n\n"))),
    ]  # fmt: skip
    return {target.name: target for target in rows}
