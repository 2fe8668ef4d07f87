"""File systems made in files: ext4 from a tar stream, FAT by mtools. Nothing is mounted.

Both are the same to the bit for the same input: ids, hash seed and times are
given, never drawn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from subprocess import PIPE, STDOUT
from typing import IO
from uuid import UUID

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass

type LateXattr = tuple[str, str, bytes]  # path, name, value

# In the place of the machine's mke2fs.conf, so that disks do not depend on it. Inodes of
# 256 bytes hold a SELinux label; metadata_csum_seed lets the first boot change the UUID
# without touching every block.
_CONFIG = """\
[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = 4096
inode_size = 256
inode_ratio = 16384
[fs_types]
ext4 = {
  features = has_journal,extent,huge_file,flex_bg,64bit,dir_nlink,extra_isize,metadata_csum,\
metadata_csum_seed
}
small = {
  blocksize = 4096
}
floppy = {
  blocksize = 4096
}
"""


def ext4_from_tar(
    device: Path,
    feed: Callable[[IO[bytes]], Sequence[LateXattr]],
    *,
    offset: int,
    size: int,
    label: str,
    uuid: UUID,
    epoch: int,
) -> None:
    """Make an ext4 of `size` bytes at `offset` of an existing file, filled by `feed`.

    `feed` writes a tar (pax; capabilities as SCHILY.xattr records) to the pipe it
    is given; owners, modes, times and hard links are kept. It returns the xattrs
    still to be set. Raises `mkfs/failed` with what mke2fs said, and whatever
    `feed` raises.
    """
    options = f"offset={offset},hash_seed={uuid},lazy_itable_init=1,nodiscard,root_owner=0:0"
    argv = [
        "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-U", str(uuid), "-m", "0",
        "-E", options, "-d", "-", str(device), f"{size // 1024}k",
    ]  # fmt: skip
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):  # as large as users may: fewer turns of each side
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    # Beside the disk, which is in a private folder: nothing is left behind if we are killed.
    with tempfile.NamedTemporaryFile("w", suffix=".mke2fs.conf", dir=device.parent) as config:
        config.write(_CONFIG)
        config.flush()
        env = {"SOURCE_DATE_EPOCH": str(epoch), "MKE2FS_CONFIG": config.name}
        with os.fdopen(reader, "rb") as stdin:
            process = run.start(argv, stdin=stdin, stdout=PIPE, stderr=STDOUT, env=env)
        said: list[bytes] = []
        late: Sequence[LateXattr] = ()
        listener = threading.Thread(target=lambda: said.append(_drain(process.stdout)), daemon=True)
        listener.start()
        try:
            with os.fdopen(writer, "wb", buffering=1 << 20) as pipe:
                late = feed(pipe)
        except BrokenPipeError:
            pass  # mke2fs gave up: its own message says why
        except BaseException:
            run.end(process)
            raise
        status = process.wait()
        listener.join()
    text = b"".join(said).decode("utf-8", "replace").strip()
    # mke2fs goes on after a file it could not take, and still exits with 0.
    if status != 0 or "while populating" in text:
        raise _not_made(label, f"{text}\nmke2fs ended with status {status}".strip())
    set_xattrs(device, late, epoch=epoch, offset=offset)


def _drain(stream: IO[bytes] | None) -> bytes:
    if stream is None:
        return b""
    with stream:
        return stream.read()[-8192:]


def _not_made(label: str, why: str) -> CosaError:
    what = f"the file system '{label}' could not be made"
    if run.NO_SPACE in why:
        return run.disk_full(what, why)
    return CosaError("mkfs/failed", what, why=why, exit_class=ExitClass.STEP)


def set_xattrs(image: Path, items: Iterable[LateXattr], *, epoch: int, offset: int) -> None:
    """Set extended attributes on the ext4 at `offset` of a file; values may hold any bytes.

    debugfs reads a value with a NUL in it from a file only, so each value is
    written down once.
    """
    with tempfile.TemporaryDirectory(prefix="cosa-xattr-", dir=image.parent) as folder:
        values: dict[bytes, str] = {}
        commands = []
        for path, name, value in items:
            if value not in values:
                values[value] = os.path.join(folder, str(len(values)))
                Path(values[value]).write_bytes(value)
            commands.append(f'ea_set -f "{values[value]}" {quoted(path)} {name}')
        debugfs(image, commands, epoch=epoch, offset=offset)


def quoted(path: str) -> str:
    """A path of the file system as a word of a debugfs command. Raises `mkfs/name`."""
    if "\n" in path or "\0" in path:
        raise CosaError(
            "mkfs/name", f"the file name {path!r} cannot be put on a disk",
            why="debugfs, which labels it, reads commands line by line", exit_class=ExitClass.STEP,
        )  # fmt: skip
    absolute = "/" if path == "." else "/" + path.lstrip("/")
    doubled = absolute.replace('"', '""')
    return f'"{doubled}"'


def debugfs(
    image: Path, commands: Iterable[str], *, epoch: int, offset: int = 0, check: bool = True
) -> str:
    """Run debugfs commands on the ext4 at `offset` of a file, for writing; what it printed.

    Raises `mkfs/failed` when it complains of anything, unless `check` is false.
    """
    result = run.run(
        ["debugfs", "-w", "-f", "-", _at(image, offset)],
        input="".join(f"{line}\n" for line in commands).encode("utf-8", "surrogateescape"),
        env={"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch)},
    )
    # debugfs exits with 0 whatever happened; complaints go to stderr behind its banner.
    said = [line for line in result.err.splitlines() if line and not line.startswith("debugfs ")]
    if said and check:
        if any(run.NO_SPACE in line for line in said):
            raise run.disk_full(f"{image.name} could not be changed", "\n".join(said))
        raise CosaError(
            "mkfs/failed", f"{image.name} could not be changed", why="\n".join(said),
            exit_class=ExitClass.STEP,
        )  # fmt: skip
    return result.out


def debugfs_cat(image: Path, path: str, *, offset: int = 0) -> str:
    """A text file on the ext4 at `offset` of a file. Raises `mkfs/failed` when it is not there."""
    result = run.run(["debugfs", "-R", f"cat {path}", _at(image, offset)])
    if "File not found" in result.err:
        raise CosaError(
            "mkfs/failed", f"there is no {path} in {image.name}", exit_class=ExitClass.STEP
        )
    return result.out


def _at(image: Path, offset: int) -> str:
    return f"{image}?offset={offset}" if offset else str(image)


def fat(path: Path, *, size: int, label: str, volume_id: str, epoch: int,
        files: Iterable[tuple[str, Path]], sector: int = 512) -> None:  # fmt: skip
    """Make a FAT of `size` bytes in a new file holding `files` (name on it, source).

    Firmware and kernels want its sectors to be as large as the disk's.
    """
    with path.open("wb") as file:
        file.truncate(size)
    run.run(["mkfs.fat", "--invariant", "-S", str(sector), "-i", volume_id, "-n", label, path])
    # MTOOLS_SKIP_CHECK: a FAT this small may be 12, 16 or 32 bits; all are fine to firmware.
    env = {
        "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1",
        "MTOOLSRC": os.devnull,
    }  # fmt: skip
    made: set[PurePosixPath] = set()
    for name, source in files:
        for folder in reversed(PurePosixPath(name).parents):
            if str(folder) != "." and folder not in made:
                made.add(folder)
                run.run(["mmd", "-i", path, f"::{folder}"], env=env)
        run.run(["mcopy", "-i", path, source, f"::{name}"], env=env)
