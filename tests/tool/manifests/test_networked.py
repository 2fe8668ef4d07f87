"""manifests/fedora-coreos and manifests/okd: flattened, and solved against made-up mirrors.

The mirrors are made where the definitions' own .repo files look for them. With the shared
fixtures they hold the packages of a real lockfile of Fedora CoreOS; without, what the
definitions ask for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from distribution import UNWANTED, VIRTUAL, Distribution, newer, publish, unwanted

from cosa.compose.resolve import Resolution, resolve
from cosa.model import lockfile
from cosa.model.imagespec import load_image_spec
from cosa.model.lockfile import Lockfile, load_lockfile
from cosa.model.treefile import Treefile, load_treefile
from cosa.tools.repofile import read_repo_files

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
FEDORA, OKD = MANIFESTS / "fedora-coreos", MANIFESTS / "okd"


def locks_of(folder: Path, arch: str) -> list[Lockfile]:
    names = (
        f"manifest-lock.{arch}.json", "manifest-lock.overrides.yaml",
        f"manifest-lock.overrides.{arch}.yaml",
    )  # fmt: skip
    return [load_lockfile(folder / name) for name in names if (folder / name).exists()]


def solve(
    tree: Treefile, mirror: Path, cache: Path, locks: list[Lockfile], *, strict: bool = False
) -> Resolution:
    """Solve with the definition's .repo files; every address variable leads to `mirror`."""
    variables = dict.fromkeys(tree.repovars, mirror.as_uri())
    variables |= {"releasever": str(tree.releasever), "basearch": tree.basearch}
    repos = read_repo_files(tree.directory, variables)
    return resolve(tree, repos, cache=cache, lockfiles=locks, strict=strict)


def publish_fedora(mirror: Path, tree: Treefile, packages: dict[str, str], moved: set[str]) -> None:
    """Mirrors of Fedora: what `moved` on has a newer version in updates, the old one in the pool."""
    asked = frozenset(tree.packages)
    old = Distribution(packages, asked)
    new = Distribution({n: newer(e) if n in moved else e for n, e in packages.items()}, asked)
    arch, release = tree.basearch, tree.releasever
    publish(
        mirror / f"releases/{release}/Everything/{arch}/os",
        [*(old.rpm(n) for n in packages if n not in moved), *unwanted(arch, f".fc{release}")],
    )
    publish(mirror / f"updates/{release}/Everything/{arch}", [new.rpm(n) for n in sorted(moved)])
    publish(mirror / f"latest/{arch}", [old.rpm(n) for n in sorted(moved)])


@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "ppc64le", "s390x"])
@pytest.mark.parametrize("folder", [FEDORA, OKD], ids=lambda folder: folder.name)
def test_whole(folder: Path, arch: str) -> None:
    tree = load_treefile(folder / "manifest.yaml", arch)
    flat = json.loads(tree.to_flat_json())
    assert tree.name
    assert not tree.machineid_compat
    assert {"kernel", "systemd", "rpm-ostree", "ignition", "podman", "bootupd"} <= {
        *flat["packages"]
    }
    assert "${" not in json.dumps([flat["ref"], flat["rojig"], flat["automatic-version-prefix"]])
    assert locks_of(folder, arch)
    assert load_image_spec(folder / "image.yaml").size >= 10
    repos = {repo.id for repo in read_repo_files(folder, {})}
    assert {*(tree.repos or ()), *tree.lockfile_repos} <= repos
    wanted = {name.removeprefix("overlay/") for name in tree.ostree_layers}
    assert wanted == {path.name for path in (folder / "overlay.d").iterdir()} - optional(tree)
    kubelet = {"cri-o", "cri-tools", "openshift-kubelet", "openshift-clients", "NetworkManager-ovs"}
    assert kubelet & set(tree.packages) == (kubelet if folder == OKD else set())


def optional(tree: Treefile) -> set[str]:
    """Overlays of other releases."""
    return {"08composefs"} if str(tree.releasever) == "40" else set()


def test_release_decides_what_is_in(tmp_path: Path) -> None:
    """The next release needs no other file than the one that names it."""
    top = tmp_path / "manifest.yaml"
    text = (FEDORA / "manifest.yaml").read_text().replace("releasever: 40", "releasever: 42")
    top.write_text(text.replace("manifests/fedora", f"{FEDORA}/manifests/fedora"))
    tree = load_treefile(top, "x86_64")
    assert "dnf5" in tree.packages
    assert "dnf5" not in tree.exclude_packages
    assert "overlay/08composefs" in tree.ostree_layers
    assert "overlay/08sysroot" not in tree.ostree_layers


