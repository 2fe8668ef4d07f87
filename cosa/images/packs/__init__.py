"""What a disk is packed in for a platform: each module has `pack(disk, out, facts)`."""

from __future__ import annotations

from dataclasses import dataclass

from cosa.model.imagespec import ImageSpec


@dataclass(frozen=True)
class Facts:
    """What packages say of the disk in them.

    `name` is the OS's, `build` the build's id, `epoch` its time (seconds since
    1970), `capacity` the disk's size in bytes as a guest sees it.
    """

    name: str
    build: str
    arch: str
    epoch: int
    spec: ImageSpec
    capacity: int
