"""Downloading and checking real, signed RPMs, and refusing every kind of bad one."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fetchworld import Made, Web
from repomaker import createrepo

from cosa.compose.fetch import fetch
from cosa.compose.resolve import Resolution, resolve
from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.model.treefile import load_treefile
from cosa.tools import transfer
from cosa.tools.repofile import RepoConfig

pytestmark = pytest.mark.tool


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSES", (0.01, 0.02, 0.03))


def solved(config: RepoConfig, cache: Path, packages: str = "app, extra") -> Resolution:
    """app and extra; base stays away because its dependencies are not in this repository."""
    tree = cache / "tree.yaml"
    cache.mkdir(exist_ok=True)
    tree.write_text(f"packages: [{packages}]\n")
    return resolve(load_treefile(tree, "x86_64"), [config], cache=cache)


def spoil(path: Path, at: int, value: bytes | None = None) -> None:
    """Change a byte in place, or cut the file there."""
    data = bytearray(path.read_bytes())
    path.unlink()
    if value is None:
        del data[at:]
    else:
        data[at] ^= value[0]
    path.write_bytes(data)


PAIR = "extra"


def test_local_repository_is_linked_and_remembered(made: Made, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    config = made.config(repo_gpgcheck=True)
    found = solved(config, cache, PAIR)
    paths = fetch(found.packages, [config], cache)
    (package,) = found.packages
    assert list(paths) == [package.nevra] == ["extra-3:2-1.noarch"]
    path = paths[package.nevra]
    assert fs.sha256_file(path) == package.sha256
    assert path.samefile(made.rpm("extra"))
    # A second run reads nothing: it works although the repository is gone.
    shutil.rmtree(made.root)
    assert fetch(found.packages, [config], cache) == paths
    # The same file changed in place (same size, other time) is noticed.
    spoil(path, -1000, b"\x01")
    with pytest.raises(CosaError) as caught:
        fetch(found.packages, [config], cache)
    assert caught.value.code == "fetch/bad-digest"
    assert not path.exists()


def test_other_key_means_checking_again(made: Made, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found = solved(made.config(), cache, PAIR)
    fetch(found.packages, [made.config()], cache)
    other = made.config(gpgkey=(str(made.stranger.public),))
    with pytest.raises(CosaError) as caught:
        fetch(found.packages, [other], cache)
    assert caught.value.code == "fetch/wrong-key"
    assert caught.value.exit_class is ExitClass.UNTRUSTED
    assert "stranger@example.org" in caught.value.why


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("payload", "fetch/bad-digest"),
        ("header", "fetch/bad-digest"),
        ("truncated", "fetch/truncated"),
        ("longer", "fetch/repodata-mismatch"),
        ("gone", "fetch/not-found"),
    ],
)
def test_files_that_are_not_the_repositorys(
    made: Made, web: Web, tmp_path: Path, kind: str, code: str, *, remote: bool
) -> None:
    cache = tmp_path / "cache"
    config = made.config(web.url if remote else "")
    found = solved(config, cache, PAIR)
    path = made.rpm("extra")
    match kind:
        case "payload":
            spoil(path, -1000, b"\x01")
        case "header":
            spoil(path, path.read_bytes().rindex(b"noarch"), b"\x01")
        case "truncated":
            spoil(path, -1000)
        case "longer":
            with path.open("ab") as file:
                file.write(b"more")
        case _:
            path.unlink()
    with pytest.raises(CosaError) as caught:
        fetch(found.packages, [config], cache)
    err = caught.value
    # Over HTTP the length is known before anything is sent: shorter or longer look alike.
    wanted = {code, "fetch/repodata-mismatch"} if remote and kind == "truncated" else {code}
    assert err.code in wanted
    assert err.exit_class is (ExitClass.NETWORK if kind == "gone" else ExitClass.UNTRUSTED)
    assert path.name in err.what
    assert "'test'" in err.what
    # The next run succeeds without help.
    shutil.copy(next(made.unsigned.parent.glob(f"rpms/{path.name}")), path)
    assert fetch(found.packages, [config], cache)


def test_tampered_and_repodata_made_to_fit(made: Made, tmp_path: Path) -> None:
    """Metadata without a signature may lie: the RPM's own signature must hold, payload included."""
    path = made.rpm("extra")
    for number, (change, code) in enumerate(
        [
            (lambda: spoil(path, -1000, b"\x01"), "fetch/bad-digest"),
            (lambda: shutil.copy(made.unsigned / path.name, path), "fetch/unsigned"),
            (lambda: made.stranger.sign_rpms([path]), "fetch/wrong-key"),
            (lambda: spoil(path, path.read_bytes().rindex(b"noarch"), b"\x01"), "fetch/damaged"),
        ]
    ):
        original = path.read_bytes()
        path.unlink()
        path.write_bytes(original)
        before = solved(made.config(), tmp_path / "first", PAIR).packages
        change()
        data = path.read_bytes()
        # As if repodata had been made for the changed file.
        lying = dataclasses.replace(
            before[0], digest=f"sha256:{fs.sha256_file(path)}", size=len(data)
        )
        with pytest.raises(CosaError) as caught:
            fetch([lying], [made.config()], tmp_path / f"cache{number}")
        assert caught.value.code == code
        assert caught.value.exit_class is ExitClass.UNTRUSTED
        path.write_bytes(original)