def test_fedora_as_locked(shared_fixture: Callable[[str], Path], tmp_path: Path) -> None:
    """Solving with a real lock gives that lock, although newer versions are on the mirrors."""
    lock = load_lockfile(shared_fixture("streams/manifest-lock.testing-devel.x86_64.json"))
    overrides = load_lockfile(shared_fixture("streams/manifest-lock.overrides.testing-devel.yaml"))
    tree = load_treefile(FEDORA / "manifest.yaml", "x86_64")
    packages = {name: str(each.evra) for name, each in lock.locked.items()}
    for name, each in overrides.locked.items():
        packages[name] = f"{each.evr}.{packages[name].rpartition('.')[2]}"
    # Packages of one source move together.
    versions = sorted({evra.rpartition(".")[0] for evra in packages.values()})
    moved = {n for n, evra in packages.items() if evra.rpartition(".")[0] in versions[::5]}
    publish_fedora(tmp_path / "mirror", tree, packages, moved)
    found = solve(tree, tmp_path / "mirror", tmp_path / "cache", [lock, overrides], strict=True)
    assert {package.name: package.evra for package in found.packages} == {
        name: evra.removeprefix("0:") for name, evra in packages.items()
    }
    assert found.absent_locks == ()
    assert len(found.packages) > 400
    assert {package.repo for package in found.packages} == {"fedora", "fedora-coreos-pool"}
    # What came out is a lock that gives the same again.
    again = solve(tree, tmp_path / "mirror", tmp_path / "cache", [found.lockfile(0)], strict=True)
    assert again.packages == found.packages
    # Without a lock, what moved on is taken, and the pool is not looked at.
    free = solve(tree, tmp_path / "mirror", tmp_path / "cache", [])
    assert {p.name for p in free.packages if p.repo == "fedora-updates"} == moved
    assert not {p.name for p in free.packages} & set(UNWANTED)


def asked(tree: Treefile) -> dict[str, str]:
    """What a treefile asks for, at its own locks' versions or made-up ones."""
    locks = lockfile.merge(locks_of(tree.directory, tree.basearch)).locked
    names = {VIRTUAL.get(name.split()[0], name.split()[0]) for name in tree.packages}
    names |= {*locks, "glibc", "bash", "filesystem"}
    names |= {name for group in tree.repo_packages for name in group.packages}
    found = {}
    for name in names:
        lock = locks.get(name)
        evra = f"3.5.1-1.test.{tree.basearch}"
        if lock:
            evra = lock.evra or f"{lock.evr}.{tree.basearch}"
        found[name] = evra
    return found


def test_fedora_by_its_own_lock(tmp_path: Path) -> None:
    """The boot chain stays at its locked versions while everything else moves on."""
    tree = load_treefile(FEDORA / "manifest.yaml", "x86_64")
    packages = asked(tree)
    publish_fedora(tmp_path / "mirror", tree, packages, set(packages))
    locks = locks_of(FEDORA, "x86_64")
    found = solve(tree, tmp_path / "mirror", tmp_path / "cache", locks)
    assert found.absent_locks == ()
    locked = set(lockfile.merge(locks).locked)
    assert {"kernel", "systemd", "ostree", "ignition", "shim-x64"} <= locked
    for package in found.packages:
        assert (package.repo == "fedora-coreos-pool") == (package.name in locked), package
    assert {p.name for p in found.packages} == set(packages)


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_okd(tmp_path: Path, arch: str) -> None:
    tree = load_treefile(OKD / "manifest.yaml", arch)
    packages = asked(tree)
    dist = Distribution(packages, frozenset(name.split()[0] for name in tree.packages))
    okd = {"cri-o", "cri-tools", "conmon-rs", "openshift-kubelet", "openshift-clients"}
    switch = {"openvswitch3.5"}
    mirror = tmp_path / "mirror"
    base = sorted(set(packages) - okd - switch)
    next_ = Distribution({n: newer(e) for n, e in packages.items()}, dist.asked)
    publish(mirror / f"10-stream/BaseOS/{arch}/os", [dist.rpm(n) for n in base])
    # Newer kernel and runtime where they must not be taken from.
    publish(mirror / f"10-stream/AppStream/{arch}/os", [
        *unwanted(arch, ".el10"), next_.rpm("cri-o"),
    ])  # fmt: skip
    publish(mirror / arch, [
        *(dist.rpm(n) for n in sorted(okd)), next_.rpm("kernel"),
    ])  # fmt: skip
    publish(mirror / f"10-stream/{arch}", [dist.rpm("openvswitch3.5")])
    found = solve(tree, mirror, tmp_path / "cache", locks_of(OKD, arch))
    places = {package.name: package.repo for package in found.packages}
    assert set(places) == set(packages)
    assert {name for name, repo in places.items() if repo == "okd"} == okd
    assert places["kernel"] == "c10s-baseos"
    assert places["openvswitch3.5"] == "c10s-openvswitch"
    assert (arch == "x86_64") == ("open-vm-tools" in places)
