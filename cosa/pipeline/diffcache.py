"""Trees and listings of builds, unpacked once and kept in tmp/diff-cache/KIND/ID.

Beside each stands the digest of what it was made from, so that a build made anew under
an old id is not taken for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.core import events, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.pipeline.workdir import Workdir


@dataclass(frozen=True)
class Side:
    """One of the two builds that are compared."""

    workdir: Workdir
    id: str
    folder: Path
    meta: dict[str, Any]

    @property
    def commit(self) -> str:
        """Its OSTree commit."""
        return str(self.meta["ostree-commit"])

    def image(self, name: str) -> tuple[Path, str]:
        """An artefact's file and sha256. Raises `diff/no-image`, `diff/compressed`."""
        entry = self.meta.get("images", {}).get(name)
        path = self.folder / str(entry["path"]) if entry else None
        if path is None or not path.is_file():
            listed = "it is listed, but not here" if entry else ""
            target = "live" if name.startswith("live-") else name
            raise CosaError(
                "diff/no-image", f"build {self.id} has no '{name}' to compare", why=listed,
                fix="fetch it" if entry else f"`cosa build {target}` makes it for the latest build",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
        if entry.get("uncompressed-sha256"):
            raise CosaError(
                "diff/compressed", f"{path.name} is compressed",
                fix=f"cosa decompress --build {self.id} --artifact {name}",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
        return path, str(entry["sha256"])

    def kept(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """What `make` puts at the path it is given; from the cache if made from `key` before."""
        place = cache_of(self.workdir) / kind
        final, mark = place / self.id, place / f".{self.id}.key"
        if final.exists() and mark.is_file() and mark.read_text() == key:
            return final
        with events.step(f"unpack {kind} of {self.id}"), fs.private_dir(place, kind) as work:
            make(work / "out")
            fs.remove_tree(final)
            fs.publish(work / "out", final)
            fs.atomic_write(mark, key)
        return final


def cache_of(workdir: Workdir) -> Path:
    """Where everything is kept."""
    return workdir.tmp / "diff-cache"


def listing(tree: Path) -> str:
    """Every path below a folder: type and permissions, size, name, target of links."""
    lines = []
    for path in sorted(tree.rglob("*")):
        info = path.lstat()
        name = path.relative_to(tree).as_posix()
        link = f" -> {path.readlink()}" if path.is_symlink() else ""
        size = 0 if path.is_dir() and not link else info.st_size
        lines.append(f"{info.st_mode:06o} {size:>12} {name}{link}\n")
    return "".join(lines)


def usage(tree: Path) -> str:
    """Bytes in files below every folder; hard links count once, where they come first."""
    sums: dict[Path, int] = {tree: 0}
    seen = set()
    for path in sorted(tree.rglob("*")):
        info = path.lstat()
        if path.is_dir() and not path.is_symlink():
            sums.setdefault(path, 0)
        elif info.st_ino not in seen:
            seen.add(info.st_ino)
            for above in path.parents:
                sums[above] = sums.get(above, 0) + info.st_size
                if above == tree:
                    break
    return "".join(
        f"{size:>14} {folder.relative_to(tree).as_posix()}\n"
        for folder, size in sorted(sums.items())
    )


def text_of(make: Callable[[], str]) -> Callable[[Path], None]:
    """A maker of a text file, for `kept`."""

    def write(path: Path) -> None:
        path.write_text(make(), errors="surrogateescape")

    return write
