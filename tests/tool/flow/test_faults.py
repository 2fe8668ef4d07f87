"""Mirrors, disks and clocks that fail: one clear error of the right class, and the next run succeeds."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import faultserver
import pytest
from faultserver import serving

from cosa.core.errors import ExitClass

NETWORK, UNTRUSTED = ExitClass.NETWORK, ExitClass.UNTRUSTED
RPM, REPOMD, PRIMARY = ".rpm", "repomd.xml", "primary.xml.zst"


def remote(small, url, timeout=10):
    """The definition, with its packages on a mirror."""
    small.write_repo(url)
    path = small.config / "small.repo"
    path.write_text(path.read_text() + f"timeout={timeout}\nretries=1\n")


def one_error(done):
    """The codes of the one error a run ended with."""
    heads = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(heads) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "WARNING **" not in done.stderr, "a library speaks past us"
    assert "next " in done.stderr, done.stderr
    codes = re.findall(r"code +([a-z-]+/[A-Za-z-]+)", done.stderr)
    assert codes, done.stderr
    assert not [code for code in codes if code.startswith("bug/")], done.stderr
    return set(codes)


@pytest.fixture(scope="module")
def primary(template):
    """What createrepo_c calls the main file of the metadata here."""
    return "-" + next(template.repo.glob("repodata/*-primary.xml*")).name.partition("-")[2]


@pytest.mark.parametrize(
    ("suffix", "fault", "code", "exit_class"),
    [
        (RPM, faultserver.status(404), "fetch/not-found", NETWORK),
        (RPM, faultserver.status(500), "fetch/failed", NETWORK),
        (RPM, faultserver.cut, "fetch/truncated", UNTRUSTED),
        (RPM, faultserver.wrong_bytes, "fetch/bad-digest", UNTRUSTED),
        (RPM, faultserver.a_page, "fetch/repodata-mismatch", UNTRUSTED),
        (RPM, faultserver.slow, "fetch/failed", NETWORK),
        (RPM, faultserver.nothing, "fetch/failed", NETWORK),
        (REPOMD, faultserver.status(404), "fetch/not-found", NETWORK),
        (REPOMD, faultserver.status(500), "fetch/failed", NETWORK),
        (REPOMD, faultserver.a_page, "fetch/failed", NETWORK),
        (REPOMD, faultserver.slow, "fetch/failed", NETWORK),
        (PRIMARY, faultserver.status(404), "fetch/not-found", NETWORK),
        (PRIMARY, faultserver.wrong_bytes, "fetch/repodata-mismatch", UNTRUSTED),
        (PRIMARY, faultserver.cut, "fetch/repodata-mismatch", UNTRUSTED),
    ],
)
def test_mirror(small, place, primary, suffix, fault, code, exit_class):
    w = small.init(place / "w")
    with serving(small.repo) as mirror:
        remote(small, mirror.url, timeout=1)
        mirror.suffix = primary if suffix == PRIMARY else suffix
        mirror.fault = fault
        began = time.monotonic()
        done = small.cosa(w, "fetch", check=False)
        assert time.monotonic() - began < 40
        # A mirror that failed once too often is not asked for the rest.
        assert one_error(done) - {"fetch/failed"} <= {code}
        assert code in one_error(done)
        assert done.returncode == exit_class, done.stderr
        mirror.fault = None
        assert small.cosa(w, "fetch").stdout == "6 packages are here\n"


def test_a_mirror_that_is_not_there(small, place):
    w = small.init(place / "w")
    remote(small, "http://127.0.0.1:9")
    done = small.cosa(w, "build", check=False)
    assert done.returncode == NETWORK
    one_error(done)


@pytest.mark.parametrize("replaced", [False, True])
def test_metadata_that_changes_between_solving_and_download(small, place, replaced):
    """The old file is gone, or another one has taken its name."""
    w = small.init(place / "w")
    with serving(small.repo) as mirror:
        remote(small, mirror.url)
        old = next(small.repo.glob("app-1-*.rpm"))

        def update(_request, _data):
            if mirror.fault:
                mirror.fault = None
                small.update("2")
                if replaced:
                    shutil.copy(next(small.repo.glob("app-2-*.rpm")), old)
            return False

        mirror.fault, mirror.suffix = update, old.name
        done = small.cosa(w, "build", "ostree", check=False)
        if replaced:
            assert done.returncode == UNTRUSTED
        assert one_error(done) <= {"fetch/not-found", "fetch/bad-digest", "fetch/repodata-mismatch"}
        assert "reads its metadata anew" in done.stderr
        small.cosa(w, "build", "ostree")
        lock = (w / "builds/latest/x86_64/manifest-lock.generated.x86_64.json").read_text()
        assert json.loads(lock)["packages"]["app"]["evra"] == "2-1.x86_64"


def mount(*words):
    subprocess.run(["mount", *words], check=True)


@contextlib.contextmanager
def mounted(folder, *words):
    folder.mkdir(exist_ok=True)
    mount(*words, str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_cache_that_cannot_be_written(small, place):
    w = small.init(place / "w")
    small.cache.mkdir(exist_ok=True)
    with mounted(small.cache, "--bind", str(small.cache)):
        mount("-o", "remount,ro,bind", str(small.cache))
        done = small.cosa(w, "build", "ostree", check=False)
        assert done.returncode == ExitClass.ENVIRONMENT
        assert one_error(done) == {"env/not-writable"}
        assert str(small.cache) in done.stderr
    small.cosa(w, "build", "ostree")
    # Warm: what is there is enough for a build of the same packages.
    with mounted(small.cache, "--bind", str(small.cache)):
        mount("-o", "remount,ro,bind", str(small.cache))
        small.cosa(w, "build", "ostree", "--force")


# Without what looks ahead, so that the disk is found full by whoever comes upon it.
_BLIND = """\
import sys
from cosa.core import fs
from cosa.pipeline import space
fs.need_space = space.check = lambda *_: None
from cosa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def blind(small, w, *words):
    return subprocess.run(
        [sys.executable, "-c", _BLIND, "--workdir", str(w), *words], capture_output=True, text=True,
        check=False, env=os.environ | {"COSA_CACHE": str(small.cache)},
    )  # fmt: skip


