"""Treefiles: what an OS is made of, as rpm-ostree's `compose tree` reads it.

`load_treefile` reads a treefile with everything it includes and returns the
flattened, frozen whole. The keys and how they merge are in `treefile_keys`;
docs/treefile.md describes them for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cosa.model import treefile_json
from cosa.model.treefile_flatten import Flat, flatten
from cosa.model.treefile_keys import (
    CheckGroupIds,
    CheckUsers,
    RepoPackages,
    Rojig,
    Variable,
)

__all__ = ["IdCheck", "RepoPackages", "Rojig", "Treefile", "Variable", "load_treefile"]


@dataclass(frozen=True)
class IdCheck:
    """What user or group ids are compared with. `entries`: name -> (uid, gid) or (gid,)."""

    type: Literal["none", "previous", "file", "data"] = "previous"
    path: Path | None = None
    entries: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Treefile:
    """A flattened treefile. Keys that are not set have rpm-ostree's defaults.

    `files` are all files it was read from or refers to: their content decides
    what a build gives. Paths begin as the path of the top file did.
    """

    path: Path
    files: tuple[Path, ...]
    variables: Mapping[str, Variable]
    basearch: str
    packages: tuple[str, ...]
    repo_packages: tuple[RepoPackages, ...] = ()
    cliwrap: bool = False
    cliwrap_binaries: tuple[str, ...] = ()
    edition: str = "2014"
    ref: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    repovars: Mapping[str, str] = field(default_factory=dict)
    rojig: Rojig | None = None
    repos: tuple[str, ...] | None = None  # None: every enabled one beside the top treefile
    lockfile_repos: tuple[str, ...] = ()
    selinux: bool = True
    ignore_devices: bool = True
    selinux_label_version: int = 0
    ima: bool = False
    gpg_key: str | None = None
    bootstrap_packages: tuple[str, ...] = ()
    ostree_layers: tuple[str, ...] = ()
    ostree_override_layers: tuple[str, ...] = ()
    exclude_packages: tuple[str, ...] = ()
    platform_module: str | None = None
    container: bool = False
    recommends: bool = True
    documentation: bool = True
    install_langs: tuple[str, ...] | None = None  # None: all
    initramfs_args: tuple[str, ...] = ()
    no_initramfs: bool = False
    readonly_executables: bool = False
    boot_location: str = "new"
    tmp_is_dir: bool = False
    opt_usrlocal: str = "var"
    units: tuple[str, ...] = ()
    default_target: str | None = None
    machineid_compat: bool = True
    releasever: int | str | None = None
    automatic_version_prefix: str | None = None
    automatic_version_suffix: str = "."
    mutate_os_release: str | None = None
    etc_group_members: tuple[str, ...] = ()
    preserve_passwd: bool = True
    check_passwd: IdCheck = IdCheck()
    check_groups: IdCheck = IdCheck()
    ignore_removed_users: tuple[str, ...] = ()
    ignore_removed_groups: tuple[str, ...] = ()
    postprocess_script: Path | None = None
    postprocess: tuple[str, ...] = ()
    add_files: tuple[tuple[Path, str], ...] = ()  # source, absolute destination
    remove_files: tuple[str, ...] = ()
    remove_from_packages: tuple[tuple[str, ...], ...] = ()
    add_commit_metadata: Mapping[str, Any] = field(default_factory=dict)
    repo_metadata: str = "inline"
    advisories_metadata: str = "inline"
    rpmdb: str = "target"
    rpmdb_normalize: bool = False
    sysusers: str | None = None
    container_cmd: tuple[str, ...] | None = None
    finalize_d: tuple[Path, ...] = ()  # in the order they run
    _printed: str = field(default="", repr=False)

    @property
    def directory(self) -> Path:
        """The folder of the top treefile: .repo files and lockfiles stand there."""
        return self.path.parent

    @property
    def name(self) -> str | None:
        """The OS's name: rojig's, or `name` in metadata, where newer treefiles have it."""
        return self.rojig.name if self.rojig else self._metadata_text("name")

    @property
    def summary(self) -> str | None:
        """The OS in a few words, from rojig or metadata."""
        return self.rojig.summary if self.rojig else self._metadata_text("summary")

    def _metadata_text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def to_flat_json(self) -> str:
        """What `rpm-ostree compose tree --print-only` prints, to the byte."""
        return self._printed


def load_treefile(path: Path, basearch: str) -> Treefile:
    """Read a treefile and what it includes, flattened for one architecture.

    Raises one `CosaError` (codes `treefile/...` and `document/...`) whose
    problems are everything that is wrong in any of the files.
    """
    flat = flatten(path, basearch)
    values: dict[str, Any] = dict(flat.layer.values)
    layer = flat.layer
    for name in ("check_passwd", "check_groups"):
        if name in values:
            values[name] = _id_check(values[name], layer.checks.get(name))
    if "add_files" in values:
        values["add_files"] = tuple(
            (layer.add_files[source], f"/{dest.lstrip('/')}")
            for source, dest in values["add_files"]
        )
    if "postprocess_script" in values:
        values["postprocess_script"] = layer.postprocess_script
    return Treefile(
        path=path,
        files=_files(flat),
        variables=flat.variables,
        finalize_d=tuple(path for _, path in sorted(layer.finalize_d.items())),
        _printed=treefile_json.to_text(layer.values, layer.extra),
        **values,
    )


def _id_check(check: Any, path: Path | None) -> IdCheck:
    entries: dict[str, tuple[int, ...]] = {}
    if isinstance(check, CheckGroupIds):
        entries = {name: (gid,) for name, gid in check.entries.items()}
    elif isinstance(check, CheckUsers):
        for name, ids in check.entries.items():
            both = (ids,) if isinstance(ids, int) else ids
            entries[name] = (both[0], both[-1])
    return IdCheck(check.type, path, entries)


def _files(flat: Flat) -> tuple[Path, ...]:
    layer = flat.layer
    named = [layer.postprocess_script, *layer.checks.values(), *layer.add_files.values()]
    named += layer.finalize_d.values()
    return tuple(dict.fromkeys([*flat.files, *(path for path in named if path)]))
