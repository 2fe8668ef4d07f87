"""The whole way with real apt, createrepo_c, librpm and GnuPG, from an archive on disk."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import debmaker
import pytest

import cosa
from cosa.core.errors import CosaError, ExitClass
from cosa.standin.openpgp import SigningKey
from cosa.standin.repository import make

pytestmark = pytest.mark.tool


def names(repo):
    return {path.name for path in repo.path.glob("Packages/*.rpm")}


@pytest.fixture
def filled(archive):
    archive.add("app", Depends="lib (>= 1.0)", Recommends="unwanted")
    archive.add("lib", "1.2-3")
    archive.add("unwanted")
    archive.write()
    return archive


def test_from_names_to_a_signed_repository(filled, tmp_path, rpm_verdicts):
    repo = make(["app"], tmp_path / "cache", etc=filled.etc)
    assert names(repo) == {
        "app-1.0-1.x86_64.rpm", "lib-1.2-3.x86_64.rpm", "base-files-13.8-0.x86_64.rpm",
        "base-passwd-3.6.7-0.x86_64.rpm", "deb-essential-13.8-2.noarch.rpm",
    }  # fmt: skip
    assert repo.packages == 5
    assert repo.url == repo.path.as_uri()
    assert rpm_verdicts(repo) == ["digests signatures OK"] * 5
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run([*gpg, "--import", str(repo.key)], check=True, capture_output=True)
    signature = repo.path / "repodata/repomd.xml.asc"
    subprocess.run([*gpg, "--verify", str(signature), str(signature.with_suffix(""))],
                   check=True, capture_output=True)  # fmt: skip


def test_rpm_and_createrepo_read_the_same_from_it(filled, tmp_path):
    import createrepo_c

    repo = make(["app"], tmp_path / "cache", etc=filled.etc)
    metadata = createrepo_c.Metadata()
    metadata.locate_and_load_xml(str(repo.path))
    found = {metadata.get(key).name: metadata.get(key) for key in metadata.keys()}  # noqa: SIM118
    assert set(found) == {"app", "lib", "base-files", "base-passwd", "deb-essential"}
    app = found["app"]
    assert (repo.path / app.location_href).stat().st_size == app.size_package
    assert [row[:5] for row in app.requires] == [("lib", "GE", "0", "1.0", "0")]
    assert ("/usr/share/app/", "file") in [row[1:3] for row in app.files]


def test_nothing_changed_is_found_at_once_and_offline(filled, tmp_path):
    first = make(["app"], tmp_path / "cache", etc=filled.etc)
    for path in filled.root.rglob("*"):
        if path.is_file():
            path.unlink()
    started = time.monotonic()
    assert make(["app"], tmp_path / "cache", etc=filled.etc) == first
    assert time.monotonic() - started < 1


def test_one_changed_package_is_the_only_one_converted(filled, tmp_path):
    cache = tmp_path / "cache"
    first = make(["app"], cache, etc=filled.etc)
    filled.add("lib", "1.2-4")
    filled.write()
    assert make(["app"], cache, etc=filled.etc) == first, "lists are refreshed when asked only"
    second = make(["app"], cache, etc=filled.etc, refresh=True)
    assert names(second) - names(first) == {"lib-1.2-4.x86_64.rpm"}
    same = "Packages/app-1.0-1.x86_64.rpm"
    assert (first.path / same).samefile(second.path / same)
    assert (first.path / "Packages/lib-1.2-3.x86_64.rpm").exists(), "the old one is left alone"


def test_made_again_it_is_equal_to_the_byte(filled, tmp_path):
    one = make(["app"], tmp_path / "one", etc=filled.etc)
    key = tmp_path / "two/standin/key"
    key.mkdir(parents=True)
    (key / "secret.json").write_bytes((tmp_path / "one/standin/key/secret.json").read_bytes())
    two = make(["app"], tmp_path / "two", etc=filled.etc)
    assert one.path != two.path
    for path in one.path.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (two.path / path.relative_to(one.path)).read_bytes()


def expect(code, exit_class, archive, tmp_path, wanted=("app",)):
    with pytest.raises(CosaError) as caught:
        make(wanted, tmp_path / "cache", etc=archive.etc)
    assert (caught.value.code, caught.value.exit_class) == (code, exit_class)
    return caught.value


def test_all_unknown_names_at_once(filled, tmp_path):
    wanted = ["app", "nosuch", "neither-this"]
    err = expect("standin/no-such-package", ExitClass.INPUT, filled, tmp_path, wanted)
    assert [p.what for p in err.problems] == [
        "there is no Debian package 'neither-this'", "there is no Debian package 'nosuch'",
    ]  # fmt: skip


def test_an_unsolvable_set_brings_apts_explanation(filled, tmp_path):
    filled.add("app", Depends="lib (>= 9)")
    filled.write()
    err = expect("standin/unsolvable", ExitClass.INPUT, filled, tmp_path)
    assert "lib (>= 9)" in err.why


def test_unsigned_lists(filled, tmp_path):
    filled.write(key=None)
    expect("standin/signature", ExitClass.UNTRUSTED, filled, tmp_path)


def test_lists_signed_by_somebody_else(filled, tmp_path):
    filled.write(key=SigningKey(bytes(range(9, 41)), 1_600_000_000))
    expect("standin/signature", ExitClass.UNTRUSTED, filled, tmp_path)


def test_lists_changed_after_signing(filled, tmp_path):
    release = filled.root / "dists/test/Release"
    release.write_text(release.read_text().replace("Origin: test", "Origin: evil"))
    expect("standin/signature", ExitClass.UNTRUSTED, filled, tmp_path)


def test_no_archive_at_all(filled, tmp_path):
    (filled.root / "dists/test/Release").unlink()
    (filled.root / "dists/test/Release.gpg").unlink()
    err = expect("standin/lists", ExitClass.NETWORK, filled, tmp_path)
    assert "Release" in err.why


def test_a_tampered_package_and_a_missing_one_are_both_named(filled, tmp_path):
    tampered = bytearray((filled.root / "pool/app.deb").read_bytes())
    tampered[-20] ^= 1
    (filled.root / "pool/app.deb").write_bytes(tampered)
    (filled.root / "pool/lib.deb").unlink()
    err = expect("standin/digest", ExitClass.UNTRUSTED, filled, tmp_path)
    assert [(p.what.split()[1].strip(":"), p.code) for p in err.problems] == [
        ("app", "standin/digest"), ("lib", "standin/download"),
    ]  # fmt: skip
    filled.write()
    assert make(["app"], tmp_path / "cache", etc=filled.etc).packages == 5


def test_a_package_gone_from_the_mirror_is_looked_up_anew(filled, tmp_path):
    cache = tmp_path / "cache"
    make([], cache, etc=filled.etc)
    filled.add("lib", "1.2-4")
    filled.write()
    (filled.root / "pool/lib.deb").rename(filled.root / "pool/lib2.deb")
    packages = filled.root / "dists/test/main/binary-amd64/Packages"
    assert "pool/lib.deb" in packages.read_text()
    with pytest.raises(CosaError):
        make(["app"], cache, etc=filled.etc)
    (filled.root / "pool/lib2.deb").rename(filled.root / "pool/lib.deb")
    assert "lib-1.2-4.x86_64.rpm" in names(make(["app"], cache, etc=filled.etc))


def test_every_refused_package_is_named_and_nothing_is_published(filled, tmp_path):
    text = debmaker.control("app", Depends="lib (>= 1.0)")
    filled.add("app", raw=debmaker.deb(text, [debmaker.Entry("../etc/x")]), Depends="lib (>= 1.0)")
    filled.add("lib", raw=debmaker.deb(debmaker.control("lib"), data_suffix=".lzma"))
    filled.write()
    err = expect("untrusted/path", ExitClass.UNTRUSTED, filled, tmp_path)
    assert {p.what.split(":")[0] for p in err.problems} == {"package app", "package lib"}
    assert not list(tmp_path.glob("cache/standin/repo/*/*"))


def test_a_deb_that_is_not_what_its_list_says(filled, tmp_path):
    filled.add("lib", "1.2-3", raw=debmaker.deb(debmaker.control("lib", "6.6-6")))
    filled.write()
    err = expect("standin/identity", ExitClass.UNTRUSTED, filled, tmp_path)
    assert "lib-6.6-6" in err.what


def test_a_dependency_whose_meaning_would_change(filled, tmp_path):
    filled.add("app", Depends="lib (<< 1.0.2)")
    filled.add("lib", "1+16.1")
    filled.write()
    expect("standin/meaning", ExitClass.INPUT, filled, tmp_path)


def test_an_architecture_debian_lacks(filled, tmp_path):
    with pytest.raises(CosaError) as caught:
        make(["app"], tmp_path / "cache", "sparc", etc=filled.etc)
    assert caught.value.code == "standin/arch"


def test_two_at_once_share_the_work(filled, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        arguments = [(["app"], tmp_path / "cache", "x86_64", filled.etc)] * 2
        one, two = pool.starmap(_make, arguments)
    assert one == two
    assert len(list(tmp_path.glob("cache/standin/repo/x86_64/*"))) == 1


def _make(wanted, cache, arch, etc):
    return make(wanted, cache, arch, etc=etc)


@pytest.mark.parametrize("after", [0.2, 0.4, 0.6, 0.8, 1.0])
def test_killed_in_the_middle_the_next_run_goes_on(filled, tmp_path, after):
    for number in range(40):
        filled.add(f"p{number}")
    filled.write()
    wanted = [f"p{number}" for number in range(40)]
    program = (
        "import json,sys; from pathlib import Path; from cosa.standin.repository import make\n"
        "names, cache, etc = json.load(sys.stdin)\n"
        "make(names, Path(cache), etc=Path(etc))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(cosa.__file__).parents[1])},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps([wanted, str(tmp_path / "cache"), str(filled.etc)]).encode())
    process.stdin.close()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    repo = make(wanted, tmp_path / "cache", etc=filled.etc)
    assert repo.packages == 43
    whole = make(wanted, tmp_path / "whole", etc=filled.etc)
    assert names(repo) == names(whole)
    assert len(list((repo.path / "repodata").iterdir())) == 5
