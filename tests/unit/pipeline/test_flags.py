"""What the flags of build and fetch do: versions, locks, comparisons, tags, metadata."""

import json
import os
import subprocess

import pytest
from quick import Steps, make_workdir

from cosa.core import events
from cosa.core.errors import CosaError
from cosa.model.meta import DELAYED
from cosa.pipeline import build as building
from cosa.pipeline.build import Fetching, Options, build, fetch_only
from cosa.pipeline.workdir import basearch

ARCH = basearch()
NOON = 1795348800  # 2026-11-22T12:00:00Z
STABLE = "variables: {stream: stable}\n"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("COSA_FAKE_TIME", str(NOON))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return make_workdir(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    made = Steps().install(monkeypatch.setattr)
    made.asked = []

    def resolve(*args, **kwargs):
        made.asked.append(kwargs)
        return made.resolve(*args, **kwargs)

    monkeypatch.setattr(building, "resolve", resolve)
    return made


def manifest(workdir, text):
    path = workdir.config / "manifest.yaml"
    path.write_text(path.read_text() + text)


def git(folder, *words, when=NOON):
    env = os.environ | {
        "GIT_COMMITTER_DATE": f"@{when} +0000", "GIT_AUTHOR_DATE": f"@{when} +0000",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    argv = ["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@x", *words]
    subprocess.run(argv, check=True, env=env, capture_output=True)


def commit(workdir, when, text="x"):
    folder = workdir.config.resolve()
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", text, when=when)


def lockfile(**packages):
    locked = {name: {"evra": evra} for name, evra in packages.items()}
    return json.dumps({"packages": locked, "metadata": {"generated": "2026-11-20T00:00:00Z"}})


def meta(outcome):
    return json.loads((outcome.folder / "meta.json").read_text())


def said(run):
    seen = []
    with events.sink(lambda event: seen.append(event.text)):
        run()
    return "\n".join(seen)


def test_a_production_version_counts_commits(workdir, steps):
    manifest(workdir, STABLE)
    (workdir.config / f"manifest-lock.{ARCH}.json").write_text(lockfile(bash="5-1.noarch"))
    day = 86400
    commit(workdir, NOON - 9 * day)
    commit(workdir, NOON - day)
    commit(workdir, NOON)
    first = build(workdir, Options(versionary=True))
    assert first.build == "1.20261120.3.2"
    steps.packages.append(steps.package("vim"))
    assert not build(workdir, Options(versionary=True)).changed, "an id that exists stays"
    assert build(workdir, Options()).build == "1.20261120.3.dev0"


def test_a_production_version_without_git(workdir, steps):
    manifest(workdir, STABLE)
    assert build(workdir, Options(versionary=True)).build == "1.20261122.3.0"
    steps.packages.append(steps.package("vim"))
    assert build(workdir, Options(versionary=True)).build == "1.20261122.3.1"


def test_a_shallow_clone_counts_too_few(workdir, steps, tmp_path):
    manifest(workdir, STABLE)
    commit(workdir, NOON + 60)
    commit(workdir, NOON + 120)
    origin = workdir.config.resolve()
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", "shallow")
    workdir.config.unlink()
    workdir.config.symlink_to(tmp_path / "shallow")
    seen = []
    with events.sink(lambda event: seen.append(event.text)):
        assert build(workdir, Options(versionary=True)).build == "1.20261122.3.1"
    assert any("shallow clone" in text for text in seen)
    git(tmp_path / "shallow", "fetch", "-q", "--unshallow")
    assert build(workdir, Options(versionary=True, force=True)).build == "1.20261122.3.2"


def test_stream_and_release_of_build_args(workdir, steps):
    path = workdir.config / "manifest.yaml"
    path.write_text(path.read_text().replace('releasever: "1"\n', "").replace("${releasever}", "x"))
    text = "# newer definitions\nVERSION=44\nSTREAM='next-devel'\n"
    (workdir.config / "build-args.conf").write_text(text)
    assert build(workdir, Options()).build == "44.20261122.10.dev0"


def test_git_state_and_variant(workdir, steps):
    commit(workdir, NOON)
    for stem in ("manifest", "image"):
        text = (workdir.config / f"{stem}.yaml").read_text()
        (workdir.config / f"{stem}-c10s.yaml").write_text(text)
    workdir.variant_file.write_text('{"coreos-assembler.config-variant": "c10s"}')
    found = meta(build(workdir, Options()))
    assert found["coreos-assembler.config-variant"] == "c10s"
    assert found["coreos-assembler.config-dirty"] == "true"
    state = found["coreos-assembler.container-config-git"]
    assert state == {
        "commit": found["coreos-assembler.config-gitrev"], "origin": "UNKNOWN", "branch": "main",
        "dirty": "true",
    }  # fmt: skip


def test_packages_are_compared(workdir, steps):
    first = build(workdir, Options())
    assert "pkgdiff" not in meta(first)
    steps.packages = [steps.package("bash", "6"), steps.package("vim")]
    second = build(workdir, Options())
    assert meta(second)["pkgdiff"] == [
        ["bash", 2, {"PreviousPackage": ["bash", "5-1", "noarch"],
                     "NewPackage": ["bash", "6-1", "noarch"]}],
        ["vim", 0, {"NewPackage": ["vim", "5-1", "noarch"]}],
    ]  # fmt: skip
    steps.packages = [steps.package("bash", "4")]
    third = meta(build(workdir, Options(parent_build=first.build)))
    assert [row[:2] for row in third["pkgdiff"]] == [["bash", 3], ["vim", 1]]
    assert [row[:2] for row in third["parent-pkgdiff"]] == [["bash", 3]]
    assert third["fedora-coreos.parent-version"] == first.build
    assert third["fedora-coreos.parent-commit"] == meta(first)["ostree-commit"]


def test_a_parent_that_is_not_there_is_said_first(workdir, steps):
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(parent_build="9.9"))
    assert caught.value.code == "build/unknown"
    assert steps.asked == []


def test_a_damaged_neighbour_stops_nothing(workdir, steps):
    first = build(workdir, Options())
    (first.folder / "commitmeta.json").chmod(0o644)
    (first.folder / "commitmeta.json").write_text("{")
    steps.packages.append(steps.package("vim"))
    text = said(lambda: build(workdir, Options()))
    assert "no comparison with build 1.dev.0" in text
    assert "pkgdiff" not in workdir.meta().to_json()


def test_autolock_follows_another_architecture(workdir, steps):
    there = workdir.builds / "42.1/s390x"
    there.mkdir(parents=True)
    (there / "manifest-lock.generated.s390x.json").write_text(
        lockfile(bash="5-1.noarch", glibc="2-1.s390x")
    )
    build(workdir, Options(version="42.1"))
    (lock,) = steps.asked[-1]["lockfiles"]
    assert lock.locked["bash"].evra == "5-1.noarch"
    assert (lock.locked["glibc"].evr, lock.locked["glibc"].evra) == ("2-1", None)
    build(workdir, Options(version="42.2", autolock="42.1", force=True))
    assert len(steps.asked[-1]["lockfiles"]) == 1
    (workdir.builds / "42.3/s390x").mkdir(parents=True)
    build(workdir, Options(version="42.3", force=True))
    assert steps.asked[-1]["lockfiles"] == (), "no lock, and none was asked for"
    build(workdir, Options(version="42.4", autolock="42.1", strict=True, force=True))
    assert len(steps.asked[-1]["lockfiles"]) == 1
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(autolock="42.9"))
    assert caught.value.code == "lockfile/autolock"


