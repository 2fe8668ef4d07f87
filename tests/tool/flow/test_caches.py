"""`cosa cache`: what is there, what may go, and that nothing in use ever does."""

import json
import os
import subprocess
import time

from cosa.core import store
from cosa.core.errors import ExitClass

DAY = 86400


def age(*folders, days):
    """Make everything look as if it had last been used some days ago."""
    then = time.time() - days * DAY
    for folder in folders:
        for path in folder.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (then, then))


def listed(small, w):
    found = json.loads(small.cosa(w, "cache", "list", "--json").stdout)["caches"]
    return {row["kind"]: row for row in found}


def fsck(repo):
    return subprocess.run(["ostree", f"--repo={repo}", "fsck", "-q"], check=False).returncode == 0


def digests(w):
    found = {}
    for path in sorted(w.glob("builds/*/x86_64/meta.json")):
        meta = json.loads(path.read_text())
        found[meta["buildid"]] = meta["ostree-commit"], meta["images"]["ostree"]["sha256"]
    return found


def test_what_is_old_goes_and_builds_stay(small, place):
    w = small.init(place / "w")
    for version in ("1", "2", "3"):
        small.update(version)
        small.cosa(w, "build", "ostree", "--skip-prune")
    small.cosa(w, "prune", "--keep-last-n", "1")
    before = digests(w)
    rows = listed(small, w)
    assert rows["imported packages"]["count"] == 8  # app three times
    assert rows["packages"]["count"] == 8
    assert rows["commits"]["count"] == 3
    nothing = small.cosa(w, "cache", "prune", "--unused-for", "1d").stdout
    assert nothing == "nothing to remove\n"
    age(small.cache, w / "cache", w / "tmp", days=3)
    would = small.cosa(w, "cache", "prune", "--unused-for", "1d", "--dry-run").stdout
    assert "would remove 8 packages" in would
    assert listed(small, w)["packages"]["count"] == 8
    done = small.cosa(w, "cache", "prune", "--unused-for", "1d").stdout
    assert done == would.replace("would remove", "removed")
    rows = listed(small, w)
    assert rows["imported packages"]["count"] == 6
    assert rows["commits"]["count"] == 1
    assert "packages" not in rows
    assert fsck(w / "tmp/repo")
    assert fsck(w / "cache/pkgcache")
    assert digests(w) == before
    # The build goes on from what is left: one more image, then one more build.
    assert "nothing changed" in small.cosa(w, "build", "ostree").stdout
    small.cosa(w, "build", "qemu")
    small.update("4")
    small.cosa(w, "build", "ostree")
    assert fsck(w / "tmp/repo")


def test_down_to_a_size_the_longest_unused_first(small, place):
    w = small.init(place / "w")
    small.cosa(w, "build", "ostree")
    age(small.cache, days=2)
    oldest = next(small.cache.glob("rpms/sha256/*/*.rpm"))
    os.utime(oldest, (0, 0))
    total = sum(row["size"] for row in listed(small, w).values())
    small.cosa(w, "cache", "prune", "--max-size", f"{total - 1}")
    left = list(small.cache.glob("rpms/sha256/*/*.rpm"))
    assert oldest not in left
    assert len(left) == 5
    small.cosa(w, "build", "ostree", "--force")  # fetched again


def test_what_is_in_use_stays(small, place):
    w = small.init(place / "w")
    small.cosa(w, "build", "ostree")
    age(small.cache, w / "cache", days=100)
    with store.using(small.cache), store.lock(w / "tmp/.build.lock", "a build"):
        done = small.cosa(w, "cache", "prune", "--unused-for", "1d")
    assert done.stdout == "nothing to remove\n"
    assert f"{small.cache} is in use" in done.stderr
    assert f"{w / 'cache'} is in use" in done.stderr
    assert listed(small, w)["packages"]["count"] == 6


def test_after_a_build_once_a_day(small, place):
    w = small.init(place / "w")
    small.cosa(w, "build", "ostree")
    old = small.cache / "repos/old"
    old.mkdir()
    age(small.cache, days=40)
    os.utime(old, (0, 0))
    small.cosa(w, "build", "ostree", "--force")
    assert old.exists(), "it was pruned today already"
    os.utime(w / "cache/.pruned", (0, 0))
    small.cosa(w, "build", "ostree", "--force")
    assert not old.exists()


def test_words(small, place):
    w = small.init(place / "w")
    assert "nothing is cached" in small.cosa(w, "cache").stdout
    small.cosa(w, "build", "ostree")
    text = small.cosa(w, "cache").stdout
    assert "imported packages" in text
    assert f"the shared cache is {small.cache}" in text
    for words in (["prune"], ["prune", "--max-size", "many"], ["list", "--dry-run"], ["burn"]):
        assert small.cosa(w, "cache", *words, check=False).returncode == ExitClass.USAGE
