"""`cosa compress` and `decompress`: the images of a build, one after the other.

For each: the new file under a hidden name, renamed into place; meta.json; the old file
away. A run killed in between is continued by the next one, which finds either the old
entry (and makes the new file again) or the new one (and removes the old file).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosa.core import events, fs, parallel, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.meta import Artefact, Meta
from cosa.model.platforms import PLATFORMS
from cosa.pipeline import compressing, metamerge
from cosa.pipeline.compressing import Compressor
from cosa.pipeline.workdir import Workdir

# Compressed in themselves, or read piece by piece.
_NEVER = frozenset({
    "extensions-container", "ignition-gpg-key", "initramfs", "iso", "kernel",
    "legacy-oscontainer", "live-initramfs", "live-iso", "live-kernel", "live-rootfs",
    "oci-manifest", "ostree",
})  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; `artefacts` empty: all of the build."""

    build: str = ""
    artefacts: tuple[str, ...] = ()
    compressor: str = ""
    fast: bool = False


@dataclass(frozen=True)
class _Item:
    """One image of one build."""

    folder: Path
    name: str
    entry: Artefact

    @property
    def file(self) -> Path:
        return self.folder / self.entry.path


def compress(workdir: Workdir, wish: Wish) -> list[str]:
    """Compress the images of a build, of every architecture that is here; their new names.

    Raises `usage/compressor`, `build/no-image`, `compress/...`, `busy/locked`.
    """
    choose = _chooser(workdir, wish)
    works: list[_Work] = []
    with _items(workdir, wish) as items:
        for item in items:
            if item.entry.uncompressed_sha256:
                _remove_plain(item)
                events.note(f"{item.name} is compressed already")
            elif not _skips(item):
                works.append((_compress_one, item, choose(item.name)))
            elif wish.artefacts:
                events.note(f"{item.name} stays as it is: its format is compressed in itself")
        return _side_by_side(works)


def decompress(workdir: Workdir, wish: Wish) -> list[str]:
    """Undo `compress`; the names of the files that are back. Raises as `compress` does."""
    works: list[_Work] = []
    with _items(workdir, wish) as items:
        for item in items:
            how = compressing.of_file(item.entry.path)
            if item.entry.uncompressed_sha256 and how:
                works.append((_decompress_one, item, how))
            else:
                _remove_packed(item)
        return _side_by_side(works)


type _Work = tuple[Callable[[_Item, Compressor], str], _Item, Compressor]


