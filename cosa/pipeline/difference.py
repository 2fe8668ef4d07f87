"""The first place where two results differ, in words: a file, a member, a place on a disk."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from cosa.core import fs, run
from cosa.core.errors import CosaError
from cosa.tools import ostree
from cosa.tools.ostree_objects import Meta
from cosa.tools.ostree_read import Content, Objects

type Commit = tuple[Path, str]  # repository, checksum

_SECTOR = 512


def of_commits(old: Commit, new: Commit) -> str:
    """The first file, or else the first key of the metadata, in which two commits differ."""
    sides = []
    for repo, commit in (old, new):
        if not ostree.has_commit(repo, commit):
            return f"unknown: the commit {commit[:12]} is no longer in {repo}"
        sides.append((Objects(repo), commit))
    (a, first), (b, second) = sides
    found = next(_trees(a, b, a.commit_root(first), b.commit_root(second), ""), "")
    return found or _of_metadata(old, new)


def _of_metadata(old: Commit, new: Commit) -> str:
    before, after = (ostree.commit_metadata(repo, commit) for repo, commit in (old, new))
    for key in sorted(set(before) | set(after)):
        if before.get(key) != after.get(key):
            values = f"{_short(before.get(key))} and {_short(after.get(key))}"
            return f"the commit's metadata {key}: {values}"
    return "no file and no metadata: the commits' times or parents"


def _trees(
    a: Objects, b: Objects, old: tuple[str, str], new: tuple[str, str], path: str
) -> Iterator[str]:
    """Differences of two folders (dirtree, dirmeta), in order of names; equal ones are not read."""
    if old[1] != new[1]:
        yield f"{path or '/'}: {_metas(a.dirmeta(old[1]), b.dirmeta(new[1]))}"
    if old[0] == new[0]:
        return
    left, right = a.folder(old[0]), b.folder(new[0])
    files = dict(left.files), dict(right.files)
    folders = tuple({n: (t, m) for n, t, m in side.folders} for side in (left, right))
    for name in sorted({*files[0], *files[1], *folders[0], *folders[1]}):
        here = f"{path}/{name}"
        in_old, in_new = (name in files[i] or name in folders[i] for i in (0, 1))
        if not (in_old and in_new):
            yield f"{here} is only in {'the build' if in_old else 'what was made again'}"
        elif name in folders[0] and name in folders[1]:
            yield from _trees(a, b, folders[0][name], folders[1][name], here)
        elif name in folders[0] or name in folders[1]:
            yield f"{here} is a folder in one and a file in the other"
        elif files[0][name] != files[1][name]:
            yield f"{here}: {_contents(a.content(files[0][name]), b.content(files[1][name]), a, b)}"


def _metas(old: Meta, new: Meta) -> str:
    if old.mode != new.mode:
        return f"mode {old.mode:o} and {new.mode:o}"
    if (old.uid, old.gid) != (new.uid, new.gid):
        return f"owner {old.uid}:{old.gid} and {new.uid}:{new.gid}"
    if old.target != new.target:
        return f"points to {old.target} and {new.target}"
    for key in sorted({*dict(old.xattrs), *dict(new.xattrs)}):
        values = [dict(side.xattrs).get(key) for side in (old, new)]
        if values[0] != values[1]:
            return f"attribute {key.decode('utf-8', 'replace')}: {values[0]!r} and {values[1]!r}"
    return ""


def _contents(old: Content, new: Content, a: Objects, b: Objects) -> str:
    metas = _metas(old.meta, new.meta)
    if metas:
        return metas
    left, right = a.read(old), b.read(new)
    if len(left) != len(right):
        return f"{len(left)} and {len(right)} bytes"
    at = next(i for i, (x, y) in enumerate(zip(left, right, strict=True)) if x != y)
    return f"byte {at}: {left[at : at + 24]!r} and {right[at : at + 24]!r}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def of_files(old: Path, new: Path) -> str:
    """The first difference of two artefacts: a member of an archive, a place on a disk, a byte."""
    if not old.is_file():
        return f"unknown: {old.name} is not here"
    if old.name.endswith((".ociarchive", ".tar")):
        return _archives(old, new)
    if old.suffix in (".qcow2", ".raw"):
        return _disks(old, new)
    return _bytes(old, new)


def _archives(old: Path, new: Path) -> str:
    with tarfile.open(old) as left, tarfile.open(new) as right:
        for a, b in zip_longest(left, right):
            if a is None or b is None:
                return f"{(a or b).name} is only in {'the build' if b is None else 'the new one'}"
            names = [f"{m.name} ({m.size} bytes, mode {m.mode:o}, time {m.mtime})" for m in (a, b)]
            if names[0] != names[1]:
                return f"{names[0]} and {names[1]}"
            if _digest(left, a) != _digest(right, b):
                return f"{a.name}: other content"
    return _bytes(old, new)


def _digest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    if file is None:
        return ""
    digest = hashlib.sha256()
    while chunk := file.read(fs.CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _disks(old: Path, new: Path) -> str:
    """What qemu-img finds first; the same disk in a file of another shape is said as such."""
    result = run.run(["qemu-img", "compare", "-U", old, new], check=False)
    found = re.search(r"mismatch at offset (\d+)", result.out + result.err)
    if not found:
        if result.status == 0:
            return f"the disks are the same, their files are not: {_bytes(old, new)}"
        return (result.out + result.err).strip().splitlines()[-1]
    offset = int(found[1])
    return f"offset {offset} of the disk{_partition(new, offset)}"


def _partition(image: Path, offset: int) -> str:
    """`, in the partition root, block 1234`; nothing where that cannot be told."""
    if image.suffix != ".raw":
        return ""
    try:
        listing = run.run(["sfdisk", "--dump", image]).out
    except CosaError:
        return ""
    row = re.compile(r"start=\s*(\d+), size=\s*(\d+).*?name=\"([^\"]*)\"")
    for start, size, name in row.findall(listing):
        begin = int(start) * _SECTOR
        if begin <= offset < begin + int(size) * _SECTOR:
            return f", in the partition {name}{_file_at(image, begin, offset - begin)}"
    return ""


def _file_at(image: Path, begin: int, offset: int) -> str:
    """The file an ext4 has at an offset, asked of debugfs."""
    where = f"{image}?offset={begin}"
    block = offset // 4096
    said = run.run(["debugfs", "-R", f"icheck {block}", where], check=False).out
    inode = re.search(rf"^{block}\s+(\d+)$", said, re.MULTILINE)
    if not inode:
        return f", block {block}"
    said = run.run(["debugfs", "-R", f"ncheck {inode[1]}", where], check=False).out
    path = re.search(rf"^{inode[1]}\s+(\S.*)$", said, re.MULTILINE)
    return f", the file {path[1]}" if path else f", inode {inode[1]}"


def _bytes(old: Path, new: Path) -> str:
    sizes = [path.stat().st_size for path in (old, new)]
    at = 0
    with old.open("rb") as left, new.open("rb") as right:
        while True:
            a, b = left.read(fs.CHUNK), right.read(fs.CHUNK)
            if a != b:
                at += next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
                break
            if not a:
                return "none: the digests in meta.json do not fit the files"
            at += len(a)
    return f"byte {at} (of {sizes[0]} and {sizes[1]})"
