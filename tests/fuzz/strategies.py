"""Where inputs come from: good ones with damage done to them, and shapes made up from scratch."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from collections.abc import Callable, Sequence

import zstandard
from hypothesis import strategies as st

from cosa.standin import rpmheader

type Draw = Callable[..., object]

# Numbers where formats break.
_EDGES = (0, 1, 255, 256, 4095, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64)
NASTY = (
    "", ".", "..", "/", "../../etc/passwd", "/etc/passwd", "a/../../b", "a//b", "./a", "a\0b", "\x1b[2J",
    "a\nb", "\u202eabc", "${releasever}", "$x", "%s%n", "{0}", "~", "-rf", "0", "1e999", "NaN",
    "\ud800", "x" * 300, "9" * 5000, "=", "'", '"', "<a/>", "file:///etc/passwd", "*", "[", "(a or",
    "1:2-3.x86_64", "::", "sha256:" + "0" * 64, "a b", "null", "true", "\u00e9", "\U0001f600",
)  # fmt: skip


@st.composite
def damaged(draw: Draw, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """A good input with a few bytes changed, dropped, doubled, swapped or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 8 if words else 7)):
            case 0 if data:
                data[at % len(data)] ^= 1 << draw(st.integers(0, 7))
            case 1 if data:
                data[at % len(data)] = draw(
                    st.sampled_from((0, 10, 32, 34, 47, 58, 91, 123, 127, 255))
                )
            case 2:
                del data[at:]
            case 3:
                del data[at : at + draw(st.integers(1, 64))]
            case 4:
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
            case 5:
                data[at:at] = draw(st.binary(max_size=16))
            case 6:
                width = draw(st.sampled_from((1, 2, 4, 8)))
                number = draw(st.sampled_from(_EDGES)) & (1 << 8 * width) - 1
                data[at : at + width] = number.to_bytes(
                    width, draw(st.sampled_from(("big", "little")))
                )
            case 7:
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, len(other))) :]
            case 8:
                data[at : at + draw(st.integers(0, 12))] = draw(st.sampled_from(words))
    return bytes(data[: 1 << 20])


@functools.cache
def texts() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(NASTY), st.text(max_size=12))


@functools.cache
def scalars() -> st.SearchStrategy[object]:
    numbers = st.one_of(
        st.integers(-3, 70), st.sampled_from((*_EDGES, -(2**63), -(2**64), 10**400)), st.floats()
    )
    return st.one_of(st.none(), st.booleans(), numbers, texts())


@functools.cache
def values(keys: tuple[str, ...]) -> st.SearchStrategy[object]:
    """Anything JSON can say, with the format's own keys among the keys."""
    names = st.one_of(st.sampled_from([*keys, *keys, *NASTY[:30]]), st.text(max_size=6))
    return st.recursive(
        scalars(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=5)
        ),
        max_leaves=12,
    )


@st.composite
def edited(draw: Draw, seeds: Sequence[object], keys: tuple[str, ...], *, yaml: bool) -> bytes:
    """A good document in which some values, anywhere, are something else."""
    document = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(1, 3))):
        document = _edit(draw, document, keys)
    return dump(draw, document, yaml=yaml)


def _edit(draw: Draw, value: object, keys: tuple[str, ...]) -> object:
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.integers(0, 5)):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {draw(st.sampled_from([*keys, *NASTY[:12]])): draw(values(keys))}
        return value | {key: _edit(draw, value[key], keys)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        index = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                return [*value, *value]
            case 1:
                return [*value, draw(values(keys))]
        return [_edit(draw, v, keys) if i == index else v for i, v in enumerate(value)]
    return draw(values(keys))


def dump(draw: Draw, document: object, *, yaml: bool) -> bytes:
    """As JSON text; YAML takes that too, and sometimes gets a form of its own."""
    text = json.dumps(
        document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from((None, 1)))
    )
    if yaml and draw(st.integers(0, 3)) == 0:
        text = draw(st.sampled_from(YAML_FORMS)).replace("@", text)
    return text.encode("utf-8", "surrogatepass")


