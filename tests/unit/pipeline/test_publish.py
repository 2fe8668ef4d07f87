"""Publishing: whatever instant the process dies at, the next run finds good builds."""

import json
import os

import pytest

from cosa.core import fs
from cosa.core.errors import CosaError
from cosa.pipeline.publish import publish, recover
from cosa.pipeline.workdir import Workdir, basearch

ARCH = basearch()


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(tmp_path)
    for folder in (made.builds, made.tmp):
        folder.mkdir()
    return made


def finished(workdir, name):
    folder = workdir.tmp / f"out-{name}"
    folder.mkdir()
    data = {
        "buildid": name, "name": "n", "ostree-commit": "c", "ostree-timestamp": "t",
        "ostree-version": name,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(data))
    return folder


def test_published_build_is_listed_and_latest(workdir):
    publish(workdir, finished(workdir, "1"), "1", ARCH)
    publish(workdir, finished(workdir, "2"), "2", ARCH)
    assert [b.id for b in workdir.read_builds().builds] == ["2", "1"]
    assert os.readlink(workdir.builds / "latest") == "2"
    assert workdir.latest() == "2"
    assert {entry.name for entry in workdir.builds.iterdir()} == {
        "1", "2", "latest", "builds.json",
    }  # fmt: skip


def test_same_id_twice_is_refused(workdir):
    publish(workdir, finished(workdir, "1"), "1", ARCH)
    with pytest.raises(CosaError) as caught:
        publish(workdir, finished(workdir, "x"), "1", ARCH)
    assert caught.value.code == "build/exists"


# The calls that change the file system, in the order publishing makes them.
@pytest.mark.parametrize("moment", range(7))
def test_killed_at_every_step(workdir, monkeypatch, moment):
    publish(workdir, finished(workdir, "1"), "1", ARCH)
    calls = iter(range(100))

    def dying(real):
        def call(*args, **kwargs):
            if next(calls) == moment:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(fs, "atomic_write", dying(fs.atomic_write))
        patch.setattr(fs, "publish", dying(fs.publish))
        for name in ("symlink_to", "replace", "unlink"):
            patch.setattr(f"pathlib.Path.{name}", dying(getattr(type(workdir.root), name)))
        try:
            publish(workdir, finished(workdir, "2"), "2", ARCH)
        except Killed:
            died = True
        else:
            died = False
    assert died == (moment < 6 + 1)
    assert workdir.latest() in ("1", "2")
    assert workdir.meta(workdir.latest()).buildid == workdir.latest()
    recover(workdir)
    arrived = (workdir.builds / "2" / ARCH).exists()
    assert workdir.read_builds().has("2") == arrived
    assert workdir.latest() == ("2" if arrived else "1")
    recover(workdir)
    if not arrived:
        publish(workdir, workdir.tmp / "out-2", "2", ARCH)
        assert workdir.latest() == "2"
