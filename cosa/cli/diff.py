"""`diff`: how two builds differ."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Builds",
    metavar={"from_": "ID", "to": "ID", "arch": "ARCH"},
    help={
        "from": "the first build; default the previous one",
        "to": "the second build; default the latest",
        "arch": "of which architecture",
        "gc": "remove what was unpacked, afterwards (or only that)",
        "difftool": "show folders with `git difftool`",
        "rpms": "packages and their versions",
        "rpms-json": "packages and advisories, as JSON",
        "source-control": "commits of the definition and of the tool",
        "sizes": "sizes of the artefacts",
        "ostree": "content of the commits",
        "ostree-ls": "names of files in the commits",
        "initrd": "content of the initramfs",
        "live-iso": "content of the live ISO",
        "live-iso-ls": "names of files in the live ISO",
        "live-initrd": "content of the live initramfs",
        "live-initrd-ls": "names of files in the live initramfs",
        "live-rootfs-img": "content of live-rootfs",
        "live-rootfs-img-ls": "names of files in live-rootfs",
        "live-sysroot": "content of the root file system inside of live-rootfs",
        "live-sysroot-ls": "names of files in it",
        "metal": "content of the metal disks",
        "metal-ls": "names of files on the metal disks",
        "metal-du": "how much each folder of the metal disks holds",
        "metal-part-table": "partition tables of the metal disks",
    },
)
def diff(
    _c: Context,
    *,
    from_: str = "",
    to: str = "",
    arch: str = "",
    gc: bool = False,
    difftool: bool = False,
    rpms: bool = False,
    rpms_json: bool = False,
    source_control: bool = False,
    sizes: bool = False,
    ostree: bool = False,
    ostree_ls: bool = False,
    initrd: bool = False,
    live_iso: bool = False,
    live_iso_ls: bool = False,
    live_initrd: bool = False,
    live_initrd_ls: bool = False,
    live_rootfs_img: bool = False,
    live_rootfs_img_ls: bool = False,
    live_sysroot: bool = False,
    live_sysroot_ls: bool = False,
    metal: bool = False,
    metal_ls: bool = False,
    metal_du: bool = False,
    metal_part_table: bool = False,
) -> None:
    """Say how two builds differ, the previous and the latest unless told otherwise.

    At least one way to compare must be chosen. What has to be unpacked is kept in
    tmp/diff-cache for the next time.
    """
    given = dict(locals())
    from cosa.cli.parse import usage_error
    from cosa.pipeline import diff as differs
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    names = [row.name for row in differs.DIFFERS if given[row.name.replace("-", "_")]]
    if not names and not gc:
        raise usage_error("diff", "nothing to compare was chosen", "try `cosa diff --rpms`")
    if names:
        pair = differs.sides(workdir, from_, to, arch)
        for line in differs.compare(pair, names, difftool=difftool):
            print(line, flush=True)
    if gc:
        differs.collect_garbage(workdir)
