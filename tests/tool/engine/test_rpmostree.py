"""The rpm-ostree engine against a program that keeps rpm-ostree's side of the contract.

rpm-ostree itself is in no Debian: what these tests cannot show is in docs/engines.md.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rpmforge import EPOCH, Rpm, forge_all

from cosa.compose import engine, rpmostree
from cosa.compose.job import ComposeJob
from cosa.compose.resolve import Resolution, resolve
from cosa.core.errors import CosaError
from cosa.model.lockfile import load_lockfile
from cosa.model.treefile import load_treefile
from cosa.tools import ostree
from cosa.tools.repofile import read_repo_files

TREEFILE = """\
ref: test/stable
releasever: "42"
repos: [one]
lockfile-repos: [pool]
repo-packages: [{repo: one, packages: [bash]}]
packages: [bash, kernel]
ostree-layers: [overlay/05core]
ostree-override-layers: [overlay/99last]
automatic-version-prefix: "42"
postprocess-script: ./last
"""
STAMPS = {"one": 1_600_000_000, "pool": 1_500_000_000, "overrides": 1_690_000_000}


class World:
    """A definition with two repositories, and the job made of it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.config = top / "config"
        self.bin = top / "bin"
        self.rpms: dict[str, Path] = {}
        for folder in (self.config / "overlay.d/05core/etc", self.bin):
            folder.mkdir(parents=True)
        (self.config / "overlay.d/99last/usr/lib").mkdir(parents=True)
        (self.config / "overlay.d/05core/etc/core").write_text("core\n")
        (self.config / "overlay.d/99last/usr/lib/last").write_text("last\n")
        (self.config / "last").write_text("#!/bin/sh\n")
        (self.config / "last").chmod(0o755)
        (self.config / "manifest.yaml").write_text(TREEFILE)
        self.repo("one", [
            Rpm("bash", "5-1", requires=("libc >= 2.40",)), Rpm("bash", "6-1"), Rpm("libc", "2.41-3"),
            Rpm("kernel", "6.11.4-301", provides=("kernel-core = 6.11.4-301",)),
        ])  # fmt: skip
        self.repo("pool", [Rpm("libc", "2.40-1")])
        program = Path(__file__).with_name("rpmostree_program.py")
        script = self.bin / "rpm-ostree"
        script.write_text(
            f"#!/bin/sh\nFAKE_DIR={self.bin} PYTHONPATH={':'.join(filter(None, sys.path))}"
            f' exec {sys.executable} {program} "$@"\n'
        )
        script.chmod(0o755)
        self.tell()

    def repo(self, name: str, rpms: list[Rpm]) -> None:
        import subprocess

        folder = self.top / name
        for path in forge_all(folder, rpms):
            self.rpms[path.name] = path
        subprocess.run(
            ["createrepo_c", "-q", "--no-database", f"--revision={STAMPS[name]}",
             "--set-timestamp-to-revision", folder], check=True,
        )  # fmt: skip
        with (self.config / "test.repo").open("a") as file:
            file.write(f"[{name}]\nbaseurl={folder.as_uri()}\n")

    def tell(self, **told: object) -> None:
        (self.bin / "told.json").write_text(json.dumps(told))

    @property
    def called(self) -> dict:
        return json.loads((self.bin / "called.json").read_text())

    def lock(self, name: str, text: str) -> Path:
        (self.config / name).write_text(text)
        return self.config / name

    def job(self, *locks: Path, local: Path | None = None, **changes: object) -> ComposeJob:
        tree = load_treefile(self.config / "manifest.yaml", os.uname().machine)
        found: Resolution = resolve(
            tree, read_repo_files(self.config, {}), cache=self.top / "cache",
            lockfiles=[load_lockfile(path) for path in locks], local_rpms=local,
        )  # fmt: skip
        by_nevra = {
            p.nevra: next(
                path for path in [*self.rpms.values(), *(local.glob("*.rpm") if local else ())]
                if path.name == f"{p.name}-{p.version}-{p.release}.{p.arch}.rpm"
                and (p.repo == "overrides") == bool(local and path.parent == local)
            )
            for p in found.packages
        }  # fmt: skip
        job = ComposeJob(
            tree=tree, packages=found.packages, rpms=by_nevra, config=self.config,
            overrides_rootfs=None, extra_layers={}, cache=self.top / "cache",
            scratch=self.top / "scratch", target_repo=self.top / "repo", version="42.1",
            epoch=EPOCH, engine="rpm-ostree",
            metadata={
                "coreos-assembler.basearch": tree.basearch,
                "rpmostree.rpmmd-repos": [
                    {"id": name, "timestamp": stamp} for name, stamp in found.rpmmd_repos
                ],
            },
        )  # fmt: skip
        return replace(job, **changes)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    return made


def options(argv: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) if "=" in word else (word, "") for word in argv[2:-1])


