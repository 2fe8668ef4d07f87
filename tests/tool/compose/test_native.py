"""The native engine with real RPMs, OSTree and bubblewrap: a tree of a few small packages."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from composeworld import TREEFILE, fsck, job_of, listing, run, text_of

from cosa.compose.native import compose
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import ostree

RUN = """
import sys
sys.path[:0] = sys.argv[1:3]
import composeworld
from pathlib import Path
from cosa.core.errors import CosaError
try:
    print(composeworld.run(Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]])[1].checksum)
except CosaError as err:
    print(err.code, err.exit_class)
    print(err, file=sys.stderr)
"""


def composing(folder, rpms):
    """The command of a compose in a process of its own."""
    here = Path(__file__).parent
    return [sys.executable, "-c", RUN, here, here.parents[2], folder, *rpms]


def test_the_database_is_what_the_trees_rpm_reads(room, maker):
    def rpms(backend):
        files = {"/usr/lib/rpm/macros": f"%_db_backend {backend}\n"}
        return [maker.base, maker.rpm(f"rpm-{backend}", files=files)]

    job, commit = run(room, rpms("ndb"))
    assert "Packages.db" in listing(job, commit, "/usr/share/rpm")
    assert run(room / "again", rpms("ndb"))[1].checksum == commit.checksum
    with pytest.raises(CosaError) as caught:
        run(room, rpms("bdb"))
    assert caught.value.code == "compose/rpmdb"
    host = run(room, rpms("bdb"), TREEFILE + "rpmdb: host\n")
    assert "rpmdb.sqlite" in listing(*host, "/usr/share/rpm")


def test_the_same_commit_anywhere_and_at_any_parallelism(room, maker, monkeypatch):
    rpms = [maker.base, maker.rpm("one", "%post\necho $1 >> /etc/log"), maker.rpm("two")]
    sums = []
    old = os.umask(0o077)
    try:
        for place, jobs in (("a", "1"), ("elsewhere/deep", "4"), ("a", "3")):
            monkeypatch.setenv("COSA_JOBS", jobs)
            order = rpms if jobs == "1" else rpms[::-1]
            job, commit = run(room / place, order)
            sums.append(commit.checksum)
    finally:
        os.umask(old)
    assert len(set(sums)) == 1
    assert commit.stats["ostree-n-content-written"] == 0
    fsck(job.target_repo)
    assert not list(job.scratch.iterdir())


def test_layout_and_metadata(room, maker):
    job, commit = run(room, [maker.base])
    assert text_of(job, commit, "/usr/etc/postprocessed") == "done\n"
    assert "OSTREE_VERSION='13.1'" in text_of(job, commit, "/usr/lib/os-release")
    autovar = text_of(job, commit, "/usr/lib/tmpfiles.d/rpm-ostree-autovar.conf")
    assert "d /var/lib/demo 0755 root root - -" in autovar
    metadata = ostree.commit_metadata(job.target_repo, commit.checksum)
    assert metadata["rpmostree.rpmdb.pkglist"] == [["base", "0", "1", "1", "noarch"]]
    assert metadata["version"] == "13.1"


def test_scripts_cannot_write_to_the_cache(room, maker):
    vandal = maker.rpm(
        "vandal",
        "%post\necho gone > /usr/lib/precious\nchmod 600 /usr/lib/os-release\n"
        "chown 5 /usr/bin/sort\nfor f in /usr/lib/*; do echo x >> $f 2>/dev/null; done; true",
    )
    job, commit = run(room, [maker.base, vandal])
    assert text_of(job, commit, "/usr/lib/precious").startswith("gone\n")
    assert listing(job, commit, "/usr/bin/sort").split()[1] == "5"
    fsck(job.cache / "pkgcache")
    again, clean = run(room, [maker.base])
    assert text_of(again, clean, "/usr/lib/precious") == "shared\n"
    assert listing(again, clean, "/usr/bin/sort").split()[1] == "0"
    assert run(room / "elsewhere", [maker.base])[1].checksum == clean.checksum


@pytest.mark.parametrize("phase", ["pre", "post", "posttrans"])
def test_failing_script_names_itself(room, maker, phase):
    sad = maker.rpm("sad", f"%{phase}\necho so sad\nexit 3")
    with pytest.raises(CosaError) as caught:
        run(room, [maker.base, sad])
    assert caught.value.code == "script/failed"
    assert f"%{phase} script of sad-1-1.noarch" in caught.value.what
    assert "so sad" in caught.value.why
    assert caught.value.exit_class is ExitClass.STEP


def test_hanging_script_is_stopped(room, maker, monkeypatch):
    monkeypatch.setenv("COSA_SCRIPT_TIMEOUT", "1")
    began = time.monotonic()
    with pytest.raises(CosaError) as caught:
        run(room, [maker.base, maker.rpm("slow", "%post\nsleep 600")])
    assert caught.value.code == "script/timeout"
    assert "%post script of slow-1-1.noarch" in caught.value.what
    assert time.monotonic() - began < 60


def test_layers(room, maker):
    job = job_of(room, [maker.base], TREEFILE + "ostree-layers: [overlay/05x]\n")
    layer = job.config / "overlay.d/05x"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc/secret").write_text("s")
    (layer / "statoverride").write_text("# comment\n=288 /etc/secret\n")
    assert listing(job, compose(job), "/usr/etc/secret").startswith("-00440 0 0")
    (layer / "usr/lib").mkdir(parents=True)
    (layer / "usr/lib/precious").write_text("other")
    with pytest.raises(CosaError) as caught:
        compose(job)
    assert caught.value.code == "compose/layer-conflict"


def test_overrides_win_and_count(room, maker):
    plain = job_of(room, [maker.base])
    over = room / "over/usr/lib"
    over.mkdir(parents=True)
    (over / "precious").write_text("mine")
    job = replace(plain, overrides_rootfs=room / "over")
    commit = compose(job)
    assert text_of(job, commit, "/usr/lib/precious") == "mine"
    before = ostree.commit_metadata(plain.target_repo, compose(plain).checksum)
    after = ostree.commit_metadata(job.target_repo, commit.checksum)
    assert before["rpmostree.inputhash"] != after["rpmostree.inputhash"]


def test_killed_in_the_middle(room, maker):
    nap = maker.rpm("nap", "%post\nsleep 1")
    job = job_of(room / "w", [maker.base, nap])
    argv = composing(room / "w", [maker.base, nap])
    for moment in ("cache/pkgcache/objects", "scratch/.cosa-tmp.*/root", "scratch/.cosa-tmp.*/scripts.upper"):  # fmt: skip
        process = subprocess.Popen(argv)
        deadline = time.monotonic() + 60
        while not list((room / "w").glob(moment)) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert str(room) not in Path("/proc/mounts").read_text()
    commit = compose(job)
    fsck(job.target_repo)
    fsck(job.cache / "pkgcache")
    assert ostree.has_commit(job.target_repo, commit.checksum)
    assert not list(job.scratch.iterdir())
    assert run(room / "undisturbed", [maker.base, nap])[1].checksum == commit.checksum


NAMESPACE = """
import os, sys
told, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
    os.write(told[1], b"x")
    os.read(go[0], 1)
    os.setgid(0)
    os.setuid(0)
    os.setgroups([])
    os.execvp(sys.argv[2], sys.argv[2:])
