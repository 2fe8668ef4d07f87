"""The files that describe a build: meta.json, commitmeta.json, lockfile, commit object, config."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cosa
from cosa.compose.native import Commit
from cosa.compose.resolve import Resolution
from cosa.core import clock, events, fs
from cosa.core.errors import CosaError
from cosa.core.store import Json
from cosa.model import commitmeta
from cosa.model.commitmeta import CommitMeta
from cosa.model.meta import DELAYED, Meta
from cosa.model.platforms import PLATFORMS
from cosa.pipeline import gitstate, metamerge, pkgdiff
from cosa.pipeline.definition import Definition
from cosa.pipeline.record import Inputs, Made, Record, digest
from cosa.tools import ostree

_CONFIG_TAR = "coreos-assembler-config.tar.gz"
_CONFIG_GIT = "coreos-assembler-config-git.json"


@dataclass(frozen=True)
class Facts:
    """All that is known of a finished build.

    `previous` and `parent` are the folders of the build before and of the one it is compared
    with by `--parent-build`. `delayed`: artefacts added later are merged only when finalized.
    `archive`: the definition is kept with the build.
    """

    definition: Definition
    commit: Commit
    build: str
    generation: int
    artefacts: Mapping[str, Made]
    resolution: Resolution
    inputs: Inputs
    overrides: tuple[str, ...]
    previous: Path | None = None
    parent: Path | None = None
    delayed: bool = False
    archive: bool = True


def commit_metadata(found: Definition, resolution: Resolution) -> dict[str, Json]:
    """What the tool adds to the commit's own metadata."""
    data: dict[str, Json] = {"coreos-assembler.basearch": found.arch}
    if found.git:
        data["coreos-assembler.config-gitrev"] = found.git.commit
        data["coreos-assembler.config-dirty"] = "true" if found.git.dirty else "false"
    if found.stream:
        data["fedora-coreos.stream"] = found.stream
    if found.tree.repo_metadata == "inline":
        data["rpmostree.rpmmd-repos"] = [
            {"id": name, "timestamp": seconds} for name, seconds in resolution.rpmmd_repos
        ]
    return data


def write(facts: Facts, folder: Path, repo: Path) -> None:
    """Write every describing file into a build's folder; meta.json last."""
    commit, found = facts.commit, facts.definition
    metadata = ostree.commit_metadata(repo, commit.checksum)
    commitmeta.write(folder / "commitmeta.json", metadata)
    lock = folder / f"manifest-lock.generated.{found.arch}.json"
    facts.resolution.lockfile().write(lock)
    raw = folder / "ostree-commit-object"
    raw.write_bytes(ostree.commit_variant(repo, commit.checksum))
    raw.chmod(0o444)
    if facts.archive:
        _write_config(found, folder)
    steps = {name: made.step for name, made in facts.artefacts.items()}
    compared = facts.previous.parent.name if facts.previous else ""
    Record(facts.inputs, steps, compared).write(folder)
    data = build_meta(facts) | differences(facts, CommitMeta.model_validate(metadata))
    metamerge.check(data, {}, str(folder / "meta.json"))
    Meta.of(data).write(folder / "meta.json")


def differences(facts: Facts, content: CommitMeta) -> dict[str, Json]:
    """What is new in packages and advisories against the build before and the parent build."""
    data: dict[str, Json] = {}
    if facts.parent:
        parent = Meta.read(facts.parent / "meta.json")
        data["fedora-coreos.parent-version"] = parent.buildid
        data["fedora-coreos.parent-commit"] = parent.ostree_commit
    sides = (("", facts.previous or facts.parent), ("parent-", facts.parent))
    for prefix, folder in sides:
        old = _content(folder, needed=folder == facts.parent)
        if folder is None or old is None:
            continue
        packages = pkgdiff.packages(old.packages, content.rpms)
        data[f"{prefix}pkgdiff"] = packages
        fresh = pkgdiff.advisories(old.advisories, content.advisories)
        if fresh is not None:
            data[f"{prefix}advisories-diff"] = fresh
        changes = pkgdiff.words(packages) or "the same packages"
        events.note(f"against {folder.parent.name}: {changes}")
    return data


def _content(folder: Path | None, *, needed: bool) -> pkgdiff.Content | None:
    """What another build holds; a damaged one is no reason to fail unless it was asked for."""
    if folder is None:
        return None
    try:
        return pkgdiff.content_of(folder)
    except CosaError as err:
        if needed:
            raise
        events.warn(f"no comparison with build {folder.parent.name}: {err}")
        return None


