"""The finished tree as a commit: labels from its own policy, objects hashed only if new.

A file that still is a cached object (same inode) has a known unlabelled
checksum; with its label that leads, through a table kept between builds, to the
labelled object's checksum, and if the target repository has that, the file is
not read at all. The rest is hashed and copied by the worker processes.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosa.compose.inputs import compose_inputs, input_digest
from cosa.compose.job import ComposeJob
from cosa.compose.tree import Tree
from cosa.compose.workers import Pool
from cosa.core import events, fs
from cosa.core.errors import CosaError, Problems
from cosa.tools import ostree, selinux

_BATCH_FILES = 200
_BATCH_BYTES = 24 << 20
_TABLE_LIMIT = 200_000


@dataclass
class Stats:
    """How a commit went, in the words of rpm-ostree's composejson."""

    content_total: int = 0
    content_written: int = 0
    bytes_written: int = 0
    cache_hits: int = 0
    metadata_total: int = 0
    metadata_written: int = 0

    def to_json(self) -> dict[str, int]:
        """Keys as meta.json has them."""
        return {
            "ostree-n-metadata-total": self.metadata_total,
            "ostree-n-metadata-written": self.metadata_written,
            "ostree-n-content-total": self.content_total,
            "ostree-n-content-written": self.content_written,
            "ostree-n-cache-hits": self.cache_hits,
            "ostree-content-bytes-written": self.bytes_written,
        }


class Table:
    """(unlabelled object, label) to labelled object, kept in the cache between builds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._old: dict[str, str] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            self._old = {}
        self._used: dict[str, str] = {}

    def find(self, csum: str, label: str) -> str | None:
        """The labelled object's checksum, if it was ever made."""
        key = f"{csum} {label}"
        found = self._old.get(key)
        if found:
            self._used[key] = found
        return found

    def add(self, csum: str, label: str, labelled: str) -> None:
        """Note a new one."""
        self._used[f"{csum} {label}"] = labelled

    def save(self) -> None:
        """Write the table back; what has not been used for long falls out."""
        merged = {**self._old, **self._used} if len(self._old) < _TABLE_LIMIT else self._used
        if merged != self._old:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fs.atomic_write(self._path, json.dumps(merged))


@dataclass
class _File:
    """A regular file on its way into the commit."""

    path: str
    info: os.stat_result
    xattrs: ostree.Xattrs
    label: str
    csum: str = ""


@dataclass
class Writer:
    """Writes one tree into `repo`; use inside a transaction."""

    tree: Tree
    repo: ostree.Repo
    pool: Pool
    table: Table
    labels: selinux.Labels | None
    stats: Stats = field(default_factory=Stats)

    def write(self, step: events.Step) -> ostree.TreeNode:
        """Write every object of the tree; its root.

        Raises `commit/special-file` for what a commit cannot hold, and
        `commit/unlabelled` for paths the policy says nothing about.
        """
        self._objects = ostree.ObjectWriter(self.repo.path)
        self._problems = Problems()
        self._files: list[_File] = []
        self._nodes: dict[str, ostree.TreeNode] = {"": ostree.TreeNode()}
        info = self.tree.root.lstat()
        self._nodes[""].describe(self.repo, self._meta("", info, str(self.tree.root)))
        for rel, entry in self.tree.walk():
            self._visit(rel, entry)
        self._problems.raise_if_any("the tree cannot be committed")
        self._write_files(step)
        for file in self._files:
            above, _, name = file.path.rpartition("/")
            self._nodes[above].file(name, file.csum)
        self._objects.close()
        self.table.save()
        return self._nodes[""]

    def _meta(self, rel: str, info: os.stat_result, place: str, target: str = "") -> ostree.Meta:
        xattrs, _ = self._xattrs(rel, info, place)
        return ostree.Meta(info.st_mode, info.st_uid, info.st_gid, target, xattrs)

    def _xattrs(self, rel: str, info: os.stat_result, place: str) -> tuple[ostree.Xattrs, str]:
        xattrs = ostree.inode_xattrs(place)
        if self.labels is None:
            return xattrs, ""
        label = self.labels.of(rel, info.st_mode)
        if label is None:
            self._problems.add(
                "commit/unlabelled",
                f"the tree's SELinux policy has no label for /{rel}",
                fix="add it to the policy, or set `selinux: false`",
            )
            return xattrs, ""
        pair = (b"security.selinux", label.encode() + b"\0")
        return tuple(sorted((*xattrs, pair))), label

    def _visit(self, rel: str, entry: os.DirEntry[str]) -> None:
        info = entry.stat(follow_symlinks=False)
        above, _, name = rel.rpartition("/")
        if stat.S_ISDIR(info.st_mode):
            node = self._nodes[above].folder(name)
            node.describe(self.repo, self._meta(rel, info, entry.path))
            self._nodes[rel] = node
        elif stat.S_ISLNK(info.st_mode):
            meta = self._meta(rel, info, entry.path, os.readlink(entry.path))
            self._nodes[above].file(name, self._objects.write(meta))
            self.stats.content_total += 1
        elif stat.S_ISREG(info.st_mode):
            xattrs, label = self._xattrs(rel, info, entry.path)
            self._files.append(_File(rel, info, xattrs, label))
            self.stats.content_total += 1
        else:
            self._problems.add(
                "commit/special-file",
                f"/{rel} is a device, socket or pipe, which a commit cannot hold",
                fix="find the script that makes it, or list it in remove-files",
            )

    def _write_files(self, step: events.Step) -> None:
        todo = []
        for file in self._files:
            known = self.tree.objects.get(file.info.st_ino)
            found = self.table.find(known, file.label) if known else None
            if found and self._objects.has(found):
                file.csum = found
                self.stats.cache_hits += 1
            else:
                todo.append(file)
        todo.sort(key=lambda file: -file.info.st_size)
        batches = list(_batches(todo))
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done = count
            step.progress(done, len(batches), "batches")

        results = self.pool.each(
            "tasks:write_objects",
            [{"repo": str(self.repo.path), "files": [self._row(f) for f in b]} for b in batches],
            tell,
        )
        for batch, result in zip(batches, results, strict=True):
            self.stats.content_written += result["new"]
            self.stats.bytes_written += result["bytes"]
            for file, csum in zip(batch, result["sums"], strict=True):
                file.csum = csum
                known = self.tree.objects.get(file.info.st_ino)
                if known:
                    self.table.add(known, file.label, csum)

    def _row(self, file: _File) -> list[Any]:
        xattrs = [[name.hex(), value.hex()] for name, value in file.xattrs]
        info = file.info
        return [str(self.tree.path(file.path)), info.st_mode, info.st_uid, info.st_gid, xattrs]


