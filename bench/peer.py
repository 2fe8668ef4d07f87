"""mkosi making a bootable disk of the very packages our stand-in is made of.

The packages come from a local apt repository of the same .deb files, plus those
mkosi's own initrd is made of, so that nothing is downloaded while time runs.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from cosa.core import events, run
from cosa.standin import download
from cosa.standin.apt import Apt

RELEASE = "trixie"
# What mkosi's default initrd (mkosi-initrd) asks for on this release; the kernel's modules
# it takes from the image.
INITRD = (
    "systemd", "udev", "bash", "less", "p11-kit", "lvm2", "kmod", "dmsetup", "libcryptsetup12",
    "btrfs-progs", "e2fsprogs", "erofs-utils", "dosfstools", "util-linux", "libfido2-1",
    "^libtss2-esys-[0-9.]+-0$", "^libtss2-mu[0-9.-]+$", "libtss2-rc0", "libtss2-tcti-device0",
    "systemd-cryptsetup", "systemd-repart",
)  # fmt: skip
BOOT = ("systemd-boot", "systemd-boot-efi")


def names_of_build(lockfile: Path) -> list[str]:
    """Debian's names of the packages a build of ours consists of."""
    locked = json.loads(lockfile.read_text())["packages"]
    return sorted(name for name in locked if name != "deb-essential")


def repository(names: list[str], cache: Path, folder: Path) -> int:
    """Make the local apt repository; the number of its packages."""
    apt = Apt(cache / "standin/apt/x86_64", "x86_64")
    apt.prepare(refresh=False)
    files = apt.resolve([*names, *INITRD, *BOOT])
    debs = cache / "standin/debs"
    absent = [file for file in files if not (debs / f"{file.sha256}.deb").exists()]
    if absent:
        with events.step("download") as step:
            download.fetch(apt, absent, debs, step)
    shutil.rmtree(folder, ignore_errors=True)
    pool = folder / "pool"
    pool.mkdir(parents=True)
    for file in files:
        # A copy: mkosi may hard-link and chown what it installs.
        shutil.copyfile(
            debs / f"{file.sha256}.deb", pool / f"{file.name}_{file.version}_{file.arch}.deb"
        )
    index = folder / f"dists/{RELEASE}/main/binary-amd64"
    index.mkdir(parents=True)
    packages = run.run(["apt-ftparchive", "packages", "pool"], cwd=folder)
    (index / "Packages").write_bytes(packages.raw)
    release = run.run(
        ["apt-ftparchive", "-o", f"APT::FTPArchive::Release::Suite={RELEASE}",
         "-o", f"APT::FTPArchive::Release::Codename={RELEASE}",
         "-o", "APT::FTPArchive::Release::Components=main",
         "-o", "APT::FTPArchive::Release::Architectures=amd64", "release", f"dists/{RELEASE}"],
        cwd=folder,
    )  # fmt: skip
    (folder / f"dists/{RELEASE}/Release").write_bytes(release.raw)
    return len(files)


def configure(folder: Path, mirror: Path, names: list[str]) -> None:
    """Write the definition: the packages, a disk with GPT, ESP and ext4 root, incremental."""
    folder.mkdir(parents=True, exist_ok=True)
    packages = "\n".join(f"         {name}" for name in [*names, *BOOT])
    (folder / "mkosi.conf").write_text(
        f"""[Distribution]
Distribution=debian
Release={RELEASE}
LocalMirror=file://{mirror}

[Output]
Format=disk
OutputDirectory=output
ImageId=bench

[Content]
Packages=
{packages}
Bootable=yes
Bootloader=systemd-boot
UnifiedKernelImages=no
WithDocs=yes

[Build]
Incremental=yes
CacheDirectory=cache
PackageCacheDirectory=packages
WorkspaceDirectory=workspace
WithNetwork=no
BuildSources=
"""
    )
    for name in ("output", "cache", "packages", "workspace"):
        (folder / name).mkdir(exist_ok=True)


def command(folder: Path) -> list[str]:
    """The command that builds it, over what is there; incremental when its cache is."""
    return ["mkosi", "--directory", os.fspath(folder), "--force", "build"]


def outcome(folder: Path) -> dict[str, int]:
    """Bytes the disk takes, holes left out."""
    disk = (folder / "output/bench.raw").resolve()
    return {"raw": disk.stat().st_blocks * 512}