def _side_by_side(works: Sequence[_Work]) -> list[str]:
    """As many at a time as there are processors for, given what one of them uses."""
    most = max((how.threads for _, _, how in works), default=1)
    limit = max(1, parallel.jobs() // most)
    return parallel.each(lambda work: work[0](work[1], work[2]), works, limit)


@contextmanager
def _items(workdir: Workdir, wish: Wish) -> Iterator[list[_Item]]:
    """The images asked for, of each architecture of the build that is here, under its lock."""
    build = workdir.latest() if wish.build in ("", "latest") else wish.build
    listed = [b for b in workdir.read_builds().builds if b.id == build]
    arches = [arch for entry in listed for arch in entry.arches if workdir.has(build, arch)]
    folders = [workdir.build(build, arch) for arch in arches] or [workdir.build(build)]
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(store.lock(folder / ".compress.lock", "a compression"))
            for left in folder.glob(".*.packing"):  # by a killed run
                left.unlink()
        found = [
            _Item(folder, name, entry)
            for folder in folders
            for name, entry in Meta.read(folder / "meta.json").images.items()
        ]
        for name in wish.artefacts:
            if name not in {item.name for item in found}:
                workdir.image_path(name, build, folders[0].name)  # says which there are
        yield [item for item in found if not wish.artefacts or item.name in wish.artefacts]


def _skips(item: _Item) -> bool:
    row = PLATFORMS.get(item.name)
    return bool(
        item.entry.skip_compression or item.name in _NEVER or (row and row.skip_compression)
    )


def _chooser(workdir: Workdir, wish: Wish) -> Callable[[str], Compressor]:
    """A function giving the compressor of an image: asked for, or image.yaml's."""
    names = compressing.COMPRESSORS
    if wish.compressor and wish.compressor not in names:
        raise CosaError(
            "usage/compressor", f"there is no compressor '{wish.compressor}'",
            fix=f"choose one of {', '.join(names)}", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    if wish.fast:
        chosen = names[wish.compressor or "gzip"]
        return lambda _name: Compressor(chosen.name, chosen.suffix, 1)
    if wish.compressor:
        return lambda _name: names[wish.compressor]
    from cosa.model.imagespec import load_image_spec

    spec = load_image_spec(workdir.image_spec())
    return lambda name: names[spec.platform_compressor.get(name, spec.compressor)]


def _compress_one(item: _Item, how: Compressor) -> str:
    entry, source = item.entry, item.file
    name = entry.path + how.suffix
    with events.step(f"compress {entry.path}") as step:
        _need(item)
        fs.need_space(item.folder, source.stat().st_size // 2, f"compressing {entry.path}")
        partial = item.folder / f".{name}.packing"
        try:
            compressing.compress(source, partial, how)
            size, digest = _settle(partial, item.folder / name)
        finally:
            partial.unlink(missing_ok=True)
        changes = {
            "path": name, "sha256": digest, "size": size, "uncompressed-sha256": entry.sha256,
            "uncompressed-size": source.stat().st_size,
        }  # fmt: skip
        _replace(item, changes)
        source.unlink()
        step.size = size
    return name


def _decompress_one(item: _Item, how: Compressor) -> str:
    entry, source = item.entry, item.file
    name = entry.path.removesuffix(how.suffix)
    with events.step(f"decompress {entry.path}") as step:
        if not source.is_file():
            raise _missing(item)
        limit = entry.uncompressed_size or source.stat().st_size * 2000
        fs.need_space(item.folder, entry.uncompressed_size or 0, f"decompressing {entry.path}")
        partial = item.folder / f".{name}.packing"
        try:
            compressing.decompress(source, partial, how, limit)
            if fs.sha256_file(partial) != entry.uncompressed_sha256:
                raise _damaged(item, "what it unfolds to has another sha256 than was compressed")
            size, digest = _settle(partial, item.folder / name)
        finally:
            partial.unlink(missing_ok=True)
        _replace(
            item, {"path": name, "sha256": digest, "size": size},
            drop=("uncompressed-sha256", "uncompressed-size"),
        )  # fmt: skip
        source.unlink()
        step.size = size
    return name


def _need(item: _Item) -> None:
    """The file must be what the metadata says: damage must not be packed and given new sums."""
    if not item.file.is_file():
        raise _missing(item)
    if fs.sha256_file(item.file) != item.entry.sha256:
        raise _damaged(item, "its sha256 is not what meta.json says")


def _missing(item: _Item) -> CosaError:
    return CosaError(
        "compress/missing", f"{item.entry.path} is not here",
        why=f"meta.json lists it; looked for {item.file}",
        fix="name the images that are here with --artifact",
    )  # fmt: skip


def _damaged(item: _Item, why: str) -> CosaError:
    return CosaError(
        "compress/damaged", f"{item.entry.path} is damaged", why=why,
        fix="run `cosa build-validate`, and build or fetch the image again",
        exit_class=ExitClass.UNTRUSTED,
    )  # fmt: skip


def _settle(partial: Path, final: Path) -> tuple[int, str]:
    """Make a finished file durable under its name; size and sha256."""
    digest = fs.sha256_file(partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.chmod(0o444)
    fs.publish(partial, final)
    return final.stat().st_size, digest


def _replace(item: _Item, changes: Mapping[str, object], drop: Sequence[str] = ()) -> None:
    path = item.folder / metamerge.FILE
    with metamerge.locked(item.folder):
        data = Meta.read(path).to_json()
        entry = {key: value for key, value in data["images"][item.name].items() if key not in drop}
        data["images"] = data["images"] | {item.name: entry | dict(changes)}
        Meta.of(data).write(path)


def _remove_plain(item: _Item) -> None:
    """What a killed `compress` left: the file that is compressed already."""
    how = compressing.of_file(item.entry.path)
    if how and item.file.is_file():
        plain = item.folder / item.entry.path.removesuffix(how.suffix)
        if plain.is_file() and plain.stat().st_size == item.entry.uncompressed_size:
            plain.unlink()


def _remove_packed(item: _Item) -> None:
    """What a killed `decompress` left: the compressed file of one that is plain again."""
    for each in compressing.COMPRESSORS.values():
        packed = item.folder / (item.entry.path + each.suffix)
        if item.file.is_file() and packed.is_file():
            packed.unlink()