def test_another_package_under_a_name(made: Made, tmp_path: Path) -> None:
    config = made.config()
    (package,) = solved(config, tmp_path / "cache", PAIR).packages
    lying = dataclasses.replace(package, name="better")
    with pytest.raises(CosaError) as caught:
        fetch([lying], [config], tmp_path / "cache")
    assert caught.value.code == "fetch/repodata-mismatch"
    assert "is really extra-3:2-1.noarch" in caught.value.what


def test_repository_without_key(made: Made, tmp_path: Path) -> None:
    config = made.config(gpgkey=(), gpgcheck=False)
    found = solved(config, tmp_path / "cache", PAIR)
    with pytest.raises(CosaError) as caught:
        fetch(found.packages, [config], tmp_path / "cache")
    assert caught.value.code == "repos/no-key"
    assert "gpgcheck=0 is not honoured" in caught.value.why
    assert "gpgkey=" in caught.value.fix


def test_unsigned_local_rpm_is_the_users_own(made: Made, tmp_path: Path) -> None:
    local = tmp_path / "rpm"
    local.mkdir()
    shutil.copy(next(made.unsigned.glob("extra-*.rpm")), local)
    tree = tmp_path / "tree.yaml"
    tree.write_text("packages: [extra]\n")
    cache = tmp_path / "cache"
    loaded = load_treefile(tree, "x86_64")
    found = resolve(loaded, [made.config()], cache=cache, local_rpms=local)
    paths = fetch(found.packages, [made.config()], cache)
    assert paths["extra-3:2-1.noarch"].read_bytes() == next(local.iterdir()).read_bytes()
    assert [p.repo for p in found.local] == ["overrides"]


def test_damaged_local_rpm_is_named(made: Made, tmp_path: Path) -> None:
    (tmp_path / "rpm").mkdir()
    (tmp_path / "rpm/bad.rpm").write_bytes(b"no rpm at all")
    tree = tmp_path / "tree.yaml"
    tree.write_text("packages: [extra]\n")
    with pytest.raises(CosaError) as caught:
        resolve(
            load_treefile(tree, "x86_64"), [made.config()], cache=tmp_path / "cache",
            local_rpms=tmp_path / "rpm",
        )  # fmt: skip
    assert caught.value.code == "resolve/local-rpm"
    assert str(caught.value.where).endswith("bad.rpm")