def _batches(files: Sequence[_File]) -> list[list[_File]]:
    """Portions of similar size, the largest files first."""
    batches: list[list[_File]] = []
    size = _BATCH_BYTES
    for file in files:
        if size >= _BATCH_BYTES or len(batches[-1]) >= _BATCH_FILES:
            batches.append([])
            size = 0
        batches[-1].append(file)
        size += file.info.st_size
    return batches


def metadata(job: ComposeJob, kernel: str) -> Any:
    """The commit's metadata; rpm-ostree's keys, then the treefile's, then the job's."""
    tree = job.tree
    values = {**tree.add_commit_metadata, **job.metadata}
    repos = values.pop("rpmostree.rpmmd-repos", None)
    found = {key: to_variant(value) for key, value in values.items()}
    known = compose_inputs(
        tree, job.packages, job.config, overrides_rootfs=job.overrides_rootfs,
        extra_layers=job.extra_layers,
    )  # fmt: skip
    found["version"] = ostree.variant("s", job.version)
    found["rpmostree.inputhash"] = ostree.variant("s", input_digest(known))
    rows = sorted((p.name, p.epoch or "0", p.version, p.release, p.arch) for p in job.packages)
    found["rpmostree.rpmdb.pkglist"] = ostree.variant("a(sssss)", rows)
    if isinstance(repos, list) and tree.repo_metadata == "inline":
        found["rpmostree.rpmmd-repos"] = ostree.variant("aa{sv}", [_repo(row) for row in repos])
    if tree.initramfs_args:
        found["rpmostree.initramfs-args"] = ostree.variant("as", list(tree.initramfs_args))
    if tree.container_cmd:
        found["ostree.container-cmd"] = ostree.variant("as", list(tree.container_cmd))
    if kernel:
        found["ostree.linux"] = ostree.variant("s", kernel)
        found["ostree.bootable"] = ostree.variant("b", value=True)
    return ostree.variant("a{sv}", found)


def _repo(row: Any) -> dict[str, Any]:
    """One of rpmostree.rpmmd-repos; its timestamp is big-endian there, too."""
    stamp = int(row["timestamp"])
    return {"id": ostree.variant("s", str(row["id"])), "timestamp": to_variant(stamp)}


def to_variant(value: Any) -> Any:
    """A JSON value as rpm-ostree puts it into commit metadata: numbers big-endian."""
    if isinstance(value, bool):
        return ostree.variant("b", value)
    if isinstance(value, str):
        return ostree.variant("s", value)
    if isinstance(value, int):
        signature = "t" if value >= 0 else "x"
        swapped = int.from_bytes(
            value.to_bytes(8, "big", signed=value < 0), "little", signed=value < 0
        )
        return ostree.variant(signature, swapped)
    if isinstance(value, float):
        return ostree.variant("d", value)
    if isinstance(value, list | tuple):
        return ostree.variant("av", [to_variant(item) for item in value])
    if isinstance(value, Mapping):
        return ostree.variant("a{sv}", {str(k): to_variant(v) for k, v in value.items()})
    raise CosaError(
        "commit/metadata", f"commit metadata cannot hold {value!r}", fix="use text instead of null"
    )