def test_command_line_and_what_comes_back(world: World):
    job = world.job()
    commit = engine.compose(job)
    called = world.called
    assert called["argv"][:3] == ["compose", "tree", "--unified-core"]
    given = options(called["argv"])
    assert set(given) == {
        "--unified-core", "--repo", "--cachedir", "--touch-if-changed", "--write-composejson-to",
        "--ex-write-lockfile-to", "--ex-lockfile", "--ex-lockfile-strict", "--add-metadata-from-json",
        "--add-metadata-string", "--no-parent",
    }  # fmt: skip
    assert given["--add-metadata-string"] == "version=42.1"
    assert given["--cachedir"] == str(world.top / "cache/rpm-ostree")
    assert called["epoch"] == str(EPOCH)
    assert called["umask"] == "22"
    assert called["metadata"] == [{"coreos-assembler.basearch": job.tree.basearch}]
    # The same packages, from repositories of the same name and time.
    assert called["packages"] == [p.nevra for p in job.packages]
    assert called["rpmmd"] == [["one", STAMPS["one"]], ["pool", EPOCH]]
    assert called["treefile"] == {"include": str(world.config / "manifest.yaml")}
    assert called["flat"]["ostree-layers"] == ["overlay/05core"]
    # What comes back, and where it is.
    target = ostree.Repo(job.target_repo)
    assert target.resolve("test/stable") == commit.checksum
    assert target.read_text(commit.checksum, "/usr/etc/core") == "core\n"
    assert target.read_text(commit.checksum, "/usr/lib/last") == "last\n"
    assert (commit.version, commit.timestamp, commit.ref) == ("42.1", EPOCH, "test/stable")
    assert commit.kernel == "6.11.4-301.fc41.x86_64"
    assert commit.content_checksum == target.content_checksum(commit.checksum)
    assert commit.stats == {
        "ostree-n-metadata-total": 10313, "ostree-n-metadata-written": 3746,
        "ostree-n-content-total": 30395, "ostree-n-content-written": 25915,
        "ostree-n-cache-hits": 7, "ostree-content-bytes-written": 1797710538,
    }  # fmt: skip
    assert list(job.scratch.iterdir()) == []


def test_locks_overrides_and_layers(world: World, tmp_path: Path):
    lock = world.lock("lock.yaml", "packages: {bash: {evr: 5-1}, libc: {evra: 2.40-1.noarch}}\n")
    local = tmp_path / "rpm"
    forge_all(local, [Rpm("bash", "7-1", requires=("libc",))])
    rootfs = tmp_path / "rootfs"
    (rootfs / "usr/bin").mkdir(parents=True)
    (rootfs / "usr/bin/tool").write_text("#!/bin/sh\n")
    (rootfs / "usr/bin/tool").chmod(0o755)
    extra = tmp_path / "extra/usr/share/coreos-assembler"
    extra.mkdir(parents=True)
    (extra / "image.json").write_text("{}")
    job = world.job(
        lock,
        local=local,
        overrides_rootfs=rootfs,
        extra_layers={"usr-share-cosa": extra.parents[2]},
    )
    commit = engine.compose(job)
    called = world.called
    assert called["packages"] == [
        "bash-7-1.noarch",
        "kernel-6.11.4-301.noarch",
        "libc-2.40-1.noarch",
    ]
    assert called["treefile"] == {
        "include": str(world.config / "manifest.yaml"),
        "ostree-layers": ["overlay/usr-share-cosa"],
        "ostree-override-layers": ["overlay/overrides-rootfs"],
        "repos": ["overrides"],
        "repo-packages": [{"repo": "overrides", "packages": ["bash"]}],
    }
    assert called["flat"]["ostree-layers"] == ["overlay/05core", "overlay/usr-share-cosa"]
    assert called["flat"]["ostree-override-layers"] == [
        "overlay/99last",
        "overlay/overrides-rootfs",
    ]
    repo = ostree.Repo(job.target_repo)
    assert repo.read_text(commit.checksum, "/usr/share/coreos-assembler/image.json") == "{}"
    assert repo.read_text(commit.checksum, "/usr/bin/tool") == "#!/bin/sh\n"


def test_nothing_changed_gives_the_parent_back(world: World):
    first = engine.compose(world.job())
    world.tell(unchanged=True)
    again = engine.compose(world.job(parent=first.checksum, version="42.2"))
    given = options(world.called["argv"])
    assert given["--previous-commit"] == given["--parent"] == first.checksum
    assert "--no-parent" not in given
    assert again == replace(first, stats={})
    world.tell()
    changed = engine.compose(world.job(parent=first.checksum, version="42.2"))
    assert changed.version == "42.2"
    assert changed.checksum != first.checksum


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"fail": True}, "run/failed", "no such luck"),
        ({"unchanged": True}, "engine/no-commit", "made no commit"),
        ({"other-package": "kernel"}, "engine/packages", "left out kernel"),
        ({"composejson": {"ostree-commit": "0" * 64}}, "engine/unexpected", "did not write"),
        ({"composejson": {"ref": "else/where"}}, "engine/unexpected", "else/where"),
        ({"composejson": {"ostree-commit": "xyz"}}, "engine/wrong-value", "ostree-commit"),
        ({"composejson": {"ostree-n-content-total": "many"}}, "engine/wrong-type", "content-total"),
        ({"composejson": {"pkgdiff": [["bash", 2]]}}, "engine/missing-key", "pkgdiff"),
    ],
)
def test_what_is_not_accepted(world: World, told: dict, code: str, words: str):
    world.tell(**told)
    job = world.job()
    with pytest.raises(CosaError) as caught:
        engine.compose(job)
    err = caught.value
    assert err.code == code
    assert words in f"{err.what} {err.why} {' '.join(p.what for p in err.problems)}"
    assert ostree.Repo(job.target_repo).resolve("test/stable") is None
    assert list(job.scratch.iterdir()) == []


def test_without_a_ref_and_without_the_program(world: World, monkeypatch: pytest.MonkeyPatch):
    text = TREEFILE.replace("ref: test/stable\n", "")
    (world.config / "manifest.yaml").write_text(text)
    world.tell(composejson={"ref": ""})
    commit = engine.compose(world.job())
    assert commit.ref == ""
    assert ostree.Repo(world.top / "repo").list_refs() == {}
    rpmostree.version.cache_clear()
    assert engine.inputs(engine.Engine.RPM_OSTREE) == {"engine": "rpm-ostree 2026.2"}
    (world.bin / "rpm-ostree").unlink()
    with pytest.raises(CosaError) as caught:
        engine.compose(world.job())
    assert caught.value.code == "engine/missing"
    rpmostree.version.cache_clear()
