"""A commit of a container image's file tree: what an OSTree client makes of such an image.

As ostree-ext has it: /etc becomes /usr/etc, the image's own object store goes, folders of
a running system are emptied, everything is labelled by the policy in the tree. What such
a commit must have to boot is checked before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosa.core import events, fs, run
from cosa.core.errors import CosaError
from cosa.model.package import Package
from cosa.tools import ostree

_EMPTIED = ("run", "tmp", "proc", "sys", "dev")
_BUILDER = ("usr/etc/hostname", "usr/etc/resolv.conf")  # left there, empty, by builds
_RPMDB = ("usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm")
_FORMAT = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{SOURCERPM}\\n"


@dataclass(frozen=True)
class Kernel:
    """The kernel of a tree: its version."""

    version: str


def settle(root: Path) -> Kernel:
    """Bring a flattened tree into the form of a commit. Raises `import/not-bootable`."""
    if (root / "etc").is_dir() and not (root / "etc").is_symlink():
        if any((root / "usr/etc").glob("*")):
            raise CosaError(
                "import/not-bootable", "the image has both /etc and /usr/etc",
                fix="let the Containerfile move its files into /etc",
            )  # fmt: skip
        fs.remove_tree(root / "usr/etc")
        (root / "etc").rename(root / "usr/etc")
    for name in _BUILDER:
        path = root / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size == 0:
            path.unlink()
    for name in _EMPTIED:
        if (root / name).is_dir() and not (root / name).is_symlink():
            for path in (root / name).iterdir():
                fs.remove_tree(path)
    fs.remove_tree(root / "sysroot/ostree")
    for name in ("sysroot", "boot"):
        (root / name).mkdir(exist_ok=True)
    if not (root / "ostree").is_symlink():
        fs.remove_tree(root / "ostree")
        (root / "ostree").symlink_to("sysroot/ostree")
    kernels = sorted(path.parent.name for path in root.glob("usr/lib/modules/*/vmlinuz"))
    if len(kernels) != 1:
        raise CosaError(
            "import/not-bootable",
            "the image holds no kernel" if not kernels else "the image holds several kernels",
            why=", ".join(kernels) or "usr/lib/modules/VERSION/vmlinuz is missing",
            fix="import an image of a whole operating system (bootc)",
        )
    return Kernel(kernels[0])


def write(
    root: Path,
    repo: Path,
    *,
    ref: str,
    timestamp: int,
    texts: Mapping[str, str],
    packages: tuple[Package, ...],
) -> str:
    """Commit a settled tree; its checksum. `texts` are added to the commit's metadata.

    Raises `run/failed` with ostree's own words.
    """
    ostree.Repo.ensure(repo, "bare-user")
    rows = ", ".join(str((p.name, p.epoch, p.version, p.release, p.arch)) for p in sorted(packages))
    argv = [
        "ostree", f"--repo={repo}", "commit", f"--branch={ref}", f"--timestamp=@{timestamp}",
        "--subject=", f"--tree=dir={root}", "--bootable", "--no-bindings",
        *(f"--add-metadata-string={key}={value}" for key, value in sorted(texts.items())),
    ]  # fmt: skip
    if rows:
        argv.append(f"--add-metadata=rpmostree.rpmdb.pkglist=@a(sssss) [{rows}]")
    if any((root / "usr/etc/selinux").glob("*/policy/policy.*")):
        argv.append(f"--selinux-policy={root}")
    with events.step("commit") as step:
        checksum = run.run(argv).out.strip().splitlines()[-1]
        step.summary = checksum[:12]
    return checksum


def packages_of(root: Path) -> tuple[Package, ...]:
    """The packages the RPM database of a tree names; none without a database."""
    place = next((root / name for name in _RPMDB if (root / name / "rpmdb.sqlite").is_file()), None)
    if place is None:
        return ()
    argv = ["rpm", "--root", str(root), "--dbpath", f"/{place.relative_to(root)}", "-qa",
            "--qf", _FORMAT]  # fmt: skip
    found = []
    for line in run.run(argv).out.splitlines():
        name, epoch, version, release, arch, source = line.split("\t")
        if name != "gpg-pubkey":
            found.append(
                Package(name, epoch, version, release, arch, sourcerpm=source)
                if source != "(none)"
                else Package(name, epoch, version, release, arch)
            )
    return tuple(sorted(found))
