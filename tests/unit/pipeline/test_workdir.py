"""The working directory: init, paths, lists, metadata, clean."""

import json
import subprocess

import pytest

from cosa.core import store
from cosa.core.errors import CosaError
from cosa.pipeline import inspect
from cosa.pipeline.initialise import Source, init
from cosa.pipeline.tidy import clean
from cosa.pipeline.workdir import Workdir, basearch

ARCH = basearch()


def definition(path, *names):
    path.mkdir(parents=True, exist_ok=True)
    for name in names or ("manifest.yaml", "image.yaml"):
        (path / name).write_text("{}\n")
    return path


@pytest.fixture
def config(tmp_path):
    return definition(tmp_path / "config")


@pytest.fixture
def workdir(tmp_path, config):
    made = Workdir(tmp_path / "w")
    init(made, Source(str(config)))
    return made


def add_build(workdir, name, **extra):
    folder = workdir.builds / name / ARCH
    folder.mkdir(parents=True)
    data = {
        "buildid": name, "name": "standin", "ostree-commit": "a" * 64,
        "ostree-timestamp": "2026-11-22T12:00:00Z", "ostree-version": name,
        "images": {"qemu": {"path": "disk.qcow2", "sha256": "b" * 64}},
        "coreos-assembler.basearch": ARCH,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(data | extra))
    workdir.read_builds().with_build(name, ARCH).write(workdir.builds_json)
    return folder


def test_init_links_a_local_folder(workdir, config):
    assert workdir.config.is_symlink()
    assert workdir.config.resolve() == config
    for name in ("cache", "tmp", "builds", "overrides/rpm", "overrides/rootfs"):
        assert (workdir.root / name).is_dir()


def test_init_needs_an_empty_folder_or_force(workdir, config, tmp_path):
    with pytest.raises(CosaError) as caught:
        init(workdir, Source(str(config)))
    assert caught.value.code == "workdir/not-empty"
    init(workdir, Source(str(tmp_path / "elsewhere")), force=True)
    assert workdir.config.resolve() == config, "the definition there is kept"


def test_init_refuses_a_folder_without_manifest_and_leaves_nothing(tmp_path):
    bad = definition(tmp_path / "bad", "manifest-c9s.yaml", "image-c9s.yaml")
    with pytest.raises(CosaError) as caught:
        init(Workdir(tmp_path / "w"), Source(str(bad)))
    assert caught.value.code == "workdir/no-manifest"
    assert "manifest.yaml and no image.yaml" in caught.value.what
    assert "c9s" in caught.value.fix
    assert not (tmp_path / "w/src/config").exists()


def test_variants(tmp_path):
    config = definition(tmp_path / "c", "manifest-c9s.yaml", "image-c9s.yaml")
    workdir = Workdir(tmp_path / "w")
    init(workdir, Source(str(config)), variant="c9s")
    stored = json.loads((workdir.root / "src/config.json").read_text())
    assert stored == {"coreos-assembler.config-variant": "c9s"}
    assert workdir.manifest().name == "manifest-c9s.yaml"
    assert workdir.image_spec().name == "image-c9s.yaml"


def git(folder, *words):
    argv = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    subprocess.run(argv, check=True, capture_output=True)


def test_init_clones_a_branch_or_commit(tmp_path, config):
    git(config, "init", "-q", "-b", "main")
    git(config, "add", ".")
    git(config, "commit", "-qm", "one")
    git(config, "branch", "stable")
    (config / "extra").write_text("x")
    git(config, "add", ".")
    git(config, "commit", "-qm", "two")
    workdir = Workdir(tmp_path / "w")
    init(workdir, Source(f"file://{config}", branch="stable"))
    assert not (workdir.config / "extra").exists()
    other = Workdir(tmp_path / "w2")
    init(other, Source(f"file://{config}", commit="main~0"))
    assert (other.config / "extra").exists()


def test_init_clone_failure_is_clear(tmp_path):
    with pytest.raises(CosaError) as caught:
        init(Workdir(tmp_path / "w"), Source(f"file://{tmp_path}/nothing"))
    assert caught.value.code == "init/clone"
    assert not (tmp_path / "w/src/config").exists()


