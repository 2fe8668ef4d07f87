"""The build before this one: whether it is already what is asked for, and what it can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosa.core.errors import CosaError
from cosa.model.meta import Meta
from cosa.pipeline import changes, metamerge
from cosa.pipeline.record import Earlier, Inputs, Made, Record
from cosa.pipeline.workdir import Workdir


@dataclass(frozen=True)
class Previous:
    """The latest build of an architecture, made by cosa."""

    build: str
    folder: Path
    meta: Meta
    record: Record

    def is_made_from(self, inputs: Inputs) -> bool:
        """Whether a new build would come out the same."""
        return self.record.inputs == inputs

    def lacks(self, targets: Sequence[str]) -> list[str]:
        """Those artefacts it does not have."""
        return [name for name in targets if not self._has(name)]

    def _has(self, name: str) -> bool:
        meta = metamerge.read(self.folder, name) if self.meta.is_delayed else self.meta
        image = meta.images.get(name)
        return image is not None and (self.folder / image.path).is_file()

    @property
    def source(self) -> Earlier:
        """What may be taken over from it."""
        files = {
            name: Made(image.path, image.sha256, image.size or 0, "")
            for name, image in self.meta.images.items()
            # What was compressed since is another file under another name.
            if image.uncompressed_sha256 is None
        }
        return Earlier(self.folder, self.record.artefacts, files)

    def reasons(self, inputs: Inputs) -> list[str]:
        """Why a new build is made; empty when nothing changed."""
        return changes.texts(self.record.inputs, inputs)


def find(workdir: Workdir, arch: str) -> Previous | None:
    """The latest build, or None when there is none or another tool made it."""
    try:
        build = workdir.latest(arch)
    except CosaError as err:
        if err.code != "build/none":
            raise
        return None
    folder = workdir.build(build, arch)
    made = Record.read(folder)
    return Previous(build, folder, workdir.meta(build, arch), made) if made else None
