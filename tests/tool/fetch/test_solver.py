"""Dependency solving over metadata written by hand: preferences, locks, and how failures read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from repomaker import Pkg, build_rpms, write_metadata

from cosa.compose.resolve import Resolution, resolve
from cosa.core import events
from cosa.core.errors import CosaError
from cosa.model.lockfile import LockedPackage, Lockfile
from cosa.model.lockfile_overrides import load_overrides
from cosa.model.treefile import load_treefile
from cosa.tools.repofile import RepoConfig

pytestmark = pytest.mark.tool

BASIC = [
    Pkg("app", requires=("lib >= 1", "(tool or other-tool)"), recommends=("nice",)),
    Pkg("lib", "1:1.5-1"),
    Pkg("lib", "1:2.0-1"),
    Pkg("tool", files=("/usr/bin/tool", "/usr/share/tool/data")),
    Pkg("other-tool"),
    Pkg("nice"),
    Pkg("wants-path", requires=("/usr/bin/tool",)),
    Pkg("wants-odd-path", requires=("/usr/share/tool/data",)),
    Pkg("arched", "1-1", "x86_64"),
    Pkg("arched", "2-1", "aarch64"),
    Pkg("provider", provides=("virtual = 3",)),
]

type Solve = Callable[..., Resolution]


@pytest.fixture
def solve(tmp_path: Path) -> Solve:
    def run(
        treefile: str,
        repos: dict[str, Sequence[Pkg]] | None = None,
        *,
        options: dict[str, dict] | None = None,
        lock: dict[str, LockedPackage] | None = None,
        locks: Sequence[Lockfile] = (),
        **kw,
    ) -> Resolution:
        configs = []
        for name, packages in (repos or {"main": BASIC}).items():
            url = write_metadata(tmp_path / name, packages)
            configs.append(RepoConfig(name, baseurl=(url,), **(options or {}).get(name, {})))
        path = tmp_path / "tree.yaml"
        path.write_text(treefile)
        locks = [Lockfile(packages=lock)] if lock is not None else locks
        tree = load_treefile(path, "x86_64")
        return resolve(tree, configs, cache=tmp_path / "cache", lockfiles=locks, **kw)

    return run


def names(found: Resolution) -> list[str]:
    return [package.name for package in found.packages]


def evras(found: Resolution) -> dict[str, str]:
    return {package.name: package.evra for package in found.packages}


@pytest.mark.parametrize(
    ("treefile", "expected"),
    [
        ("packages: [app]\nrecommends: false", ["app", "lib", "other-tool"]),
        ("packages: [app]", ["app", "lib", "nice", "other-tool"]),
        ("packages: [app, tool]\nrecommends: false", ["app", "lib", "tool"]),
        ("packages: [wants-path]", ["tool", "wants-path"]),
        ("packages: [wants-odd-path]", ["tool", "wants-odd-path"]),
        ("packages: [/usr/share/tool/data]", ["tool"]),
        ("packages: [virtual]", ["provider"]),
        ("packages: [app]\nexclude-packages: [nice]", ["app", "lib", "other-tool"]),
        ("packages: [lib.noarch, arched]", ["arched", "lib"]),
    ],
)
def test_closure(solve: Solve, treefile: str, expected: list[str]) -> None:
    assert names(solve(treefile)) == expected


def test_package_says_everything(solve: Solve) -> None:
    (lib,) = solve("packages: [lib]").packages
    assert (lib.nevra, lib.epoch, lib.repo) == ("lib-1:2.0-1.noarch", "1", "main")
    assert lib.location == "Packages/lib-2.0-1.noarch.rpm"
    assert lib.digest == f"sha256:{BASIC[2].digest}"
    assert (lib.size, lib.sourcerpm) == (100, "lib-src-1-1.src.rpm")


@pytest.mark.parametrize(
    ("spec", "evra"),
    [
        ("'lib < 1:2'", "1:1.5-1.noarch"),
        ("'lib >= 1:1'", "1:2.0-1.noarch"),
        ("'lib = 1:1.5'", "1:1.5-1.noarch"),
        ("lib-1:1.5-1", "1:1.5-1.noarch"),
        ("arched", "1-1.x86_64"),
    ],
)
def test_version_and_architecture(solve: Solve, spec: str, evra: str) -> None:
    found = solve(f'packages: ["{spec}"]')
    assert [p.evra for p in found.packages] == [evra]


def test_repositories(solve: Solve) -> None:
    two = {"old": [Pkg("a", "1-1"), Pkg("b", "1-1")], "new": [Pkg("a", "2-1"), Pkg("b", "2-1")]}
    tree = "packages: [a, b]\n"
    assert evras(solve(tree, two)) == {"a": "2-1.noarch", "b": "2-1.noarch"}
    preferred = solve(tree, two, options={"old": {"priority": 10}})
    assert evras(preferred) == {"a": "1-1.noarch", "b": "1-1.noarch"}
    chosen = solve(f"{tree}repo-packages: [{{repo: old, packages: [b]}}]", two)
    assert evras(chosen) == {"a": "2-1.noarch", "b": "1-1.noarch"}
    only = solve(f"{tree}repos: [old]", two)
    assert evras(only) == {"a": "1-1.noarch", "b": "1-1.noarch"}
    assert only.rpmmd_repos == (("old", 1000),)
    filtered = solve(tree, two, options={"new": {"excludepkgs": ("b*",)}})
    assert evras(filtered) == {"a": "2-1.noarch", "b": "1-1.noarch"}


def test_locks(solve: Solve) -> None:
    warned: list[str] = []
    lock = {"lib": LockedPackage(evr="1:1.5-1"), "gone": LockedPackage(evra="9-9.noarch")}
    with events.sink(lambda e: warned.append(e.text) if e.kind == "warn" else None):
        found = solve("packages: [app]\nrecommends: false", lock=lock)
    assert evras(found)["lib"] == "1:1.5-1.noarch"
    assert found.absent_locks == ("gone",)
    assert warned == ["gone is locked to 9-9.noarch, which no repository offers"]


def test_strict_lock_hides_the_rest(solve: Solve) -> None:
    with pytest.raises(CosaError) as caught:
        solve("packages: [app]", lock={"app": LockedPackage(evr="1-1")}, strict=True)
    assert "not in the lockfile (strict)" in caught.value.why
    with pytest.raises(CosaError, match="strict mode needs a lockfile"):
        solve("packages: [app]", strict=True)


def test_locked_digest_must_match(solve: Solve) -> None:
    good = LockedPackage(evra="1-1.noarch", digest=f"sha256:{BASIC[3].digest}")
    assert names(solve("packages: [tool]", lock={"tool": good})) == ["tool"]
    bad = LockedPackage(evra="1-1.noarch", digest=f"sha256:{'0' * 64}")
    with pytest.raises(CosaError) as caught:
        solve("packages: [tool]", lock={"tool": bad})
    assert caught.value.code == "resolve/hidden"
    assert "this version with the digest sha256:000" in caught.value.why


def test_a_lock_in_the_way_is_named_with_its_place(solve: Solve, tmp_path: Path) -> None:
    path = tmp_path / "manifest-lock.overrides.yaml"
    path.write_text(
        "packages:\n  lib:\n    evr: 1:9-9\n"
        "    metadata: {type: pin, reason: 'https://example.org/1'}\n"
    )
    locks = [load_overrides(path)]
    with pytest.raises(CosaError) as caught:
        solve("packages: [lib]", locks=locks)
    assert f"the lockfile wants 1:9-9 ({path}:2:3)" in caught.value.why
    with pytest.raises(CosaError) as caught:
        solve("packages: [app]", locks=locks)
    assert f"({path}:2:3)" in "".join(problem.why for problem in caught.value.problems)
    seen: list[str] = []
    with events.sink(lambda event: seen.append(event.text)):
        solve("packages: [nice]", locks=locks)
    assert f"{path}:2:3: lib is locked to 1:9-9, which no repository offers" in seen


def test_lockfile_repos_supply_locked_packages_only(solve: Solve) -> None:
    two = {"main": [Pkg("a", "1-1"), Pkg("b", "1-1")], "pool": [Pkg("a", "2-1"), Pkg("b", "2-1")]}
    tree = "packages: [a, b]\nrepos: [main]\nlockfile-repos: [pool]"
    assert evras(solve(tree, two)) == {"a": "1-1.noarch", "b": "1-1.noarch"}
    found = solve(tree, two, lock={"a": LockedPackage(evra="2-1.noarch")})
    assert evras(found) == {"a": "2-1.noarch", "b": "1-1.noarch"}


def test_local_rpms_beat_locks(solve: Solve, tmp_path: Path) -> None:
    build_rpms(tmp_path / "b")
    main = [Pkg("app", "5-1"), Pkg("base", "5-1"), Pkg("sh", provides=("/bin/sh", "group(shadow)"))]
    lock = {"app": LockedPackage(evr="5-1"), "base": LockedPackage(evr="5-1")}
    found = solve(
        "packages: [app, base]", {"main": main}, lock=lock, local_rpms=tmp_path / "b/rpms"
    )
    assert evras(found) == {"app": "1-1.noarch", "base": "1-1.noarch", "sh": "1-1.noarch"}
    assert [p.name for p in found.local] == ["app", "base"]
    assert found.local[0].location.startswith("file:///")
    assert found.lockfile(0).locked["app"].metadata["location"] == "app-1-1.noarch.rpm"


def test_same_input_same_result(solve: Solve) -> None:
    tree = "packages: [app, wants-path, provider]"
    assert solve(tree).lockfile(0).to_json() == solve(tree).lockfile(0).to_json()


def test_all_missing_names_at_once(solve: Solve) -> None:
    with pytest.raises(CosaError) as caught:
        solve("packages: [aap, app, \"'lib >= 1:3'\", tooll, nowhere]\nexclude-packages: [nice]\n")
    found = {problem.what: problem for problem in caught.value.problems}
    assert list(found) == [
        f"no package '{name}' in any repository"
        for name in ("aap", "lib >= 1:3", "nowhere", "tooll")
    ]
    assert found["no package 'tooll' in any repository"].fix.startswith("did you mean tool")
    assert found["no package 'lib >= 1:3' in any repository"].why == "there is 1:1.5-1, 1:2.0-1"
    assert all(problem.where.path.endswith("tree.yaml") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("packages", "treefile", "code", "what", "why"),
    [
        (
            [Pkg("top", requires=("mid",)), Pkg("mid", requires=("x.so >= 2",)),
             Pkg("x", provides=("x.so = 1",))],
            "packages: [top]",
            "resolve/nothing-provides",
            "mid-1-1.noarch needs x.so >= 2, which nothing provides",
            ["there is only x-1-1.noarch", "top needs mid-1-1.noarch; top is asked for"],
        ),
        (
            [Pkg("a", conflicts=("b",)), Pkg("b"), Pkg("c", requires=("b",))],
            "packages: [a, c]",
            "resolve/conflict",
            "a-1-1.noarch conflicts with b-1-1.noarch",
            ["a-1-1.noarch is asked for in the treefile", "c needs b-1-1.noarch; c is asked for"],
        ),
        (
            [Pkg("a", requires=("b",)), Pkg("b")],
            "packages: [a]\nexclude-packages: [b]",
            "resolve/nothing-provides",
            "a-1-1.noarch needs b, and every package with it is hidden",
            ["b-1-1.noarch has it, but exclude-packages hides it"],
        ),
        (
            [Pkg("a", requires=("/no/such/file",))],
            "packages: [a]",
            "resolve/nothing-provides",
            "a-1-1.noarch needs /no/such/file, which nothing provides",
            [],
        ),
        (
            [Pkg("a"), Pkg("b", obsoletes=("a",))],
            "packages: [a, b]",
            "resolve/conflict",
            "b-1-1.noarch replaces (obsoletes) a-1-1.noarch",
            [],
        ),
    ],
)  # fmt: skip
def test_explains_itself(
    solve: Solve, packages: list[Pkg], treefile: str, code: str, what: str, why: list[str]
) -> None:
    with pytest.raises(CosaError) as caught:
        solve(treefile, {"main": packages})
    assert (caught.value.code, caught.value.what) == (code, what)
    for line in why:
        assert line in caught.value.why


def test_several_problems_are_all_told(solve: Solve) -> None:
    broken = [Pkg("a", requires=("gone1",)), Pkg("b", requires=("gone2",)), Pkg("c")]
    with pytest.raises(CosaError) as caught:
        solve("packages: [a, b, c]", {"main": broken})
    told = " ".join(problem.what for problem in caught.value.problems)
    assert "needs gone1" in told
    assert "needs gone2" in told


@pytest.mark.parametrize(
    ("treefile", "code", "text"),
    [
        ("packages: [app]\nrepos: [mian]", "repos/unknown", "did you mean main?"),
        (
            "packages: [app]\nrepo-packages: [{repo: no, packages: [app]}]",
            "resolve/repo-packages",
            "",
        ),
        (
            "packages: [app]\nrepo-packages: [{repo: main, packages: [zzz]}]",
            "resolve/repo-packages",
            "",
        ),
        ("packages: [app]\nexclude-packages: [app]", "resolve/hidden", "exclude-packages"),
    ],
)
def test_contradicting_treefiles(solve: Solve, treefile: str, code: str, text: str) -> None:
    with pytest.raises(CosaError) as caught:
        solve(treefile)
    assert caught.value.code == code
    assert text in caught.value.fix


def test_metadata_that_does_not_match(solve: Solve, tmp_path: Path) -> None:
    solve("packages: [app]")
    (tmp_path / "main/repodata/primary.xml.gz").write_bytes(b"something else")
    repomd = tmp_path / "main/repodata/repomd.xml"
    text = repomd.read_text()
    config = [RepoConfig("main", baseurl=((tmp_path / "main").as_uri(),))]
    tree = load_treefile(tmp_path / "tree.yaml", "x86_64")
    # What was parsed before stays good; a new cache has to read the file.
    resolve(tree, config, cache=tmp_path / "cache")
    with pytest.raises(CosaError) as caught:
        resolve(tree, config, cache=tmp_path / "cache2")
    assert caught.value.code == "fetch/repodata-mismatch"
    for spoiled in ("", "<a>", text.replace('href="repodata', 'href="../../etc')):
        repomd.write_text(spoiled)
        with pytest.raises(CosaError) as caught:
            resolve(tree, config, cache=tmp_path / "cache2")
        assert caught.value.code in ("fetch/repodata-mismatch", "untrusted/path")
