"""The working directory: init, paths, lists, metadata, clean."""

import json
import subprocess

import pytest
from folders import ARCH, add_build

from cosa.core import store
from cosa.core.errors import CosaError
from cosa.pipeline import inspect, metafile
from cosa.pipeline.initialise import Source, init
from cosa.pipeline.tidy import clean
from cosa.pipeline.workdir import Workdir


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
    git = {"commit": "a" * 40, "branch": "main", "dirty": "true"}
    add_build(workdir, "1", **{"coreos-assembler.container-config-git": git})
    add_build(workdir, "2")
    found = workdir.read_builds().with_build("1", "s390x").with_build("0", "s390x")
    found.with_tag("good", "1").write(workdir.builds_json)
    (workdir.builds / "latest").symlink_to("2")
    blocks = "\n".join(inspect.listing(workdir)).split("\n\n")
    assert blocks[0].splitlines()[0] == "0"
    assert "s390x (not here)" in blocks[0]
    assert blocks[1].splitlines()[0] == "2  (latest)"
    assert "Artifacts: qemu" in blocks[1]
    assert "Timestamp: 2026-11-22T12:00:00Z" in blocks[1]
    assert "Config: main (aaaaaaaaaaaa) (dirty)" in blocks[2]
    assert f"Arches: {ARCH} s390x (not here)" in blocks[2]
    assert "Tags: good" in blocks[2]


def test_one_damaged_build_does_not_hide_the_others(workdir):
    (add_build(workdir, "1") / "meta.json").write_text("{")
    add_build(workdir, "2")
    text = "\n".join(inspect.listing(workdir))
    assert "cannot be read" in text
    assert "Artifacts: qemu" in text


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        ("ostree-commit", "a" * 64),
        ("images.qemu.path", "disk.qcow2"),
        ("images.aws.path", "None"),
        ("nothing", "None"),
        ("images.qemu", "{'path': 'disk.qcow2', 'sha256': '" + "b" * 64 + "'}"),
        ("coreos-assembler.basearch", ARCH),
        ("coreos-assembler.container-config-git.commit", "None"),
        ("amis.0.name", "eu"),
        ("amis.7.name", "None"),
        ("buildid.x", "None"),
    ],
)
def test_meta_values_print_as_scripts_expect(workdir, key, printed):
    git = {"coreos-assembler.container-config-git": {"commit": "abc"}}
    add_build(workdir, "1", amis=[{"name": "eu"}], **git)
    assert str(metafile.lookup(workdir.meta().to_json(), key)) == printed


@pytest.fixture
def target(workdir):
    add_build(workdir, "1")
    return metafile.Target.of(workdir, "", "")


def test_meta_set(workdir, target):
    changes = {"fedora-coreos.parent-version": "42.20260101.3.0", "images.qemu.sha256": "c"}
    assert metafile.change(target, changes) == target.path
    data = workdir.meta().to_json()
    assert data["fedora-coreos.parent-version"] == "42.20260101.3.0"
    assert data["images"]["qemu"]["sha256"] == "c"
    with pytest.raises(CosaError) as caught:
        metafile.change(target, {"images.qemu.path.x": "1"})
    assert caught.value.code == "meta/path"


def test_meta_set_refuses_what_the_schema_does_not_know(workdir, target):
    with pytest.raises(CosaError) as caught:
        metafile.change(target, {"colour": "red"})
    assert caught.value.code == "meta/invalid"
    assert "--skip-validation" in caught.value.fix
    careless = metafile.Target.of(workdir, "", "", validate=False)
    metafile.change(careless, {"colour": "red", "coreos-assembler.x.y": "z"})
    data = workdir.meta().to_json()
    assert (data["colour"], data["coreos-assembler.x.y"]) == ("red", "z")
    metafile.change(target, {"summary": "text"})  # what was wrong before does not stand in the way


def test_delayed_changes_wait_to_be_finalized(workdir, target):
    delayed = "coreos-assembler.delayed-meta-merge"
    assert metafile.finalize(target, keep=False) == []
    metafile.change(target, {delayed: True})
    mine = metafile.Target.of(workdir, "", "", artifact="aws")
    assert metafile.change(mine, {"summary": "one"}).name == "meta.aws.json"
    assert workdir.meta().summary is None
    assert metafile.finalize(target, keep=False) == ["meta.aws.json"]
    assert workdir.meta().summary == "one"
    with pytest.raises(CosaError) as caught:
        metafile.Target.of(workdir, "", "", artifact="../x")
    assert caught.value.code == "usage/artefact"


def test_merging_what_an_artefact_says(workdir, target, tmp_path):
    part = tmp_path / "part.json"
    part.write_text(json.dumps({"images": {"aws": {"path": "a.vmdk", "sha256": "d" * 64}}}))
    metafile.merge(target, part)
    assert set(workdir.meta().images) == {"qemu", "aws", "ostree"}
    part.write_text(json.dumps({"ostree-commit": "f" * 64}))
    with pytest.raises(CosaError) as caught:
        metafile.merge(target, part)
    assert caught.value.code == "meta/conflict"
    with pytest.raises(CosaError) as caught:
        metafile.merge(target, tmp_path / "nothing")
    assert caught.value.code == "usage/no-file"


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
