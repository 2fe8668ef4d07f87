"""The real flow, on the build `bin/test` has made: quick when nothing changed, and unbreakable.

It works on a copy made of hard links: nothing there is ever changed in place.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosa.core import fs
from cosa.core.errors import ExitClass
from cosa.pipeline.workdir import Workdir

KILLS = 5


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    named = os.environ.get("COSA_TEST_WORKDIR")
    if not named or not (Path(named) / "builds/latest").exists():
        pytest.skip("no build in COSA_TEST_WORKDIR; use bin/test vm")
    source = Path(named)
    # Hard links need the same filesystem.
    target = source.parent / f"{source.name}.flow"
    fs.remove_tree(target)
    target.mkdir()
    for name in ("src", "cache", "builds"):
        subprocess.run(["cp", "-al", source / name, target / name], check=True)
    (target / "tmp").mkdir()
    subprocess.run(["cp", "-al", source / "tmp/repo", target / "tmp/repo"], check=True)
    for name in ("rpm", "rootfs"):
        (target / "overrides" / name).mkdir(parents=True)
    yield Workdir(target)
    fs.remove_tree(target)


def command(workdir, *words):
    return [sys.executable, "-m", "cosa.cli.main", "--workdir", str(workdir.root), *words]


def cosa(workdir, *words, check=True):
    done = subprocess.run(command(workdir, *words), capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


def override(workdir, text):
    """A change that makes the next build another one."""
    place = workdir.overrides / "rootfs/usr/share/cosa-test"
    place.mkdir(parents=True, exist_ok=True)
    (place / "text").write_text(text)


def sound(workdir):
    """Every listed build is whole and the latest is one of them."""
    listed = [entry.id for entry in workdir.read_builds().builds]
    assert workdir.latest() in listed
    for name in listed:
        for image in workdir.meta(name).images.values():
            path = workdir.build(name) / image.path
            assert path.stat().st_size == image.size
    return listed


def test_nothing_changed(workdir):
    cosa(workdir, "build", "--skip-prune")  # the copy has another path, which is no reason to build
    before = workdir.latest()
    done = cosa(workdir, "build", "--skip-prune")
    assert "nothing changed" in done.stdout
    assert workdir.latest() == before


def test_an_override_is_built_in_and_named(workdir):
    before = workdir.meta()
    override(workdir, "first")
    done = cosa(workdir, "build", "--skip-prune")
    assert "override in use: rootfs/usr/share/cosa-test/text" in done.stderr
    after = workdir.meta()
    assert after.ostree_commit != before.ostree_commit
    assert after.to_json()["coreos-assembler.overrides"] == ["rootfs/usr/share/cosa-test/text"]
    argv = ["ostree", f"--repo={workdir.repo}", "cat", after.ostree_commit]
    shown = subprocess.run([*argv, "/usr/share/cosa-test/text"], capture_output=True, check=True)
    assert shown.stdout == b"first"


def test_an_edit_of_the_image_definition_counts(workdir):
    config = workdir.config.resolve()
    copy = workdir.root / "config"
    subprocess.run(["cp", "-a", config, copy], check=True)
    workdir.config.unlink()
    workdir.config.symlink_to(copy)
    before = workdir.latest()
    assert "nothing changed" in cosa(workdir, "build", "--skip-prune").stdout
    base = copy / "image-base.yaml"
    base.write_text(base.read_text().replace("size: 10", "size: 11"))
    done = cosa(workdir, "build", "--skip-prune")
    assert workdir.latest() != before
    assert "image.yaml: size 10 -> 11" in done.stderr
    info = subprocess.run(
        ["qemu-img", "info", "--output=json", workdir.image_path("qemu")],
        capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(info.stdout)["virtual-size"] == 11 << 30


def test_made_again_to_the_bit(workdir):
    """From the build's own records, with empty caches, in another folder."""
    assert "made again: the same to the bit" in cosa(workdir, "rebuild").stdout


def test_two_at_once(workdir):
    override(workdir, "two at once")
    first = subprocess.Popen(
        command(workdir, "build", "--skip-prune"), stderr=subprocess.PIPE, text=True
    )
    for line in first.stderr:
        if "compose ..." in line:
            break
    second = cosa(workdir, "build", check=False)
    assert second.returncode == ExitClass.BUSY
    assert str(first.pid) in second.stderr
    assert cosa(workdir, "list").stdout
    first.communicate()
    assert first.returncode == 0
    sound(workdir)


def test_a_read_only_folder(workdir):
    mounted = workdir.builds
    subprocess.run(["mount", "--bind", mounted, mounted], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", mounted], check=True)
        done = cosa(workdir, "build", "--force", check=False)
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert done.returncode == ExitClass.ENVIRONMENT
    assert str(mounted) in done.stderr
    assert "env/not-writable" in done.stderr
    sound(workdir)


def test_a_missing_tool(workdir, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for path in Path(folder).glob("*"):
            if path.name not in ("mke2fs", "qemu-img") and not (tools / path.name).exists():
                (tools / path.name).symlink_to(path)
    done = subprocess.run(
        command(workdir, "build", "--force"), capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": str(tools)},
    )  # fmt: skip
    assert done.returncode == ExitClass.ENVIRONMENT
    assert "'mke2fs'" in done.stderr
    assert "'qemu-img'" in done.stderr
    assert "compose ..." not in done.stderr, "known before any work"


def test_killed_again_and_again(workdir):
    """SIGKILL at random instants; then one run ends well without help, and nothing is left over."""
    dice = random.Random(1)
    started = time.monotonic()
    override(workdir, "a whole run, for its duration")
    cosa(workdir, "build", "--skip-prune")
    whole = time.monotonic() - started
    override(workdir, "to be killed")
    before = sound(workdir)
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(workdir, "build", "--skip-prune"), stderr=subprocess.DEVNULL
        )
        time.sleep(dice.uniform(0.2, whole))
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = sound(workdir)
        assert set(before) <= set(after)
    cosa(workdir, "build", "--skip-prune")
    assert len(sound(workdir)) == len(before) + 1
    assert leftovers(workdir) == []
    subprocess.run(
        ["ostree", f"--repo={workdir.repo}", "fsck", "-q"], check=True, capture_output=True
    )


def leftovers(workdir):
    """Processes, mounts and temporary files of ours that outlived their run."""
    root = str(workdir.root)
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if root in line]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            here = os.readlink(entry / "cwd")
        except OSError:
            continue
        if int(entry.name) != os.getpid() and (here.startswith(root) or root in " ".join(words)):
            found.append(" ".join(words))
    # A folder younger than a minute may be another run's; there is none now.
    found += [str(path) for path in workdir.tmp.glob(".cosa-tmp*")]
    found += [str(path) for path in workdir.builds.rglob(".cosa-tmp*")]
    return found