YAML_FORMS = (
    "a: &a @\nb: *a\n", "&a [*a]\n", "a: !!python/object:os.system {}\nb: @\n", "---\n@\n---\n@\n",
    "? @\n: 1\n", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n", "a: |\n  @\n", "<<: @\n",
    "\t@", "%YAML 1.1\n---\n@\n", "a: [" * 80, "{" * 2000, "- " * 500 + "@", "a: 0o777777777777777777777",
    "!!binary @", "!!float @", "'@", "@\n@", "a: @\na: @\n", "*x", "a: >-\n\n\n  @", "\ufeff@", "a: 1_000",
)  # fmt: skip


@st.composite
def rpms(draw: Draw) -> bytes:
    """An RPM whose digests hold, so that librpm believes its header, which says anything."""
    tags, plain = _rpm_parts(draw)
    if draw(st.integers(0, 3)) == 0:
        plain = draw(damaged((plain,)))
    packed = zstandard.compress(plain, 1) if draw(st.integers(0, 12)) else plain
    tags |= {
        5092: (8, 1, hashlib.sha256(packed).hexdigest().encode() + b"\0"),
        5093: (4, 1, struct.pack(">I", 8)),
    }
    header = rpmheader.Header(rpmheader.REGION_IMMUTABLE)
    header._tags = tags
    main = header.encode()
    sealed = rpmheader.Header(rpmheader.REGION_SIGNATURES)
    sealed.text(273, hashlib.sha256(main).hexdigest())
    sealed.ints(1000, [len(main) + len(packed)])
    signature = sealed.encode()
    lead = bytes.fromhex("edabeedb03000000") + struct.pack(">H", 1) + b"x".ljust(66, b"\0")
    lead += struct.pack(">HH", 1, 5) + b"\0" * 16
    return lead + signature + b"\0" * (-len(signature) % 8) + main + packed


_GOOD_FOLDERS = ("/usr/bin/", "/usr/lib/x/", "/etc/", "/var/lib/x/", "/usr/share/doc/", "/boot/")
_FOLDERS = (
    "/opt/",
    "/run/",
    "/",
    "usr/",
    "/usr/../",
    "/usr/bin/../../etc/",
    "/dev/",
    "/usr//bin/",
    "/lib/",
    "",
)
_GOOD_MODES = (0o100644, 0o100755, 0o104755, 0o40755, 0o120777)
_MODES = (0o20644, 0o10644, 0o140644, 0, 0o177777, 0o40000, 0o120000)
_CAPS = ("cap_net_raw=ep", "cap_net_raw+", "=", "x=p", "cap_net_raw=ep x", "=ep cap_chown-e")
_STRING, _STRINGS, _INT32, _INT16 = 6, 8, 4, 3
_ANY_TAGS = (1003, 1023, 1024, 1025, 1026, 1045, 1048, 1049, 1065, 1066, 1067, 1068, 1069, 1085, 1086, 1092,
             1151, 1153, 5008, 5066, 5068, 5069, 5070, 5071, 5072, 5076, 5078, 5079, 5080, 5081, 5082, 1140)  # fmt: skip
_NAME = st.one_of(st.sampled_from(("one", "two", "x-y", *NASTY)), st.text(max_size=5))
_WORSE = {
    "folder": st.sampled_from(_FOLDERS), "name": _NAME, "mode": st.sampled_from(_MODES),
    "size": st.sampled_from((0x7FFFFFFF, 0xFFFFFFFF, 1 << 20, 1)), "inode": st.integers(0, 3),
    "flags": st.sampled_from((64, 1 << 12, 0xFFFFFFFF)), "link": st.sampled_from(("/etc", "../../x", *NASTY)),
    "caps": st.sampled_from(_CAPS), "group": st.sampled_from(("", "x\ny", *NASTY)),
}  # fmt: skip


