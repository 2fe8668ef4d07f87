"""`import`: a container image becomes a build."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    name="import",
    metavar={
        "parent_build": "ID", "arch": "ARCH", "download": "PLATFORM,...", "authfile": "FILE",
    },
    help={
        "image": "oci-archive:FILE, oci:FOLDER, docker://NAME, containers-storage:NAME; or a file",
        "parent-build": "compare packages with this build instead of the latest",
        "skip-prune": "keep all older builds",
        "arch": "the image's architecture; default this machine's",
        "download": "also take the disk images that come with it: platforms, or all",
        "authfile": "passwords of container registries",
    },
)  # fmt: skip
def import_(
    _c: Context,
    image: str,
    *,
    parent_build: str = "",
    skip_prune: bool = False,
    arch: str = "",
    download: str = "",
    authfile: str = "",
) -> None:
    """Make a build of a bootable container image.

    Its labels must say containers.bootc=1, org.opencontainers.image.version and
    com.coreos.osname. Disk images are then made of it as of any build.
    """
    from cosa.cli.build import first_line, use_authfile
    from cosa.pipeline.importing import Wanted, import_image
    from cosa.pipeline.workdir import Workdir

    first_line("import")
    use_authfile(authfile)
    names = tuple(name for name in download.split(",") if name)
    wanted = Wanted(image, arch, parent_build, skip_prune, names)
    build, folder = import_image(Workdir(settings().workdir), wanted)
    print(f"build {build}: {folder}")
