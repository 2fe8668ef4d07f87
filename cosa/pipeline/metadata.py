"""The files that describe a build: meta.json, commitmeta.json, lockfile, commit object, config."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosa.compose.native import Commit
from cosa.compose.resolve import Resolution
from cosa.core import clock, fs, store
from cosa.core.store import Json
from cosa.model import commitmeta
from cosa.model.meta import Meta
from cosa.pipeline.definition import Definition
from cosa.pipeline.record import Inputs, Made, Record, digest
from cosa.tools import ostree

_CONFIG_TAR = "coreos-assembler-config.tar.gz"
_CONFIG_GIT = "coreos-assembler-config-git.json"


@dataclass(frozen=True)
class Facts:
    """All that is known of a finished build."""

    definition: Definition
    commit: Commit
    build: str
    generation: int
    artefacts: Mapping[str, Made]
    resolution: Resolution
    inputs: Inputs
    overrides: tuple[str, ...]


def commit_metadata(found: Definition, resolution: Resolution) -> dict[str, Json]:
    """What the tool adds to the commit's own metadata."""
    data: dict[str, Json] = {"coreos-assembler.basearch": found.arch}
    if found.git:
        data["coreos-assembler.config-gitrev"] = found.git.commit
        data["coreos-assembler.config-dirty"] = "true" if found.git.dirty else "false"
    stream = found.tree.variables.get("stream")
    if stream:
        data["fedora-coreos.stream"] = str(stream)
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
    _write_config(found, folder)
    Record(facts.inputs, {name: made.step for name, made in facts.artefacts.items()}).write(folder)
    Meta.of(build_meta(facts)).write(folder / "meta.json")


def build_meta(facts: Facts) -> dict[str, Json]:
    """The content of meta.json."""
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
        "images": {name: image_entry(made) for name, made in facts.artefacts.items()},
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
    if facts.overrides:
        data["coreos-assembler.overrides"] = list(facts.overrides)
    if found.git:
        data["coreos-assembler.config-gitrev"] = found.git.commit
        data["coreos-assembler.config-dirty"] = "true" if found.git.dirty else "false"
        data["coreos-assembler.container-config-git"] = found.git.to_json()
    return data


def image_entry(made: Made) -> dict[str, Json]:
    """An artefact as meta.json lists it."""
    return {"path": made.path, "sha256": made.sha256, "size": made.size}


def add_images(folder: Path, made: Mapping[str, Made]) -> None:
    """List further artefacts in the meta.json of a build that is published already."""
    path = folder / "meta.json"
    with store.lock(folder / ".meta.json.lock", "a change of meta.json", wait=True):
        fs.sweep_files(folder)
        data = Meta.read(path).to_json()
        images = data["images"] | {name: image_entry(each) for name, each in made.items()}
        Meta.of(data | {"images": images}).write(path)


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
