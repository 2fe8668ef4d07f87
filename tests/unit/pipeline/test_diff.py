"""Comparing builds: which ones, and what is said of them."""

import gzip
import json

import pytest
from cpiomaker import FILE, archive, entry
from folders import add_build, image, make_workdir

from cosa.core.errors import CosaError
from cosa.pipeline import diff

GIT = {"origin": "https://github.com/o/os.git", "branch": "main", "dirty": "false"}
CONFIG = "coreos-assembler.container-config-git"


def packages(folder, *rows):
    pkglist = [list(row) for row in rows]
    (folder / "commitmeta.json").write_text(json.dumps({"rpmostree.rpmdb.pkglist": pkglist}))


@pytest.fixture
def workdir(tmp_path):
    made = make_workdir(tmp_path)
    for number, commit in enumerate(("a" * 40, "b" * 40, "c" * 40)):
        folder = add_build(made, f"1.{number}", **{CONFIG: GIT | {"commit": commit}})
        data = json.loads((folder / "meta.json").read_text())
        rootfs = archive(entry("etc/version", FILE, b"%d\n" % number))
        data["images"] = {
            "live-rootfs": image(folder, "rootfs.img", rootfs),
            "live-initramfs": image(folder, "initrd.img", gzip.compress(rootfs)),
        }
        (folder / "meta.json").write_text(json.dumps(data))
    packages(made.build("1.1"), ("bash", "0", "5", "1", "x86_64"), ("vim", "0", "9", "1", "x86_64"))
    packages(
        made.build("1.2"), ("bash", "0", "5", "2", "x86_64"), ("joe", "1", "4", "1", "noarch"),
        ("zip", "0", "3", "1", "x86_64"),
    )  # fmt: skip
    return made


def lines(workdir, *names, old="", new=""):
    pair = diff.sides(workdir, old, new, "")
    return "\n".join(diff.compare(pair, names, difftool=False))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("", "", ("1.1", "1.2")), ("1.0", "", ("1.0", "1.2")), ("", "1.0", ("1.2", "1.0")),
        ("1.0", "1.1", ("1.0", "1.1")), ("1.1", "latest", ("1.1", "1.2")),
    ],
)  # fmt: skip
def test_which_builds(workdir, old, new, found):
    assert tuple(side.id for side in diff.sides(workdir, old, new, "")) == found


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("1.2", "", "diff/same"), ("latest", "1.2", "diff/same"), ("9", "", "build/unknown")],
)
def test_builds_that_cannot_be_compared(workdir, old, new, code):
    with pytest.raises(CosaError) as caught:
        diff.sides(workdir, old, new, "")
    assert caught.value.code == code


def test_one_build_is_not_enough(tmp_path):
    workdir = make_workdir(tmp_path)
    add_build(workdir, "1")
    add_build(workdir, "0", arch="s390x")
    with pytest.raises(CosaError) as caught:
        diff.sides(workdir, "", "", "")
    assert caught.value.code == "diff/one-build"


def test_rpms(workdir):
    assert lines(workdir, "rpms").splitlines()[2:] == [
        "Upgraded:", "  bash 5-1 -> 5-2", "Removed:", "  vim 9-1.x86_64", "Added:",
        "  joe 1:4-1.noarch", "  zip 3-1.x86_64",
    ]  # fmt: skip


def test_rpms_as_json(workdir):
    found = json.loads(lines(workdir, "rpms-json"))
    assert found["advisories"] == []
    assert [[name, kind] for name, kind, _ in found["pkgdiff"]] == [
        ["bash", 2], ["joe", 0], ["vim", 1], ["zip", 0],
    ]  # fmt: skip


def test_packages_that_are_not_known(workdir):
    with pytest.raises(CosaError) as caught:
        lines(workdir, "rpms", old="1.0")
    assert caught.value.code == "diff/no-packages"
    assert "1.0" in caught.value.what


def test_source_control(workdir):
    text = lines(workdir, "source-control")
    assert "https://github.com/o/os.git: bbbbbbb..ccccccc" in text
    assert "https://github.com/o/os/compare/bbbbbbb...ccccccc" in text
    folder = workdir.build("1.2")
    data = json.loads((folder / "meta.json").read_text())
    data[CONFIG]["branch"] = "other"
    (folder / "meta.json").write_text(json.dumps(data))
    assert "from: {" in lines(workdir, "source-control")


def test_sizes(workdir):
    assert "live-rootfs" in lines(workdir, "sizes")


@pytest.mark.parametrize("name", ["live-rootfs-img", "live-initrd"])
def test_content_is_shown_by_git_and_kept(workdir, capfd, name):
    lines(workdir, name)
    shown = capfd.readouterr().out
    assert "a/1.1/etc/version" in shown
    assert "-1\n+2" in shown
    before = diff.cache_of(workdir)
    kept = {path: path.stat().st_mtime_ns for path in before.rglob("version")}
    assert len(kept) == 2
    lines(workdir, f"{name}-ls")
    assert {path: path.stat().st_mtime_ns for path in before.rglob("version")} == kept


def test_a_build_made_anew_under_an_old_id_is_unpacked_anew(workdir, capfd):
    lines(workdir, "live-rootfs-img")
    folder = workdir.build("1.2")
    data = json.loads((folder / "meta.json").read_text())
    fresh = archive(entry("etc/version", FILE, b"fresh\n"))
    data["images"]["live-rootfs"] = image(folder, "rootfs.img", fresh)
    (folder / "meta.json").write_text(json.dumps(data))
    capfd.readouterr()
    lines(workdir, "live-rootfs-img")
    assert "+fresh" in capfd.readouterr().out
    diff.collect_garbage(workdir)
    assert not diff.cache_of(workdir).exists()


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("metal", None, "diff/no-image"),
        ("live-iso", {"live-iso": {"path": "gone.iso", "sha256": "0"}}, "diff/no-image"),
        ("live-sysroot", None, "diff/no-sysroot"),
        ("ostree", None, "diff/no-commit"),
        ("initrd", None, "diff/no-commit"),
    ],
)
def test_what_is_lacking_is_said(workdir, name, change, code):
    if change:
        folder = workdir.build("1.1")
        data = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(data | {"images": change}))
    with pytest.raises(CosaError) as caught:
        lines(workdir, name)
    assert caught.value.code == code
    assert "1.1" in caught.value.what


def test_every_way_to_compare_is_an_option():
    from cosa.cli.diff import diff as task

    names = {row.name.replace("-", "_") for row in diff.DIFFERS}
    options = {str(arg.name) for arg in task.get_arguments()}
    assert options - names == {"from_", "to", "arch", "gc", "difftool"}
