"""What the kernel lets us do here, found out by doing it in a corner of its own.

Each probe answers with what went wrong in the words of the program that tried,
or with nothing when it worked.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError

SECONDS = 10.0


def user_namespaces() -> str:
    """Whether an unprivileged user namespace can be made."""
    return _trouble(["unshare", "--user", "--map-root-user", "true"])


def sandbox() -> str:
    """Whether bubblewrap can start a program, as scriptlets are."""
    return _trouble(
        ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--ro-bind", "/", "/",
         "--proc", "/proc", "--dev", "/dev", "true"]
    )  # fmt: skip


def overlay(folder: Path) -> str:
    """Whether the kernel mounts an overlay whose layers lie on `folder`'s filesystem."""
    with _layers(folder) as (options, merged):
        return _trouble(
            ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, merged]
        )


def fuse(folder: Path) -> str:
    """Whether an overlay can be mounted through FUSE, on `folder`'s filesystem."""
    with _layers(folder) as (options, merged):
        # The first process of a PID namespace: when it has mounted and ended, so has its daemon.
        return _trouble(
            ["unshare", "--mount", "--pid", "--fork", "fuse-overlayfs", "-o", options, merged]
        )


def reflink(folder: Path) -> str:
    """Whether files below `folder` can share their blocks."""
    with tempfile.TemporaryDirectory(prefix="cosa-probe.", dir=folder) as name:
        Path(name, "a").write_bytes(b"x" * 65536)
        return _trouble(["cp", "--reflink=always", f"{name}/a", f"{name}/b"])


def memory() -> tuple[int, int]:
    """Bytes available and in all, the limit of our control group taken into account."""
    fields = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields[key] = int(value.split()[0]) * 1024 if value.split()[1:] == ["kB"] else 0
    available, total = fields["MemAvailable"], fields["MemTotal"]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            most = int((Path("/sys/fs/cgroup") / limit).read_text())
        except (OSError, ValueError):
            continue
        available, total = min(available, most), min(total, most)
    return available, total


def free_space(folder: Path) -> int:
    """Bytes free for us on the filesystem of `folder`."""
    return shutil.disk_usage(folder).free


@contextmanager
def _layers(folder: Path) -> Iterator[tuple[str, str]]:
    """Mount options and mount point of a small overlay below `folder`."""
    with tempfile.TemporaryDirectory(prefix="cosa-probe.", dir=folder) as name:
        for part in ("lower", "upper", "work", "merged"):
            Path(name, part).mkdir()
        options = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
        yield options, f"{name}/merged"
        # The kernel leaves work/work without any permission.
        shutil.rmtree(Path(name, "work"), ignore_errors=True)


def _trouble(argv: list[str]) -> str:
    try:
        result = run.run(argv, timeout=SECONDS, check=False)
    except CosaError as err:
        return err.what
    if result.status == 0:
        return ""
    lines = result.err.strip().splitlines()
    return lines[-1] if lines else f"{argv[0]} ended with status {result.status}"
