"""Everything a build is made from, read and checked before any work: the OS definition."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cosa.core import fs
from cosa.core.errors import Problems, Where
from cosa.model import document
from cosa.model.imagespec import ImageSpec, load_image_spec
from cosa.model.lockfile import Lockfile
from cosa.model.treefile import Treefile, load_treefile
from cosa.pipeline import gitstate, locks
from cosa.pipeline.gitstate import GitState
from cosa.pipeline.locks import Locks
from cosa.pipeline.workdir import Workdir
from cosa.tools.repofile import RepoConfig, read_repo_files

# Where a definition's own files for tools stand in the commit, so that a disk image
# can be made from the commit alone.
SHARE = "usr/share/coreos-assembler"


@dataclass(frozen=True)
class Definition:
    """A treefile, its image definition, locks, and what git says about them.

    `variant` is the one chosen at init, if any. `args` are the definition's
    build-args.conf, where newer ones keep VERSION and STREAM.
    """

    arch: str
    config: Path
    tree: Treefile
    image: ImageSpec
    platforms: Path | None
    locks: Locks
    git: GitState | None
    local_rpms: Path | None
    overrides_rootfs: Path | None
    variant: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    yumrepos_git: GitState | None = None

    @property
    def lockfiles(self) -> tuple[Lockfile, ...]:
        """The definition's lockfiles; a later one wins."""
        return self.locks.files

    @property
    def releasever(self) -> str:
        """The release of the distribution the OS is made from."""
        return str(self.tree.releasever or self.args.get("VERSION", ""))

    @property
    def stream(self) -> str:
        """The stream the OS belongs to; empty when the definition names none."""
        return str(self.tree.variables.get("stream") or self.args.get("STREAM", ""))

    @property
    def name(self) -> str:
        """What artefacts are named after; also the stateroot."""
        assert self.tree.name is not None, "load() has seen to it"
        return self.tree.name


def load(workdir: Workdir, arch: str) -> Definition:
    """Read the definition; every problem of every file at once."""
    workdir.need_init()
    manifest, image = workdir.manifest(), workdir.image_spec()
    problems = Problems()
    tree: Treefile | None = None
    spec: ImageSpec | None = None
    locked = Locks()
    args = _build_args(workdir)
    with problems.collecting():
        tree = load_treefile(manifest, arch)
    if tree and not tree.name:
        problems.add(
            "treefile/no-name", "the treefile gives the OS no name", Where(str(manifest)),
            fix="set name and summary below rojig: (or metadata:)",
        )  # fmt: skip
    with problems.collecting():
        stream = tree.variables.get("stream") if tree else None
        stream = args.get("STREAM") if stream is None else stream
        spec = load_image_spec(image, stream=None if stream is None else str(stream))
    with problems.collecting():
        locked = locks.load(workdir.config, arch)
    problems.raise_if_any(f"the OS definition {workdir.config} is not valid")
    assert tree is not None
    assert spec is not None
    platforms = workdir.config / "platforms.yaml"
    return Definition(
        arch=arch,
        config=workdir.config,
        tree=tree,
        image=spec,
        platforms=platforms if platforms.exists() else None,
        locks=locked,
        git=gitstate.of_folder(workdir.config),
        local_rpms=_if_filled(workdir.overrides / "rpm", "**/*.rpm"),
        overrides_rootfs=_if_filled(workdir.overrides / "rootfs", "*"),
        variant=workdir.variant(),
        args=args,
        yumrepos_git=gitstate.of_folder(workdir.yumrepos) if workdir.yumrepos.is_dir() else None,
    )


def overrides_in_use(found: Definition) -> list[str]:
    """The local changes laid over this build, for logs and metadata."""
    active = []
    if found.local_rpms:
        folder = found.local_rpms
        rpms = (path for path in folder.rglob("*.rpm") if not path.name.endswith(".src.rpm"))
        active += sorted(f"rpm/{path.relative_to(folder)}" for path in rpms)
    if found.overrides_rootfs:
        root = found.overrides_rootfs
        files = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
        active += sorted(f"rootfs/{path.relative_to(root)}" for path in files)
    return active


def repositories(workdir: Workdir, found: Definition) -> list[RepoConfig]:
    """All repositories the definition's and the working directory's .repo files define.

    When the treefile asks for the stand-in, that is brought up to date first,
    because its address is the variable `standin` of .repo files.
    """
    folders = [found.config, *([workdir.yumrepos] if workdir.yumrepos.is_dir() else [])]
    variables = {
        "releasever": str(found.tree.releasever or ""),
        "basearch": found.arch,
        **found.tree.repovars,
    }
    wanted = None if found.tree.repos is None else {*found.tree.repos, *found.tree.lockfile_repos}

    def read(variables: dict[str, str]) -> list[RepoConfig]:
        return [repo for folder in folders for repo in read_repo_files(folder, variables)]

    configs = read(variables)
    needed = [r for r in configs if (r.enabled if wanted is None else r.id in wanted)]
    if not any("standin" in repo.undefined for repo in needed):
        return configs
    from cosa.standin.repository import make, names_of

    made = make(names_of(found.tree), shared_cache(), found.arch)
    return read(variables | {"standin": made.url})


def shared_cache() -> Path:
    """$COSA_CACHE, default ~/.cache/cosa: downloads and what else all working directories share."""
    named = os.environ.get("COSA_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache/cosa"


def share_layer(found: Definition, work: Path) -> Path:
    """A folder to lay over the tree: image.json and platforms.json below `SHARE`."""
    folder = work / "usr-share-cosa" / SHARE
    folder.mkdir(parents=True)
    _write_json(folder / "image.json", found.image.to_json())
    if found.platforms:
        _write_json(folder / "platforms.json", document.load(found.platforms).value)
    return work / "usr-share-cosa"


def _build_args(workdir: Workdir) -> dict[str, str]:
    """build-args.conf (of the variant, if it has one): lines of NAME=VALUE, `#` comments."""
    variant = workdir.variant()
    names = [f"build-args-{variant}.conf"] if variant else []
    for name in (*names, "build-args.conf"):
        try:
            lines = (workdir.config / name).read_text().splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            continue
        pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
        return {key.strip(): value.strip().strip("\"'") for key, equals, value in pairs if equals}
    return {}


def _write_json(path: Path, value: object) -> None:
    fs.atomic_write(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def _if_filled(folder: Path, pattern: str) -> Path | None:
    return folder if folder.is_dir() and any(folder.glob(pattern)) else None
