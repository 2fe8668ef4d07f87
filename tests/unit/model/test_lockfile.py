"""Lockfiles and packages: upstream's format both ways, merging, what a lock accepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosa.core.errors import CosaError
from cosa.model.lockfile import LockedPackage, Lockfile, from_packages, load_lockfile, merge
from cosa.model.package import Package, split_evr, split_evra

GLIBC = Package(
    "glibc", "0", "2.39", "6.fc40", "x86_64", "fedora", "g/glibc.rpm", f"sha256:{'a' * 64}", 7,
    "glibc-2.39-6.fc40.src.rpm",
)  # fmt: skip
PODMAN = Package(
    "podman", "5", "5.4", "1", "x86_64", "fedora", "p/podman.rpm", f"sha256:{'b' * 64}"
)


def test_package_names() -> None:
    assert (GLIBC.evr, GLIBC.evra) == ("2.39-6.fc40", "2.39-6.fc40.x86_64")
    assert PODMAN.nevra == "podman-5:5.4-1.x86_64"
    assert GLIBC.source_name == "glibc"
    assert PODMAN.source_name == "podman"
    assert GLIBC.sha256 == "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1:2.0-3", ("1", "2.0", "3")),
        ("2.0-3", ("0", "2.0", "3")),
        ("2.0", ("0", "2.0", "")),
        ("0:2.0-3~rc1", ("0", "2.0", "3~rc1")),
    ],
)
def test_split_evr(text: str, parts: tuple[str, str, str]) -> None:
    assert split_evr(text) == parts


def test_split_evra_wants_all_parts() -> None:
    assert split_evra("1:2-3.el9.x86_64") == ("1", "2", "3.el9", "x86_64")
    for bad in ("1.0", "1.0-1", "-1.x86_64", ".x86_64", ""):
        with pytest.raises(ValueError, match="is not of the form"):
            split_evra(bad)


@pytest.mark.parametrize(
    ("lock", "evr", "arch", "fits"),
    [
        (LockedPackage(evra="2.39-6.fc40.x86_64"), "2.39-6.fc40", "x86_64", True),
        (LockedPackage(evra="2.39-6.fc40.x86_64"), "2.39-6.fc40", "i686", False),
        (LockedPackage(evra="0:2.39-6.fc40.x86_64"), "2.39-6.fc40", "x86_64", True),
        (LockedPackage(evr="2.39-6.fc40"), "2.39-6.fc40", "i686", True),
        (LockedPackage(evr="2.39-7.fc40"), "2.39-6.fc40", "x86_64", False),
    ],
)
def test_what_a_lock_accepts(lock: LockedPackage, evr: str, arch: str, *, fits: bool) -> None:
    assert lock.fits(evr, arch) is fits


def test_written_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "manifest-lock.generated.x86_64.json"
    from_packages([PODMAN, GLIBC], 1_700_000_000, {"fedora": 1_600_000_000}).write(path)
    found = load_lockfile(path)
    assert list(found.locked) == ["glibc", "podman"]
    entry = found.locked["glibc"]
    assert (entry.evra, entry.digest) == (GLIBC.evra, GLIBC.digest)
    # sourcerpm is upstream's; the others are what a download needs.
    assert entry.metadata == {
        "sourcerpm": "glibc", "size": 7, "location": "g/glibc.rpm", "repo": "fedora",
    }  # fmt: skip
    assert found.generated_at == 1_700_000_000
    text = path.read_text()
    assert '"generated": "2020-09-13T12:26:40Z"' in text
    # Fields upstream's reader refuses may not appear beside evra, digest and metadata.
    assert set(found.locked["podman"].model_dump(exclude_none=True)) == {
        "evra",
        "digest",
        "metadata",
    }


def test_multilib_is_locked_by_version() -> None:
    other = Package("glibc", "0", "2.39", "6.fc40", "i686", digest=f"sha256:{'c' * 64}")
    entry = from_packages([GLIBC, other], 0, {}).locked["glibc"]
    assert (entry.evr, entry.evra, entry.digest) == ("2.39-6.fc40", None, None)
    assert set(entry.metadata["arches"]) == {"i686", "x86_64"}
    newer = Package("glibc", "0", "2.40", "1", "i686")
    with pytest.raises(CosaError, match="different versions"):
        from_packages([GLIBC, newer], 0, {})


def test_later_file_wins_per_name(tmp_path: Path) -> None:
    base = from_packages([GLIBC, PODMAN], 1_700_000_000, {})
    overrides = tmp_path / "manifest-lock.overrides.yaml"
    overrides.write_text(
        "# why\npackages:\n  podman:\n    evr: 5:5.5-1\n    metadata:\n      type: pin\n"
        "      reason: https://example.org/1\n"
    )
    found = merge([base, load_lockfile(overrides)])
    assert found.locked["podman"].wanted_evr == "5:5.5-1"
    assert found.locked["podman"].kind == "pin"
    assert found.locked["glibc"].evra == GLIBC.evra
    assert found.generated_at == 1_700_000_000


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("a.yaml", "packages:\n  a:\n    evra: 1-1.x86_64\n    evar: 2\n", 4, "evar"),
        ("a.yaml", "packages:\n  a:\n    evra: 1-1\n", 3, "EPOCH"),
        ("a.yaml", "packages:\n  a: {}\n", 2, "evra"),
        ("a.json", '{"packages": {},\n "unknown-field": true}', 2, "unknown-field"),
        ("a.json", '{"packages": {"a": {"evr": "1-1",\n "digest": "md5:1"}}}', 2, "digest"),
        ("a.json", "{}", 1, "packages"),
    ],
)
def test_mistakes_are_shown_where_they_are(
    tmp_path: Path, name: str, text: str, line: int, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CosaError) as caught:
        load_lockfile(tmp_path / name)
    assert caught.value.code.startswith("lockfile/")
    assert caught.value.where.line == line
    assert words in caught.value.what + caught.value.why


def test_upstreams_own_files(shared_fixture: Callable[[str], Path]) -> None:
    path = shared_fixture("streams/manifest-lock.testing-devel.x86_64.json")
    assert load_lockfile(path).to_json() == path.read_text()
    overrides = load_lockfile(shared_fixture("streams/manifest-lock.overrides.testing-devel.yaml"))
    assert {entry.kind for entry in overrides.locked.values()} == {"fast-track"}


def test_source_packages_alone_are_a_lockfile() -> None:
    assert Lockfile(source_packages={"a": "1-1"}).locked == {}
