"""Private folders, atomic files, names from outside."""

import os
import stat
import subprocess
import sys

import pytest

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass


def test_atomic_write_replaces_whole_and_keeps_nothing_else(tmp_path):
    path = tmp_path / "f"
    fs.atomic_write(path, "one")
    fs.atomic_write(path, b"two", 0o600)
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    fs.atomic_write(path, "one")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        fs.atomic_write(path, "two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["f"]


def test_private_dir_is_gone_afterwards(tmp_path):
    def fail():
        with fs.private_dir(tmp_path) as path:
            (path / "sub").mkdir()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert os.listdir(tmp_path) == []


def test_a_living_owner_keeps_its_folder(tmp_path):
    with fs.private_dir(tmp_path) as path:
        fs.sweep(tmp_path)
        assert path.is_dir()


def test_what_a_killed_owner_left_is_swept(tmp_path):
    text = (
        "import os, signal, sys; from pathlib import Path; from cosa.core import fs\n"
        "with fs.private_dir(Path(sys.argv[1])) as path:\n"
        "    (path / 'f').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", text, tmp_path], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with fs.private_dir(tmp_path) as path:
        assert os.listdir(tmp_path) == [path.name]


def test_files_of_a_killed_write_are_swept(tmp_path):
    (tmp_path / ".cosa-tmp.abc").write_text("half")
    (tmp_path / "other").write_text("whole")
    fs.sweep_files(tmp_path)
    assert os.listdir(tmp_path) == ["other"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\nb", "a\0b"])
def test_names_that_leave_their_folder(tmp_path, name):
    with pytest.raises(CosaError) as caught:
        fs.safe_join(tmp_path, name)
    assert caught.value.exit_class is ExitClass.UNTRUSTED


def test_tree_digest_sees_names_modes_links_and_content(tmp_path):
    def make(name, **changes):
        root = tmp_path / name
        root.mkdir()
        (root / changes.get("file", "f")).write_text(changes.get("text", "x"))
        (root / changes.get("file", "f")).chmod(changes.get("mode", 0o644))
        (root / "link").symlink_to(changes.get("target", "f"))
        return fs.tree_digest(root)

    same = make("a")
    assert make("b") == same
    others = [
        make("c", text="y"), make("d", mode=0o755), make("e", target="g"), make("g", file="h"),
    ]  # fmt: skip
    assert len({same, *others}) == 5


def test_room_is_asked_for_in_words(tmp_path):
    fs.need_space(tmp_path, 1, "a test")
    with pytest.raises(CosaError) as caught:
        fs.need_space(tmp_path, 1 << 62, "a test")
    assert caught.value.code == "env/disk-full"
    assert "a test needs" in caught.value.what
