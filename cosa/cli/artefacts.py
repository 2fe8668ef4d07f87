"""`compress`, `decompress`, `build-validate`: the files of a build."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Artefacts",
    iterable=["artifact"],
    metavar={"build": "ID", "artifact": "NAME", "compressor": "xz|gzip|zstd"},
    help={
        "build": "which build; default the latest",
        "artifact": "only this image; may be repeated",
        "compressor": "default: what image.yaml says for the platform, else for all",
        "fast": "quick rather than small: level 1 (of gzip, unless --compressor)",
    },
)
def compress(
    _c: Context,
    *,
    build: str = "",
    artifact: list[str] | None = None,
    compressor: str = "",
    fast: bool = False,
) -> None:
    """Compress the images of a build.

    One file after the other is replaced, and meta.json with it; a run that was
    interrupted goes on where it stopped.
    """
    from cosa.pipeline.compress import Wish
    from cosa.pipeline.compress import compress as compress_now
    from cosa.pipeline.workdir import Workdir

    wish = Wish(build, tuple(artifact or ()), compressor, fast)
    names = compress_now(Workdir(settings().workdir), wish)
    print("\n".join(names) or "everything is compressed already")


@command(
    group="Artefacts",
    iterable=["artifact"],
    metavar={"build": "ID", "artifact": "NAME"},
    help={
        "build": "which build; default the latest",
        "artifact": "only this image; may be repeated",
    },
)
def decompress(_c: Context, *, build: str = "", artifact: list[str] | None = None) -> None:
    """Undo `compress`; what comes out is held against its sha256."""
    from cosa.pipeline.compress import Wish
    from cosa.pipeline.compress import decompress as decompress_now
    from cosa.pipeline.workdir import Workdir

    names = decompress_now(Workdir(settings().workdir), Wish(build, tuple(artifact or ())))
    print("\n".join(names) or "nothing is compressed")


@command(
    group="Artefacts",
    metavar={"build": "ID", "image": "NAME"},
    help={
        "build": "which build; default the latest",
        "image": "only this image",
        "no-checksum": "do not compute sums",
    },
)
def build_validate(
    _c: Context, *, build: str = "", image: str = "", no_checksum: bool = False
) -> None:
    """Check a build: sums of its files, blobs of archives, file systems of disks."""
    from cosa.pipeline.validate import Wish, validate
    from cosa.pipeline.workdir import Workdir

    lines = validate(Workdir(settings().workdir), Wish(build, image, checksums=not no_checksum))
    print("\n".join(lines))
