"""`cosa build-validate`: whether the files of a build are what its metadata says, and sound.

Sums of every file; blobs of container archives; tables and file systems of disks, which
are looked at in a raw copy and never mounted.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cosa.core import events, fs, run
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.core.fs import CHUNK
from cosa.model.meta import Artefact
from cosa.model.platforms import PLATFORMS, Platform
from cosa.pipeline.workdir import Workdir
from cosa.tools import gpt, qemu_img

_DISKS = frozenset({"raw", "qcow2", "vmdk", "vpc", "vhdx"})


@dataclass(frozen=True)
class Wish:
    """What to look at; `image` empty: everything."""

    build: str = ""
    image: str = ""
    checksums: bool = True


def validate(workdir: Workdir, wish: Wish) -> list[str]:
    """Look at a build, of every architecture that is here; what was found sound, in words.

    Raises one error with everything that is not, codes `validate/...`.
    """
    build = workdir.latest() if wish.build in ("", "latest") else wish.build
    listed = [b for b in workdir.read_builds().builds if b.id == build]
    arches = [a for entry in listed for a in entry.arches if workdir.has(build, a)]
    problems = Problems()
    lines = []
    for folder in [workdir.build(build, arch) for arch in arches] or [workdir.build(build)]:
        arch = folder.name
        if wish.image:
            workdir.image_path(wish.image, build, arch)  # says which there are
        for name, entry in workdir.meta(build, arch).images.items():
            if wish.image in ("", name):
                lines += [
                    f"{build}/{arch} {name}: {text}"
                    for text in _look(workdir, folder / entry.path, (name, entry), wish, problems)
                ]
    problems.raise_if_any(f"build {build} is not sound", ExitClass.UNTRUSTED)
    return lines


def _look(
    workdir: Workdir, path: Path, image: tuple[str, Artefact], wish: Wish, problems: Problems
) -> Iterator[str]:
    name, entry = image
    with events.step(f"validate {entry.path}"):
        if not path.is_file():
            problems.add(
                "validate/missing", f"{entry.path} is not here",
                fix="fetch it, or name the images that are here with --image",
            )  # fmt: skip
            return
        if wish.checksums:
            wrong = _sums(path, entry)
            if wrong:
                problems.add("validate/damaged", f"{entry.path} is damaged", why=wrong)
                return
            yield "sums match"
        found: list[str] = []
        with problems.collecting():
            found += _contents(workdir, name, entry, path)
        yield from found


def _sums(path: Path, entry: Artefact) -> str:
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"it has {size} bytes; meta.json says {entry.size}"
    digest = fs.sha256_file(path)
    return (
        "" if digest == entry.sha256 else f"its sha256 is {digest}; meta.json says {entry.sha256}"
    )


def _contents(workdir: Workdir, name: str, entry: Artefact, path: Path) -> list[str]:
    if entry.uncompressed_sha256:
        return ["compressed: what is inside was not looked at"]
    if path.suffix == ".ociarchive":
        return [f"{_archive(path)} blobs match their digests"]
    row = PLATFORMS.get(name)
    if row is None or row.format not in _DISKS or row.wrapped:
        return []
    with fs.private_dir(workdir.tmp, "validate") as work:
        return _disk(path, row, work)


def _archive(path: Path) -> int:
    """Check every blob against its name, and that the index leads to some; how many there are."""
    try:
        seen, index = _blobs(path)
    except (tarfile.TarError, EOFError, OverflowError, ValueError, RecursionError) as err:
        raise _unsound(path, f"it is no tar archive, or a damaged one ({str(err)[:200]})") from err
    try:
        wanted = [str(each["digest"]) for each in json.loads(index)["manifests"]]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise _unsound(path, "it has no index of images") from err
    if not wanted or not seen.issuperset(wanted):
        raise _unsound(path, "its index names an image that is not in it")
    return len(seen)


def _blobs(path: Path) -> tuple[set[str], bytes]:
    """The digests of an archive's blobs, each of which has been checked, and its index."""
    seen = set()
    index = b""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.name == "index.json" and member.size < CHUNK:
                file = tar.extractfile(member)
                index = file.read() if file else b""
            if not member.isreg() or not member.name.startswith("blobs/sha256/"):
                continue
            named, digest = member.name.rpartition("/")[2], hashlib.sha256()
            file = tar.extractfile(member)
            while file and (chunk := file.read(CHUNK)):
                digest.update(chunk)
            if digest.hexdigest() != named:
                found = digest.hexdigest()
                raise _unsound(path, f"its blob {named[:80]!r} has the sha256 {found}")
            seen.add(f"sha256:{named}")
    return seen, index


def _disk(path: Path, row: Platform, work: Path) -> list[str]:
    found = []
    raw = path
    if row.format != "raw":
        if row.format == "qcow2":
            result = run.run(["qemu-img", "check", "-q", path], check=False)
            if result.status:
                raise _unsound(path, (result.err or result.out).strip() or "qemu-img check failed")
            found.append("the clusters are consistent")
        info = qemu_img.info(path)
        size = info.get("virtual-size")
        fs.need_space(work, path.stat().st_size * 2, f"a raw copy of {path.name}")
        raw = work / "disk.raw"
        run.run(["qemu-img", "convert", "-O", "raw", path, raw])
        found.append(f"{int(size) >> 20} MiB" if isinstance(size, int) else "")
    try:
        parts = gpt.read(raw, row.sector).partitions
    except CosaError as err:
        raise _unsound(path, f"it has no valid partition table: {err.why}") from err
    for part in parts:
        check = _file_system(raw, part)
        if check:
            name, argv = check
            result = run.run(argv(work), check=False)
            if result.status:
                raise _unsound(
                    path, f"the {name} on '{part.name}' has errors:\n{result.out}{result.err}"
                )
            found.append(f"{name} on '{part.name}' is clean")
    return [text for text in found if text]


type _Check = tuple[str, Callable[[Path], list[str | Path]]]


def _file_system(raw: Path, part: gpt.Partition) -> _Check | None:
    """What is on a partition and the command that checks it; None for what has no file system."""
    with raw.open("rb") as file:
        file.seek(part.start)
        head = file.read(4096)
    if head[1080:1082] == b"\x53\xef":
        return "ext4", lambda _work: ["e2fsck", "-f", "-n", f"{raw}?offset={part.start}"]
    if head[:4] == b"XFSB":
        return "xfs", lambda work: ["xfs_repair", "-n", "-f", _cut(raw, part, work)]
    if head[510:512] == b"\x55\xaa" and b"FAT" in head[54:90]:
        return "FAT", lambda work: ["fsck.fat", "-n", _cut(raw, part, work)]
    return None


def _cut(raw: Path, part: gpt.Partition, work: Path) -> Path:
    """The partition as a file of its own."""
    out = work / f"part{part.number}"
    run.run([
        "dd", f"if={raw}", f"of={out}", "bs=1M", "iflag=skip_bytes,count_bytes",
        f"skip={part.start}", f"count={part.size}", "conv=sparse", "status=none",
    ])  # fmt: skip
    with out.open("r+b") as file:
        file.truncate(part.size)  # dd leaves a hole at the end away
    return out


def _unsound(path: Path, why: str) -> CosaError:
    return CosaError(
        "validate/unsound", f"{path.name} is not sound", why=why,
        fix="build it again, or fetch it again from where it came",
        exit_class=ExitClass.UNTRUSTED,
    )  # fmt: skip