def _rpm_parts(draw: Draw) -> tuple[dict[int, tuple[int, int, bytes]], bytes]:
    """Tags of a header and a cpio archive that fits them; up to four things are not as they should be."""
    rows = [
        {
            "folder": draw(st.sampled_from(_GOOD_FOLDERS)), "name": f"f{number}", "inode": number + 1,
            "mode": draw(st.sampled_from(_GOOD_MODES)), "size": draw(st.integers(0, 40)), "flags": number % 3,
            "link": "x", "caps": "", "group": "root",
        }
        for number in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    worse = draw(st.integers(0, 2)) if rows else 0
    for _ in range(worse):
        column = draw(st.sampled_from(sorted(_WORSE)))
        draw(st.sampled_from(rows))[column] = draw(_WORSE[column])
    folders = sorted({row["folder"] for row in rows})
    tags = {
        1000: _text("forged"), 1001: _text("1"), 1002: _text("1"), 1022: _text("noarch"), 1021: _text("linux"),
        1044: _text("forged-1-1.src.rpm"), 1124: _text("cpio"), 1125: _text("zstd"), 1004: (9, 1, b"s\0"),
        1006: _ints([1]), 1085: _text("/bin/sh"), 1023: _text("true"), 1047: _texts(["forged"]),
        1112: _ints([8]), 1113: _texts(["1-1"]),
    }  # fmt: skip
    count = len(rows)
    if count:
        tags |= {
            1116: _ints([folders.index(row["folder"]) for row in rows]), 1117: _texts([row["name"] for row in rows]),
            1118: _texts(folders), 1030: (_INT16, count, b"".join(struct.pack(">H", row["mode"]) for row in rows)),
            1028: _ints([row["size"] for row in rows]), 1037: _ints([row["flags"] for row in rows]),
            1096: _ints([row["inode"] for row in rows]), 1036: _texts([row["link"] for row in rows]),
            1039: _texts(["root"] * count), 1040: _texts([row["group"] for row in rows]),
            1034: _ints([0] * count), 1035: _texts(["0" * 64] * count), 1033: (_INT16, count, b"\0\0" * count),
            5010: _texts([row["caps"] for row in rows]),
        }  # fmt: skip
    for _ in range(draw(st.integers(0, 2))):
        match draw(st.integers(0, 5)):
            case 0:
                tags[draw(st.sampled_from((1000, 1001, 1002, 1022, 1044)))] = _text(draw(_NAME))
            case 1:
                tags[1125] = _text(
                    draw(st.sampled_from(("xz", "gzip", "bzip2", "lzma", "lzip", "")))
                )
            case 2:
                tags.pop(draw(st.sampled_from(sorted(tags))))
            case _:
                tags[draw(st.sampled_from((*_ANY_TAGS, *tags)))] = draw(_tag())
    members = [
        (row["folder"] + row["name"], row["mode"], row["size"], row["inode"], row["link"])
        for row in rows
    ]
    return tags, cpio(members)


@functools.cache
def _tag() -> st.SearchStrategy[tuple[int, int, bytes]]:
    return st.one_of(
        st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=6)), max_size=4).map(_texts),
        st.sampled_from(NASTY).map(_text),
        st.lists(st.sampled_from(_EDGES[:10]), max_size=4).map(_ints),
        st.tuples(st.integers(0, 10), st.integers(0, 9), st.binary(max_size=24)),
    )


def _raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass").replace(b"\0", b"") + b"\0"


def _text(value: str) -> tuple[int, int, bytes]:
    return _STRING, 1, _raw(value)


def _texts(items: list[str]) -> tuple[int, int, bytes]:
    return _STRINGS, len(items), b"".join(map(_raw, items))


def _ints(items: list[int]) -> tuple[int, int, bytes]:
    return _INT32, len(items), b"".join(struct.pack(">I", item & 0xFFFFFFFF) for item in items)


def cpio(members: Sequence[tuple[str, int, int, int, str]]) -> bytes:
    """A newc archive of (path, mode, size, inode, link); large files are cut short."""
    out = b""
    for path, mode, size, inode, link in [*members, ("TRAILER!!!", 0, 0, 0, "")]:
        name = (("." if path.startswith("/") else "") + path).encode(
            "utf-8", "surrogatepass"
        ) + b"\0"
        data = link.encode() if mode & 0o170000 == 0o120000 else b"x" * min(size, 64)
        length = (
            len(data)
            if mode & 0o170000 == 0o120000
            else (0 if mode & 0o170000 == 0o40000 else size)
        )
        numbers = (inode, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % (n & 0xFFFFFFFF) for n in numbers) + name
        out += head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return out