def test_a_base_lock_beats_autolock(workdir, steps):
    (workdir.config / f"manifest-lock.{ARCH}.json").write_text(lockfile(bash="5-1.noarch"))
    there = workdir.builds / "42.1/s390x"
    there.mkdir(parents=True)
    (there / "manifest-lock.generated.s390x.json").write_text(lockfile(bash="4-1.noarch"))
    build(workdir, Options(autolock="42.1"))
    assert [lock.locked["bash"].evra for lock in steps.asked[-1]["lockfiles"]] == ["5-1.noarch"]


def test_locks_come_in_order_and_are_told(workdir, steps):
    override = (
        "packages: {{{}: {{evr: 6-1, metadata: {{type: pin, reason: 'https://e.org/1'}}}}}}\n"
    )
    config = workdir.config
    (config / f"manifest-lock.overrides.{ARCH}.yaml").write_text(override.format("vim"))
    (config / "manifest-lock.overrides.yaml").write_text(override.format("bash"))
    (config / f"manifest-lock.{ARCH}.json").write_text(lockfile(bash="5-1.noarch"))
    (workdir.overrides / "rpm/deep").mkdir()
    (workdir.overrides / "rpm/deep/vim-1.noarch.rpm").write_text("")
    (workdir.overrides / "rpm/vim-1.src.rpm").write_text("")
    text = said(lambda: build(workdir, Options()))
    assert "lock override in use: bash locked to 6-1 (pin, https://e.org/1)" in text
    assert "override in use: rpm/deep/vim-1.noarch.rpm" in text
    assert "src.rpm" not in text
    assert [list(lock.locked) for lock in steps.asked[-1]["lockfiles"]] == [
        ["bash"], ["bash"], ["vim"],
    ]  # fmt: skip
    assert steps.asked[-1]["local_rpms"] == workdir.overrides / "rpm"
    (workdir.overrides / "rpm/deep/vim-1.noarch.rpm").unlink()
    assert "override in use: rpm" not in said(lambda: build(workdir, Options(force=True)))