os.read(told[0], 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write(sys.argv[1])
os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def readable(rpm, room):
    """A package where everybody may read it."""
    room.chmod(0o755)
    return shutil.copy(rpm, room)


def test_an_ordinary_users_namespace_gives_the_same_commit(room, maker):
    """As podman without root sets it up: root in there is nobody special out here."""
    have = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    first = 100_000 if have > 200_000 else 1
    if have < first + 65536:
        pytest.skip("too few user ids here to give some to a namespace")
    accounts = "echo late:x:77: >> /etc/group; echo demo:x:123:77::/:/bin/sh >> /etc/passwd"
    rpms = [
        maker.base,
        maker.rpm("caps", attr="%attr(4755, root, root) %caps(cap_net_raw=ep)"),
        maker.rpm(
            "owned", f"%pre\n{accounts}\n%post\necho x > /usr/lib/new; chown 33:44 /usr/lib/new",
            attr="%attr(2750, demo, late)",
        ),
    ]  # fmt: skip
    job, commit = run(room / "root", rpms)
    (room / "user").mkdir()
    os.chown(room / "user", first, first)
    command = composing(room / "user", [readable(rpm, room) for rpm in rpms])
    said = subprocess.run(
        [sys.executable, "-c", NAMESPACE, f"0 {first} 65536", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout == f"{commit.checksum}\n", said.stderr
    assert listing(job, commit, "/usr/lib/owned").split()[:3] == ["-02750", "123", "77"]


def test_without_ids_to_give_it_says_so(room, maker):
    rpm = readable(maker.base, room)
    room.chmod(0o777)
    for argv, code in ((["setpriv", "--reuid=12345"], "env/not-root"),
                       (["unshare", "--map-root-user", "--mount"], "env/few-ids")):  # fmt: skip
        said = subprocess.run(
            [*argv, *composing(room / argv[0], [rpm])], capture_output=True, text=True, check=False
        )
        assert said.stdout == f"{code} {ExitClass.ENVIRONMENT}\n", said.stderr


@pytest.mark.parametrize("mib", [1, 4, 8, 30])
def test_disk_full_is_one_clear_error(room, maker, mib):
    small = room / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "cosa-test", small], check=True)
    try:
        hog = maker.rpm("hog", "%post\ncat /dev/zero > /usr/lib/hog2")
        done = subprocess.run(
            composing(small, [maker.base, hog]), capture_output=True, text=True, check=False
        )
        assert done.stdout == f"env/disk-full {ExitClass.ENVIRONMENT}\n", done.stderr
        assert not list((small / "scratch").glob("*"))
    finally:
        subprocess.run(["umount", small], check=True)


def test_path_that_leaves_the_root_is_refused_by_name(room, maker, tmp_path):
    rpm = tmp_path / "evil.rpm"
    good = maker.rpm("evil", files={"/usr/lib/aaaa/bbbb": "x"}).read_bytes()
    # DIRNAMES in the header; the digests are fetch's business, which has been by before.
    assert good.count(b"/usr/lib/aaaa/\0") == 1
    rpm.write_bytes(good.replace(b"/usr/lib/aaaa/\0", b"/usr/../../aa/\0"))
    with pytest.raises(CosaError) as caught:
        run(room, [maker.base, rpm])
    assert caught.value.exit_class is ExitClass.UNTRUSTED
    assert "evil" in caught.value.what


def test_objects_are_those_of_libostree(room):
    source = room / "source"
    source.mkdir()
    (source / "a").write_text("a")
    (source / "big").write_bytes(os.urandom(3 << 20))
    (source / "big").chmod(0o4755)
    (source / "link").symlink_to("x" * 300)
    for mode in ("bare", "bare-user"):
        theirs, ours = room / f"theirs-{mode}", room / f"ours-{mode}"
        for command in (["init", f"--mode={mode}"], ["commit", "-b", "x", f"--tree=dir={source}"]):
            subprocess.run(
                ["ostree", f"--repo={theirs}", *command], check=True, capture_output=True
            )
        ostree.Repo.ensure(ours, mode)
        writer = ostree.ObjectWriter(ours)
        for path in source.iterdir():
            info = path.lstat()
            meta = ostree.Meta(info.st_mode, info.st_uid, info.st_gid)
            if stat.S_ISLNK(info.st_mode):
                csum = writer.write(replace(meta, target=os.readlink(path)))
            else:
                csum = writer.copy(path, meta)
            there = (theirs / ostree.object_path(csum)).lstat()
            assert there.st_mode == (ours / ostree.object_path(csum)).lstat().st_mode
        writer.close()