def test_yumrepos(tmp_path, config):
    repos = tmp_path / "repos"
    repos.mkdir()
    workdir = Workdir(tmp_path / "w")
    init(workdir, Source(str(config)), yumrepos=Source(str(repos)))
    assert workdir.yumrepos.resolve() == repos


def test_not_a_working_directory(tmp_path):
    with pytest.raises(CosaError) as caught:
        Workdir(tmp_path).need_init()
    assert caught.value.code == "workdir/not-initialised"


def test_latest_follows_the_link_then_the_list(workdir):
    with pytest.raises(CosaError) as caught:
        workdir.latest()
    assert caught.value.code == "build/none"
    add_build(workdir, "1")
    add_build(workdir, "2")
    assert workdir.latest() == "2"
    (workdir.builds / "latest").symlink_to("1")
    assert workdir.latest() == "1"
    assert workdir.build("latest").parent.name == "1"


@pytest.mark.parametrize("name", ["3", "../1", "1/x86_64", ".hidden"])
def test_unknown_build_names_those_there_are(workdir, name):
    add_build(workdir, "1")
    with pytest.raises(CosaError) as caught:
        workdir.build(name)
    assert caught.value.code == "build/unknown"
    assert caught.value.fix.endswith("1")


def test_image_path(workdir):
    folder = add_build(workdir, "1")
    assert workdir.image_path("qemu") == folder / "disk.qcow2"
    with pytest.raises(CosaError) as caught:
        workdir.image_path("aws")
    assert caught.value.code == "build/no-image"
    assert "qemu" in caught.value.fix


def test_list(workdir):
    assert "no builds" in inspect.listing(workdir)[0]
    add_build(workdir, "1", **{"coreos-assembler.config-gitrev": "abc"})
    add_build(workdir, "2")
    (workdir.builds / "latest").symlink_to("2")
    lines = inspect.listing(workdir)
    assert lines[0] == "2  (latest)"
    assert "1" in lines
    assert any("abc" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        ("ostree-commit", "a" * 64),
        ("images.qemu.path", "disk.qcow2"),
        ("images.aws.path", "None"),
        ("nothing", "None"),
        ("images.qemu", "{'path': 'disk.qcow2', 'sha256': '" + "b" * 64 + "'}"),
        ("coreos-assembler.basearch", ARCH),
        ("amis.0.name", "eu"),
        ("amis.7.name", "None"),
        ("buildid.x", "None"),
    ],
)
def test_meta_values_print_as_scripts_expect(workdir, key, printed):
    add_build(workdir, "1", amis=[{"name": "eu"}])
    assert inspect.show_meta(workdir, "", "", "", [key], dump=False) == [printed]


def test_meta_set(workdir):
    add_build(workdir, "1")
    changes = {
        "fedora-coreos.parent-version": "0", "images.qemu.sha256": "c", "coreos-assembler.x.y": "z",
    }  # fmt: skip
    inspect.change_meta(workdir, changes, "", "")
    data = workdir.meta().to_json()
    assert data["fedora-coreos.parent-version"] == "0"
    assert data["images"]["qemu"]["sha256"] == "c"
    assert data["coreos-assembler.x.y"] == "z"
    with pytest.raises(CosaError) as caught:
        inspect.change_meta(workdir, {"images.qemu.path.x": "1"}, "", "")
    assert caught.value.code == "meta/path"


def test_clean_keeps_the_definition_and_the_cache(workdir):
    add_build(workdir, "1")
    (workdir.tmp / "repo").mkdir()
    (workdir.cache / "x").write_text("")
    clean(workdir)
    assert list(workdir.builds.iterdir()) == []
    assert not (workdir.tmp / "repo").exists()
    assert (workdir.cache / "x").exists()
    assert workdir.config.is_dir()
    clean(workdir, everything=True)
    assert not workdir.cache.exists()
    workdir.need_init()


def test_clean_waits_for_no_build(workdir):
    with store.lock(workdir.lock_file, "a build"), pytest.raises(CosaError) as caught:
        clean(workdir)
    assert caught.value.code == "busy/locked"
