"""Every platform's image from one unbranded disk, side by side.

A platform changes little of a disk: files on the boot partition, tables, perhaps
its size. So there is one working disk per job rather than one per platform: it is
stamped, converted, and given back what was changed.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosa.core import events, fs, parallel
from cosa.images import convert, sparse
from cosa.images.packs import Facts
from cosa.images.platform import Settings, stamp
from cosa.model.platforms import Platform
from cosa.tools import gpt


@dataclass(frozen=True)
class Order:
    """What to make of a disk: `out` names each platform's file, `facts` go into packages."""

    platforms: Sequence[Platform]
    out: Callable[[Platform], Path]
    facts: Facts
    settings: Settings


@dataclass(frozen=True)
class Image:
    """A finished image: its file (read-only), hex digest and bytes."""

    path: Path
    sha256: str
    size: int


def produce(raw: Path, order: Order, scratch: Path) -> dict[str, Image]:
    """Make images of the unbranded disk `raw`, which is used up; results by platform.

    Raises what `stamp` and `convert` do, and `env/disk-full` before anything is begun
    if all of it would not fit.
    """
    jobs = min(parallel.jobs(), len(order.platforms))
    _need_space(raw, order, jobs)
    with fs.private_dir(scratch, "disks") as work:
        disks = _Disks(raw, work, jobs, once=len(order.platforms) == 1)

        def one(row: Platform) -> Image:
            with events.step(f"image {row.name}") as step:
                image = _make(disks, row, order, work)
                step.size = image.size
            return image

        made = parallel.each(one, order.platforms, jobs)
        raw.unlink(missing_ok=True)
    return dict(zip((row.name for row in order.platforms), made, strict=True))


def _make(disks: _Disks, row: Platform, order: Order, work: Path) -> Image:
    path = order.out(row)
    disk = disks.take()
    try:
        stamp(disk, row, order.settings, work, size=_size(row, order.facts))
        facts = replace(order.facts, capacity=disk.stat().st_size)
        convert.convert(disk, path, row, facts)
    finally:
        disks.give_back(disk)
    path.chmod(0o444)
    return Image(path, sparse.sha256(path), path.stat().st_size)


def _size(row: Platform, facts: Facts) -> int:
    """The bytes a platform's disk shall have; 0: what the content needs."""
    return (row.own_gib or facts.spec.size) << 30 if row.cloud_size else 0


def _need_space(raw: Path, order: Order, jobs: int) -> None:
    """All of it at once: nobody is helped by nine images of twenty."""
    data = raw.stat().st_blocks * 512
    needed = (jobs - 1) * data + sum(convert.needed(raw, row) for row in order.platforms)
    count = len(order.platforms)
    names = f"{count} images" if count > 1 else "the image"
    fs.need_space(order.out(order.platforms[0]).parent, needed, names)


class _Disks:
    """Working disks, lent out; each comes back as the unbranded one."""

    def __init__(self, raw: Path, work: Path, count: int, *, once: bool) -> None:
        self._once = once
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._table = gpt.read(raw)
        self._size = raw.stat().st_size
        # Platforms change nothing from the root partition on.
        self._end = self._table.named("root").start
        self._pristine = work / "pristine"
        if not once:
            with self._pristine.open("wb") as file:
                for offset, data in sparse.pieces(raw, 0, self._end):
                    file.seek(offset)
                    file.write(data)
        disks = [raw]
        for number in range(1, count):
            disks.append(work / f"disk.{number}")
            sparse.sparse_copy(raw, disks[-1])
        for disk in disks:
            self._free.put(disk)

    def take(self) -> Path:
        """A working disk, unbranded."""
        return self._free.get()

    def give_back(self, disk: Path) -> None:
        """Undo what was done to a disk and let others have it."""
        if self._once:
            disk.unlink()
            return
        with disk.open("r+b") as file:
            # Without its last MiB, where tables of either sector size were.
            file.truncate(self._size - (1 << 20))
            file.truncate(self._size)
        sparse.restore(disk, self._pristine, self._end)
        gpt.write(disk, self._table.disk, self._table.partitions)
        self._free.put(disk)
