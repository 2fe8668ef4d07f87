"""Debian's own packages through the converter and into a root, where its mirrors answer."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.standin.repository import make

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(os.geteuid() != 0, reason="installing into a root takes root"),
]
# base-files' own script makes links to /run of these folders.
MADE_LINKS = ("/var/lock", "/var/run")
# Hard links, setuid programs, odd groups, links into /etc, and the smallest of all.
COMPARED = ("perl-base", "mount", "passwd", "util-linux", "base-files", "tzdata", "hostname")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    try:
        return make(COMPARED, tmp_path_factory.mktemp("cache"))
    except CosaError as err:
        if err.exit_class == ExitClass.NETWORK:
            pytest.skip(f"Debian's mirrors do not answer: {err}")
        raise


@pytest.fixture(scope="module")
def root(repo, tmp_path_factory):
    """Everything installed by librpm, every scriptlet run."""
    root = tmp_path_factory.mktemp("root")
    (root / "dev").mkdir()
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        try:
            os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except PermissionError:
            pytest.skip("device nodes may not be made here")
        (root / "dev" / name).chmod(0o666)
    rpm = ["rpm", "--root", str(root), "--define", "_pkgverify_level all"]
    subprocess.run([*rpm, "--import", str(repo.key)], check=True)
    packages = sorted(map(str, repo.path.glob("Packages/*.rpm")))
    result = subprocess.run([*rpm, "-U", *packages], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "scriptlet failed" not in result.stderr, result.stderr[-3000:]
    return root


def query(root: Path, *arguments: str) -> str:
    command = ["rpm", "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_all_signatures_hold(repo, rpm_verdicts):
    assert set(rpm_verdicts(repo)) == {"digests signatures OK"}


def test_every_package_is_installed_and_configured(repo, root):
    installed = query(root, "-qa", "--qf", "%{name}\\n").split()
    assert len([name for name in installed if name != "gpg-pubkey"]) == repo.packages
    # What scripts left: alternatives, dpkg's own database, the loader's cache, accounts.
    assert (root / "etc/alternatives/awk").is_symlink()
    assert (root / "etc/ld.so.cache").exists()
    assert "shadow:" in (root / "etc/group").read_text()
    listed = subprocess.run(
        ["dpkg-query", "--admindir", str(root / "var/lib/dpkg"), "-W", "-f", "${Package} ${db:Status-Abbrev}\n"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(listed) == repo.packages - 1
    assert {line.split()[1] for line in listed} == {"ii"}


def test_files_are_those_dpkg_would_unpack(repo, root, tmp_path):
    cache = repo.path.parents[2]
    debs = {}
    for deb in (cache / "debs").glob("*.deb"):
        name = subprocess.run(
            ["dpkg-deb", "-f", str(deb), "Package"], capture_output=True, text=True, check=True
        ).stdout.strip()
        debs[name] = deb
    differing = []
    for name in COMPARED:
        unpacked = tmp_path / name
        subprocess.run(["dpkg-deb", "-x", str(debs[name]), str(unpacked)], check=True)
        changed = set(query(root, "-V", "--nodeps", name).split())
        for path in sorted(unpacked.rglob("*")):
            place = "/" + str(path.relative_to(unpacked))
            if place not in changed and facts(path) != facts(root / place[1:]):
                differing.append((place, facts(path), facts(root / place[1:])))
    assert [place for place, *_ in differing if place not in MADE_LINKS] == []


def facts(path: Path):
    info = path.lstat()
    kind = stat.S_IFMT(info.st_mode)
    common = (kind, info.st_uid, info.st_gid)
    if stat.S_ISLNK(info.st_mode):
        return (*common, os.readlink(path))
    if stat.S_ISDIR(info.st_mode):
        return (*common, stat.S_IMODE(info.st_mode))
    content = path.read_bytes()
    return (*common, stat.S_IMODE(info.st_mode), int(info.st_mtime), info.st_nlink, content)


def test_special_modes_and_groups_survive(root):
    assert stat.S_IMODE((root / "usr/bin/mount").stat().st_mode) == 0o4755
    chage = (root / "usr/bin/chage").stat()
    assert (stat.S_IMODE(chage.st_mode), chage.st_gid) == (0o2755, 42)
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_rpm_finds_nothing_amiss(root):
    """`rpm -V` of everything: only configuration and what scripts meant to change may differ."""
    lines = query(root, "-Va", "--nodeps").splitlines()
    assert [line for line in lines if " c /" not in line] == []
    assert any(line.endswith("/etc/group") for line in lines), "rpm -V looked at nothing"
