"""A definition, and steps that take milliseconds, for tests of the flow itself.

The steps stand for programs and libraries; the flow, the working directory,
locks, records and publishing are the real ones.
"""

import hashlib
import json
from pathlib import Path

from cosa.compose.native import Commit
from cosa.compose.resolve import Resolution
from cosa.container.archive import Archive
from cosa.core import events, fs
from cosa.images.produce import Image
from cosa.model import commitmeta
from cosa.model.package import Package
from cosa.pipeline import artefacts, build, commits, definition, make, metadata
from cosa.pipeline.initialise import Source, init
from cosa.pipeline.workdir import Workdir

MANIFEST = """\
ref: test/${basearch}/stable
releasever: "1"
# With a date, though an empty one: the first build is 1.dev.0, not 1.dev.
automatic-version-prefix: "${releasever}.dev<date:>"
rojig: {name: testos, summary: For tests, license: MIT}
repos: []
packages: [bash]
"""


def make_workdir(root: Path) -> Workdir:
    config = root / "config"
    config.mkdir(parents=True)
    (config / "manifest.yaml").write_text(MANIFEST)
    (config / "image.yaml").write_text("size: 10\nextra-kargs: []\n")
    workdir = Workdir(root / "w")
    init(workdir, Source(str(config)))
    return workdir


class Steps:
    """The quick steps; `calls` says which ran, `packages` and `tool` are what inputs there are."""

    def __init__(self):
        self.calls = []
        self.tool = "1"
        self.packages = [self.package("bash")]

    @staticmethod
    def package(name, version="5"):
        digest = "sha256:" + hashlib.sha256(f"{name}{version}".encode()).hexdigest()
        return Package(
            name=name, epoch="0", version=version, release="1", arch="noarch", repo="r",
            location=f"{name}.rpm", digest=digest, size=1000, sourcerpm=name,
        )  # fmt: skip

    def resolve(self, *_args, **_kwargs):
        return Resolution(tuple(self.packages), (("r", 0),))

    def fetch(self, packages, _repos, _cache):
        self.calls.append("fetch")
        return {package.nevra: Path("/none") for package in packages}

    def compose(self, job):
        self.calls.append("compose")
        with events.step("assemble"):
            text = repr((job.version, job.packages, sorted(job.metadata)))
        checksum = hashlib.sha256(text.encode()).hexdigest()
        job.target_repo.mkdir(exist_ok=True)
        (job.target_repo / checksum).write_text(text)
        rows = commitmeta.pkglist(job.packages)
        (job.target_repo / f"{checksum}.packages").write_text(json.dumps(rows))
        return Commit(checksum, job.tree.ref, job.version, job.epoch, "c" * 64, {}, "6.1")

    def has_commit(self, repo, commit):
        return (repo / commit).exists()

    def commit_metadata(self, repo, commit):
        rows = json.loads((repo / f"{commit}.packages").read_text())
        return {"version": commit[:8], commitmeta.PKGLIST: rows}

    def commit_variant(self, repo, commit):
        return (repo / commit).read_bytes()

    def archive(self, _repo, commit, out, **_kwargs):
        self.calls.append("archive")
        out.write_text(f"archive {commit}")
        return Archive("d", "d", f"manifest {commit}", ())

    def make_raw(self, _repo, commit, _spec, out, **_kwargs):
        self.calls.append("disk")
        out.write_text(f"disk {commit} {self.tool}")

    def produce(self, raw, order, _scratch):
        made = {}
        for row in order.platforms:
            out = order.out(row)
            self.calls.append(f"convert {out.suffix}")
            out.write_text(f"{raw.read_text()} {row.name}")
            out.chmod(0o444)
            made[row.name] = Image(out, fs.sha256_file(out), out.stat().st_size)
        return made

    def inputs(self, found, resolution, _layers):
        spec = (found.config / "image.yaml").read_text()
        return {
            "compose": {f"package {p.name}": p.evra for p in resolution.packages} | {"spec": spec},
            "container": {"cosa": "1"},
            "image": {"tool": self.tool},
        }

    def install(self, set_attribute):
        """Put the steps into the flow; `set_attribute(module, name, value)` as monkeypatch has it."""
        set_attribute(build, "resolve", self.resolve)
        set_attribute(make, "fetch", self.fetch)
        set_attribute(make, "compose", self.compose)
        set_attribute(build, "inputs_of", self.inputs)
        set_attribute(definition, "repositories", lambda *_: [])
        set_attribute(artefacts, "write_ociarchive", self.archive)
        set_attribute(artefacts, "make_raw", self.make_raw)
        set_attribute(artefacts, "produce", self.produce)
        set_attribute(commits, "ostree", self)
        set_attribute(metadata, "ostree", self)
        return self
