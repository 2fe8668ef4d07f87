"""A small signed repository, built once; each test spoils a copy of its own."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fetchworld import Handler, Made, Server, Web
from repomaker import Signer, build_rpms, createrepo


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("repo")
    rpms = build_rpms(folder)
    shutil.copytree(folder / "rpms", folder / "unsigned")
    signer, stranger = Signer(folder / "gpg", "signer"), Signer(folder / "gpg2", "stranger")
    signer.sign_rpms(rpms)
    createrepo(folder / "rpms")
    signer.sign_file(folder / "rpms/repodata/repomd.xml")
    return Made(folder / "rpms", folder / "unsigned", signer, stranger)


@pytest.fixture
def made(built: Made, tmp_path: Path) -> Made:
    root = tmp_path / "repo"
    shutil.copytree(built.root, root)
    return Made(root, built.unsigned, built.signer, built.stranger)


@pytest.fixture
def web(made: Made) -> Iterator[Web]:
    web = Web(made.root)
    server = Server(("127.0.0.1", 0), functools.partial(Handler, web))
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield web
    server.shutdown()
    thread.join()
    server.server_close()
