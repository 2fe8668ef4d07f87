"""Registries are found in the machine's configuration, never in ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosa.core import run
from cosa.tools import reach


def answers(monkeypatch: pytest.MonkeyPatch, **by_program: str) -> None:
    """Programs answer with the given text; others are missing."""

    def fake(argv: list[str], **_: object) -> run.Result:
        return run.Result(tuple(argv), 0, by_program.get(argv[0].replace("-", "_"), ""), "")

    monkeypatch.setattr(run, "run", fake)


def test_apt_suites_once_each_without_credentials(monkeypatch: pytest.MonkeyPatch):
    answers(
        monkeypatch,
        apt_get="'http://user:secret@mirror/debian/dists/trixie/InRelease' mirror_InRelease 0 \n"
        "'http://mirror/security/dists/x/InRelease' other 0 \n'cdrom://disc/InRelease' c 0\n",
    )
    found = reach._apt()
    assert [one.name for one in found] == ["mirror/debian/dists/trixie", "mirror/security/dists/x"]


def test_pip_index_of_the_configuration(monkeypatch: pytest.MonkeyPatch):
    answers(
        monkeypatch,
        python3="global.cert='/ca.pem'\nglobal.index-url='https://me:pw@index/simple/'\n"
        ":env:.extra-index-url='https://more/simple'\n",
    )
    found = reach._pip()
    assert [(one.name, one.url) for one in found] == [
        ("index/simple", "https://me:pw@index/simple/invoke/"),
        ("more/simple", "https://more/simple/invoke/"),
    ]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("https://proxy.example,direct", ["proxy.example"]),
        ("https://a.example/go|https://b.example,off", ["a.example/go", "b.example"]),
        ("off", []),
    ],
)
def test_go_proxies(monkeypatch: pytest.MonkeyPatch, value: str, names: list[str]):
    monkeypatch.setenv("GOPROXY", value)
    assert [one.name for one in reach._go()] == names


def test_container_base_of_the_containerfile(tmp_path: Path):
    containerfile = tmp_path / "Containerfile"
    containerfile.write_text("ARG BASE=registry.example/os:1\nARG FAMILY=os\n")
    assert "registry.example" in [one.name for one in reach._containers(containerfile)]
    containerfile.write_text("ARG BASE=debian:12.4\n")  # a short name has no host to ask
    assert "debian:12.4" not in [one.name for one in reach._containers(containerfile)]


@pytest.mark.parametrize(
    ("kind", "status", "code", "trouble"),
    [
        ("apt", 0, "200", ""),
        ("apt", 0, "206", ""),
        ("apt", 0, "401", "HTTP status 401"),
        ("container", 0, "401", ""),  # wants a login, so it is there
        ("pip", 0, "503", "HTTP status 503"),
        ("go", 6, "000", "Could not resolve host: x"),
    ],
)
def test_what_counts_as_an_answer(
    monkeypatch: pytest.MonkeyPatch, kind: str, status: int, code: str, trouble: str
):
    words = "curl: (6) Could not resolve host: x" if status else ""
    monkeypatch.setattr(run, "run", lambda argv, **_: run.Result(tuple(argv), status, code, words))
    assert reach.ask(reach.Registry(kind, "x", "https://x/")).trouble == trouble