def test_every_lock_problem_at_once(workdir, steps):
    config = workdir.config
    (config / "manifest-lock.overrides.yaml").write_text(
        "packages:\n"
        "  a: {evr: 1-1, metadata: {type: pin}}\n"
        "  b: {evr: 1-1, metadata: {type: pinned, reason: 'https://e.org'}}\n"
        "  c: {evr: 1-1}\n"
        "  d: {evr: 1-1, metadata: {type: fast-track, bodhi: later}}\n"
    )
    (config / f"manifest-lock.{ARCH}.json").write_text('{"packages": {"a": {"evra": "1"}}}')
    with pytest.raises(CosaError) as caught:
        build(workdir, Options())
    found = [f"{p.where} {p.what}" for p in caught.value.problems]
    assert len(found) == 5, found
    for line, words in ((2, "reason"), (3, "fast-track"), (4, "metadata"), (5, "bodhi")):
        assert any(f"overrides.yaml:{line}:" in one and words in one for one in found), (
            line,
            found,
        )
    assert any(f"manifest-lock.{ARCH}.json:1:" in one for one in found)


def test_a_fast_track_without_its_update_is_warned_of(workdir, steps):
    (workdir.config / "manifest-lock.overrides.yaml").write_text(
        "packages:\n  bash: {evr: 5-1, metadata: {type: fast-track}}\n"
    )
    assert "overrides.yaml:2:3: the fast-track of bash" in said(lambda: build(workdir, Options()))


def test_prepare_only_stops_before_the_compose(workdir, steps):
    outcome = build(workdir, Options(prepare_only=True))
    assert outcome.prepared == 1
    assert steps.calls == ["fetch"]
    assert workdir.read_builds().builds == []


def test_a_tag_points_at_the_build(workdir, steps):
    build(workdir, Options(tag="good"))
    steps.packages.append(steps.package("vim"))
    build(workdir, Options())
    build(workdir, Options(tag="new"))
    tags = {tag.name: tag.target for tag in workdir.read_builds().tags}
    assert tags == {"good": "1.dev.0", "new": "1.dev.1"}


def test_new_images_of_the_same_commit(workdir, steps):
    first = build(workdir, Options())
    steps.calls.clear()
    second = build(workdir, Options(force_image=True))
    assert second.build == "1.dev.0-1"
    assert meta(second)["ostree-commit"] == meta(first)["ostree-commit"]
    assert steps.calls == ["archive", "disk", "convert .qcow2"]


def test_delayed_merge(workdir, steps):
    outcome = build(workdir, Options(targets=("ostree",), delay_meta_merge=True))
    assert meta(outcome)[DELAYED] is True
    build(workdir, Options(targets=("qemu",)))
    assert "qemu" not in meta(outcome)["images"]
    assert (outcome.folder / "meta.qemu.json").is_file()
    steps.calls.clear()
    assert not build(workdir, Options(targets=("qemu",))).changed, "it is there already"
    assert steps.calls == []


def test_no_archive_of_the_definition(workdir, steps):
    outcome = build(workdir, Options(skip_config_archive=True))
    assert not list(outcome.folder.glob("coreos-assembler-config*"))


def test_a_parent_commit(workdir, steps, monkeypatch):
    first = build(workdir, Options())
    jobs = []
    compose = Steps.compose
    monkeypatch.setattr(
        "cosa.pipeline.make.ostree.has_commit", lambda repo, name: (repo / name).exists()
    )
    monkeypatch.setattr(
        "cosa.pipeline.make.compose", lambda job, *_: jobs.append(job) or compose(steps, job)
    )
    build(workdir, Options(force=True, parent=first.build))
    assert jobs[-1].parent == meta(first)["ostree-commit"]
    with pytest.raises(CosaError) as caught:
        build(workdir, Options(force=True, parent="0" * 64))
    assert caught.value.code == "build/no-commit"


def test_updating_the_lock_forgets_the_old_one(workdir, steps):
    path = workdir.config / f"manifest-lock.{ARCH}.json"
    path.write_text(lockfile(bash="4-1.noarch"))
    (workdir.config / "manifest-lock.overrides.yaml").write_text(
        "packages: {vim: {evr: 1-1, metadata: {type: pin, reason: 'https://e.org'}}}\n"
    )
    (workdir.overrides / "rpm/x.rpm").write_text("")
    text = said(lambda: fetch_only(workdir, Fetching(update=True, dry_run=True)))
    assert "1 upgraded" in text
    assert [list(lock.locked) for lock in steps.asked[-1]["lockfiles"]] == [["vim"]]
    assert steps.asked[-1]["local_rpms"] is None
    assert json.loads(path.read_text())["packages"]["bash"]["evra"] == "5-1.noarch"
    assert steps.calls == []
    fetch_only(workdir, Fetching(update=True, overrides=True))
    assert steps.asked[-1]["local_rpms"] is not None
    fetch_only(workdir, Fetching())
    assert steps.asked[-1]["local_rpms"] is not None, "what a build needs"