def test_unsigned_metadata(made: Made, tmp_path: Path) -> None:
    config = made.config(repo_gpgcheck=True)
    solved(config, tmp_path / "cache", PAIR)
    repomd, signature = (made.root / f"repodata/repomd.xml{end}" for end in ("", ".asc"))
    for change, code in (
        (lambda: repomd.write_bytes(repomd.read_bytes() + b"\n"), "gpg/bad-signature"),
        (lambda: made.stranger.sign_file(repomd), "gpg/wrong-key"),
        (lambda: signature.write_text("nonsense"), "gpg/bad-signature"),
        (signature.unlink, "gpg/unsigned"),
    ):
        change()
        with pytest.raises(CosaError) as caught:
            solved(config, tmp_path / "cache", PAIR)
        assert caught.value.code == code
        assert caught.value.exit_class is ExitClass.UNTRUSTED


def test_download_resumes_and_works_offline(made: Made, web: Web, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    config = made.config(web.url, gpgkey=(f"{web.url}/key.asc",), repo_gpgcheck=True)
    shutil.copy(made.signer.public, made.root / "key.asc")
    found = solved(config, cache, PAIR)
    (package,) = found.packages
    # What a killed run leaves: half of the file, marked by librepo.
    partial = cache / f"rpms/partial/{package.sha256}.rpm"
    partial.parent.mkdir(parents=True)
    half = package.size // 2
    partial.write_bytes(made.rpm("extra").read_bytes()[:half])
    os.setxattr(partial, "user.librepo.downloadinprogress", b"1")
    paths = fetch(found.packages, [config], cache)
    assert fs.sha256_file(paths[package.nevra]) == package.sha256
    asked = [wanted for path, wanted in web.requests if path.endswith(".rpm")]
    assert asked == [f"bytes={half}-"]
    web.requests.clear()
    tree = load_treefile(cache / "tree.yaml", "x86_64")
    assert resolve(tree, [config], cache=cache, offline=True).packages == found.packages
    assert fetch(found.packages, [config], cache) == paths
    assert web.requests == []


def test_server_that_is_busy(made: Made, web: Web, tmp_path: Path) -> None:
    config = made.config(web.url)
    found = solved(config, tmp_path / "cache", PAIR)
    web.fail = 6
    assert fetch(found.packages, [config], tmp_path / "cache")
    assert len([path for path, _ in web.requests if path.endswith(".rpm")]) == 7


def test_connection_that_breaks(made: Made, web: Web, tmp_path: Path) -> None:
    config = made.config(web.url)
    found = solved(config, tmp_path / "cache", PAIR)
    web.cut = True
    with pytest.raises(CosaError) as caught:
        fetch(found.packages, [config], tmp_path / "cache")
    assert caught.value.code == "fetch/truncated"


def test_mirrors(made: Made, web: Web, tmp_path: Path) -> None:
    config = dataclasses.replace(
        made.config(), baseurl=("http://127.0.0.1:1", f"{web.url}/nothing", web.url)
    )
    found = solved(config, tmp_path / "cache", PAIR)
    assert fetch(found.packages, [config], tmp_path / "cache")


def test_metalink(made: Made, web: Web, tmp_path: Path) -> None:
    repomd = made.root / "repodata/repomd.xml"
    digest = fs.sha256_file(repomd)
    urls = "".join(
        f'<url protocol="http" type="http" preference="{rank}">{url}/repodata/repomd.xml</url>'
        for rank, url in ((100, f"{web.url}/nothing"), (90, web.url))
    )
    (made.root / "metalink").write_text(
        '<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/">'
        f'<files><file name="repomd.xml"><size>{repomd.stat().st_size}</size><verification>'
        f'<hash type="sha256">{digest}</hash></verification><resources>{urls}</resources>'
        "</file></files></metalink>"
    )
    config = dataclasses.replace(made.config(), baseurl=(), metalink=f"{web.url}/metalink")
    found = solved(config, tmp_path / "cache", PAIR)
    assert fetch(found.packages, [config], tmp_path / "cache")
    repomd.write_bytes(repomd.read_bytes().replace(b"<revision>", b"<revision>1"))
    with pytest.raises(CosaError) as caught:
        solved(config, tmp_path / "cache", PAIR)
    assert caught.value.code == "fetch/repodata-mismatch"
    assert caught.value.exit_class is ExitClass.UNTRUSTED


def test_key_replaced_on_the_network(made: Made, web: Web, tmp_path: Path) -> None:
    """A kept key is looked at again before a package is refused for it."""
    cache = tmp_path / "cache"
    config = made.config(web.url, gpgkey=(f"{web.url}/key.asc",))
    shutil.copy(made.stranger.public, made.root / "key.asc")
    found = solved(config, cache, PAIR)
    with pytest.raises(CosaError):
        fetch(found.packages, [config], cache)
    shutil.copy(made.signer.public, made.root / "key.asc")
    assert fetch(found.packages, [config], cache)


def test_network_that_is_not_there(made: Made, tmp_path: Path) -> None:
    config = made.config("http://127.0.0.1:1")
    with pytest.raises(CosaError) as caught:
        solved(config, tmp_path / "cache", PAIR)
    assert (caught.value.code, caught.value.exit_class) == ("fetch/failed", ExitClass.NETWORK)
    tree = load_treefile(tmp_path / "cache/tree.yaml", "x86_64")
    with pytest.raises(CosaError, match="nothing is known of repository 'test' yet"):
        resolve(tree, [config], cache=tmp_path / "cache", offline=True)


def test_everything_wrong_is_told_at_once(made: Made, tmp_path: Path) -> None:
    """Two bad packages, two findings; the good third is kept."""
    config = made.config()
    shutil.copytree(made.root, tmp_path / "more")
    both = resolve_all(made, tmp_path)
    spoil(made.rpm("app"), -100, b"\x01")
    made.rpm("base").unlink()
    with pytest.raises(CosaError) as caught:
        fetch(both, [config], tmp_path / "cache")
    assert {p.code for p in caught.value.problems} == {"fetch/bad-digest", "fetch/not-found"}
    (good,) = [p for p in both if p.name == "extra"]
    shutil.rmtree(made.root)
    assert fetch([good], [config], tmp_path / "cache")


def resolve_all(made: Made, tmp_path: Path) -> tuple:
    """All three packages, with somebody who provides what base needs."""
    from repomaker import Pkg, write_metadata

    url = write_metadata(tmp_path / "sh", [Pkg("sh", provides=("/bin/sh", "group(shadow)"))])
    tree = tmp_path / "all.yaml"
    tree.write_text("packages: [app, base, extra]\n")
    repos = [made.config(), RepoConfig("sh", baseurl=(url,))]
    found = resolve(load_treefile(tree, "x86_64"), repos, cache=tmp_path / "cache")
    return tuple(p for p in found.packages if p.repo == "test")


def test_repository_made_anew(made: Made, tmp_path: Path) -> None:
    """New metadata is seen at once, without a cache to clear."""
    config = made.config()
    solved(config, tmp_path / "cache", PAIR)
    made.rpm("extra").unlink()
    createrepo(made.root)
    with pytest.raises(CosaError, match="no package 'extra'"):
        solved(config, tmp_path / "cache", PAIR)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function mounting a file system of its own, of a size."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(argv, check=False, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not allowed here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("remote", [False, True])
def test_disk_that_is_too_small(
    made: Made, web: Web, small_disk: Callable[[str], Path], *, remote: bool
) -> None:
    config = made.config(web.url if remote else "")
    cache = small_disk("200k")
    found = solved(config, cache, PAIR)
    with pytest.raises(CosaError) as caught:
        fetch(found.packages, [config], cache)
    assert (caught.value.code, caught.value.exit_class) == ("env/disk-full", ExitClass.ENVIRONMENT)


def test_repository_on_another_file_system_is_copied(
    made: Made, small_disk: Callable[[str], Path]
) -> None:
    cache = small_disk("8m")
    found = solved(made.config(), cache, PAIR)
    (path,) = fetch(found.packages, [made.config()], cache).values()
    assert path.stat().st_nlink == 1
    assert path.read_bytes() == made.rpm("extra").read_bytes()