def build_meta(facts: Facts) -> dict[str, Json]:
    """The content of meta.json, but for comparisons."""
    commit, found = facts.commit, facts.definition
    config_sum = digest("image-config", facts.inputs["image"])
    data: dict[str, Json] = {
        "buildid": facts.build,
        "name": found.name,
        "summary": found.tree.summary,
        "ref": commit.ref,
        "ostree-commit": commit.checksum,
        "ostree-content-checksum": commit.content_checksum,
        "ostree-timestamp": clock.iso(commit.timestamp),
        "ostree-version": commit.version,
        "rpm-ostree-inputhash": digest("compose", facts.inputs["compose"]),
        **{f"ostree-{key.removeprefix('ostree-')}": n for key, n in sorted(commit.stats.items())},
        "images": {name: image_entry(name, made) for name, made in facts.artefacts.items()},
        "coreos-assembler.basearch": found.arch,
        "coreos-assembler.build-timestamp": clock.iso(clock.now()),
        "coreos-assembler.code-source": "container",
        "coreos-assembler.image-config-checksum": config_sum,
        "coreos-assembler.image-input-checksum": digest(
            "image-input", {"commit": commit.checksum, "config": config_sum}
        ),
        "coreos-assembler.image-genver": facts.generation,
        "coreos-assembler.overrides-active": bool(facts.overrides),
    }
    data |= _sources(facts)
    return {key: value for key, value in data.items() if value not in (None, "")}


def _sources(facts: Facts) -> dict[str, Json]:
    """Where the build's definition, repositories and tool come from."""
    found = facts.definition
    data: dict[str, Json] = {}
    if facts.delayed:
        data[DELAYED] = True
    if facts.overrides:
        data["coreos-assembler.overrides"] = list(facts.overrides)
    if found.variant:
        data["coreos-assembler.config-variant"] = found.variant
    if found.yumrepos_git:
        data["coreos-assembler.yumrepos-git"] = found.yumrepos_git.to_json()
    own = gitstate.of_folder(Path(cosa.__file__).parents[1])
    if own:
        data["coreos-assembler.container-image-git"] = own.to_json()
    if found.git:
        data["coreos-assembler.config-gitrev"] = found.git.commit
        data["coreos-assembler.config-dirty"] = "true" if found.git.dirty else "false"
        data["coreos-assembler.container-config-git"] = found.git.to_json()
    return data


def image_entry(name: str, made: Made) -> dict[str, Json]:
    """An artefact as meta.json lists it; one that is compressed already says so."""
    entry: dict[str, Json] = {"path": made.path, "sha256": made.sha256, "size": made.size}
    row = PLATFORMS.get(name)
    return entry | ({"skip-compression": True} if row and row.skip_compression else {})


def add_images(folder: Path, made: Mapping[str, Made]) -> None:
    """List further artefacts in the metadata of a build that is published already."""
    for name, each in made.items():
        entry = {name: image_entry(name, each)}

        def edit(data: dict[str, Any], entry: dict[str, Any] = entry) -> None:
            data["images"] = data.get("images", {}) | entry

        metamerge.change(folder, edit, name)


def _write_config(found: Definition, folder: Path) -> None:
    """The definition as it was, without version control, and what git said of it."""
    target = folder / _CONFIG_TAR
    with (
        target.open("wb") as file,
        # No name and no time in the gzip header: same in, same out.
        gzip.GzipFile("", "wb", 6, file, 0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in _config_files(found.config.resolve()):
            _add(tar, path, found.config.resolve())
    target.chmod(0o444)
    git = found.git.to_json() if found.git else {}
    about: dict[str, Json] = {
        "date": clock.iso(clock.now()),
        "git": git,
        "file": {
            "checksum": fs.sha256_file(target),
            "checksum_type": "sha256",
            "format": "tar.gz",
            "name": _CONFIG_TAR,
            "size": str(target.stat().st_size),
        },
    }
    fs.atomic_write(folder / _CONFIG_GIT, json.dumps(about, indent=4) + "\n", 0o444)


def _config_files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if ".git" not in path.relative_to(root).parts:
            yield path


def _add(tar: tarfile.TarFile, path: Path, root: Path) -> None:
    info = tar.gettarinfo(path, str(path.relative_to(root)))
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = "root"
    if info.isreg():
        tar.addfile(info, io.BytesIO(path.read_bytes()))
    else:
        tar.addfile(info)
