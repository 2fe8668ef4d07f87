"""Builds with small files in them, for tests of commands on the build directory."""

import hashlib
import json
from pathlib import Path

from cosa.pipeline.initialise import Source, init
from cosa.pipeline.workdir import Workdir, basearch

ARCH = basearch()


def definition(path: Path, *names: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in names or ("manifest.yaml", "image.yaml"):
        (path / name).write_text("{}\n")
    return path


def make_workdir(root: Path) -> Workdir:
    made = Workdir(root / "w")
    init(made, Source(str(definition(root / "config"))))
    return made


def add_build(workdir: Workdir, name: str, arch: str = ARCH, **extra) -> Path:
    """A build whose metadata lists two artefacts that are not there."""
    folder = workdir.builds / name / arch
    folder.mkdir(parents=True)
    data = {
        "buildid": name, "name": "standin", "ostree-commit": "a" * 64,
        "ostree-timestamp": "2026-11-22T12:00:00Z", "ostree-version": name,
        "images": {
            "qemu": {"path": "disk.qcow2", "sha256": "b" * 64},
            "ostree": {"path": "os.ociarchive", "sha256": "c" * 64},
        },
        "coreos-assembler.basearch": arch,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(data | extra))
    workdir.read_builds().with_build(name, arch).write(workdir.builds_json)
    return folder


def image(folder: Path, name: str, content: bytes) -> dict:
    """Write a file into a build's folder; its entry in the metadata."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"path": name, "sha256": digest, "size": len(content)}