def failed_step(done):
    found = re.findall(r"^ *(.+?): failed,", done.stderr, re.MULTILINE)
    return found[0] if found else ""


def test_a_full_disk_at_each_step(small, place):
    """The working directory's file system is a little larger each time."""
    steps = []
    with mounted(place / "disk", "-t", "tmpfs", "-o", "size=1m", "none") as disk:
        w = small.init(disk / "w")
        for size in (1, 2, 6, 10, 13, 17, 21, 26, 32, 40, 64):
            mount("-o", f"remount,size={size}m", str(disk))
            done = blind(small, w, "build")
            if done.returncode == 0:
                break
            assert done.returncode == ExitClass.ENVIRONMENT, done.stderr
            assert one_error(done) == {"env/disk-full"}, done.stderr
            steps.append(failed_step(done))
        assert done.returncode == 0, "64 MiB are enough"
        assert len(set(steps)) >= 4, steps
        for repo in ("tmp/repo", "cache/pkgcache"):
            subprocess.run(["ostree", f"--repo={w / repo}", "fsck", "-q"], check=True)
        assert [*w.glob("tmp/.cosa*")] == []
        mount("-o", "remount,size=300m", str(disk))
        small.cosa(w, "rebuild")


def test_room_is_looked_at_before_the_work(small, place):
    with mounted(place / "disk", "-t", "tmpfs", "-o", "size=30m", "none") as disk:
        w = small.init(disk / "w")
        done = small.cosa(w, "build", check=False)
        assert done.returncode == ExitClass.ENVIRONMENT
        assert one_error(done) == {"env/disk-full"}
        assert re.search(r"the build needs \d+ MiB below .*, only \d+ MiB are free", done.stderr)
        assert "MiB for the commit" in done.stderr
        assert "choose another place" in done.stderr
        assert "import packages" not in done.stderr


def test_a_clock_that_jumps(small, place):
    """Years ahead, years back; files from the future; the builds are in the order they were made."""
    w = small.init(place / "w")
    made = []
    for number, moment in enumerate(("1700000000", "2100000000", "100000000", "0")):
        small.update(str(number))
        small.cosa(w, "build", "ostree", "--skip-prune", COSA_FAKE_TIME=moment)
        made.append((w / "builds/latest").readlink().name)
        ahead = time.time() + 10 * 365 * 86400
        for path in (w / "cache").rglob("*"):
            if not path.is_symlink():
                os.utime(path, (ahead, ahead))
    listed = [each["id"] for each in json.loads((w / "builds/builds.json").read_text())["builds"]]
    assert listed == made[::-1]
    assert "nothing changed" in small.cosa(w, "build", "ostree").stdout
    small.cosa(w, "cache", "prune", "--unused-for", "1d")
    small.cosa(w, "build", "ostree", "--force")
