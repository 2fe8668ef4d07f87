"""KubeVirt's containerDisk: an OCI image with a disk below /disk and nothing else."""

from __future__ import annotations

from pathlib import Path

from cosa.core import clock
from cosa.images.packs import Facts
from cosa.tools import tarwrite
from cosa.tools.gzipstream import GzipWriter
from cosa.tools.ociarchive import OciArchive

_QEMU = 107  # the user KubeVirt runs QEMU as


def pack(disk: Path, out: Path, facts: Facts) -> None:
    """Write the archive of a qcow2."""
    name = f"{facts.name}-{facts.build}-kubevirt.{facts.arch}.qcow2"

    def fill(sink: GzipWriter) -> None:
        def header(kind: bytes, path: str, mode: int, size: int = 0) -> bytes:
            return tarwrite.header(
                kind, path.encode(), mode=mode, uid=_QEMU, gid=_QEMU, size=size, mtime=facts.epoch
            )

        size = disk.stat().st_size
        sink.write(header(tarwrite.DIRECTORY, "disk/", 0o555))
        sink.write(header(tarwrite.REGULAR, f"disk/{name}", 0o440, size))
        with disk.open("rb") as file:
            sink.copy(file.read)
        sink.write(bytes(tarwrite.padding(size)) + tarwrite.end())

    with out.open("wb") as file:
        image = OciArchive(file)
        image.layer("disk", fill)
        image.finish({"version": facts.build}, arch=facts.arch, created=clock.iso(facts.epoch))
