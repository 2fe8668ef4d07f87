"""`.repo` files: dnf's dialect and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosa.core import events
from cosa.core.errors import CosaError
from cosa.tools.repofile import RepoConfig, read_repo_files, select

FEDORA = """\
# comment
[main]
gpgcheck=0
[fedora]
name=Fedora $releasever - $basearch
metalink=https://mirrors.example/metalink?repo=fedora-$releasever&arch=${basearch}
enabled = 1
gpgkey=file:///etc/pki/KEY-$releasever
       keys/other.asc
priority: 10
excludepkgs=foo* bar,baz
countme=1
[updates]
baseurl=https://one.example/u/
  https://two.example/u
enabled=no
"""


def write(folder: Path, text: str, name: str = "a.repo") -> Path:
    (folder / name).write_text(text)
    return folder


def test_reads_dnfs_dialect(tmp_path: Path) -> None:
    variables = {"releasever": "40", "basearch": "x86_64"}
    fedora, updates = read_repo_files(write(tmp_path, FEDORA), variables)
    assert fedora.metalink.endswith("repo=fedora-40&arch=x86_64")
    assert fedora.gpgkey == ("file:///etc/pki/KEY-40", str(tmp_path / "keys/other.asc"))
    assert (fedora.priority, fedora.cost, fedora.gpgcheck) == (10, 1000, True)
    assert fedora.excludepkgs == ("foo*", "bar", "baz")
    assert str(fedora.where).endswith("a.repo:4:1")
    assert updates.baseurl == ("https://one.example/u", "https://two.example/u")
    assert not updates.enabled
    assert [r.id for r in select([fedora, updates], None)] == ["fedora"]
    assert [r.id for r in select([fedora, updates], ["updates", "fedora"])] == ["updates", "fedora"]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = "[a]\nbaseurl=/x\ngpgcheck=maybe\npriority=high\njunk\n[a]\nbaseurl=/y\n[b c]\nx=1\n"
    with pytest.raises(CosaError) as caught:
        read_repo_files(write(tmp_path, f"loose=1\n{text}"), {})
    found = [(p.code, p.where.line) for p in caught.value.problems]
    assert found == [
        ("repos/syntax", 1),
        ("repos/wrong-value", 4),
        ("repos/wrong-value", 5),
        ("repos/syntax", 6),
        ("repos/duplicate", 7),
        ("repos/bad-id", 9),
    ]


def test_undefined_variable_matters_when_the_repository_is_used(tmp_path: Path) -> None:
    text = "[a]\nbaseurl=https://x/$nobody\n[b]\nbaseurl=/b\n[c]\nname=c\n"
    repos = read_repo_files(write(tmp_path, text), {})
    assert [r.id for r in select(repos, ["b"])] == ["b"]
    with pytest.raises(CosaError) as caught:
        select(repos, ["a", "b", "c", "d"])
    assert {p.code for p in caught.value.problems} == {
        "repos/undefined-variable", "repos/no-address", "repos/unknown",
    }  # fmt: skip
    assert any("$nobody" in p.what for p in caught.value.problems)


def test_unknown_option_warns_with_a_suggestion(tmp_path: Path) -> None:
    said: list[str] = []
    with events.sink(lambda event: said.append(event.text)):
        read_repo_files(write(tmp_path, "[a]\nbasurl=/x\n"), {})
    assert said == [
        f"{tmp_path}/a.repo:2: unknown option 'basurl' is ignored; did you mean 'baseurl'?"
    ]


@pytest.mark.parametrize(
    ("repo", "folder"),
    [
        (RepoConfig("a", baseurl=("file:///srv/my%20repo",)), "/srv/my repo"),
        (RepoConfig("a", baseurl=("/srv/repo",)), "/srv/repo"),
        (RepoConfig("a", baseurl=("https://x/repo",)), None),
        (RepoConfig("a", baseurl=("/one", "/two")), None),
    ],
)
def test_folder_on_this_machine(repo: RepoConfig, folder: str | None) -> None:
    assert repo.folder == (Path(folder) if folder else None)


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(RepoConfig("a", baseurl=("https://x",), password="secret"))
