"""From an older image to the build under test, and back: `cosa kola run-upgrade`.

The machine's image is the older one, `build` the new one. Its commit is served
over HTTP from an archive repository, as an update server would.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cosa.core import run
from cosa.kola.image import Build
from cosa.kola.machine import Machine

REF = "kola/upgrade"
# /sysroot is read-only outside of ostree's own work, so what adds a remote gets a namespace.
_UPDATE = f"""
unshare -m sh -eu -c '
  mount -o remount,rw /sysroot
  ostree remote add --if-not-exists --no-gpg-verify kola "$1"
  ostree pull kola {REF}
' sh "$1"
ostree admin deploy --retain kola:{REF}
"""


@pytest.fixture
def server(build: Build, tmp_path: Path) -> Iterator[str]:
    """The address of a repository that has the new build's commit, as the guest knows it."""
    repo = tmp_path / "repo"
    source = Path(os.environ.get("COSA_KOLA_REPO") or build.folder.parents[2] / "tmp/repo")
    commit = str(build.meta["ostree-commit"])
    run.run(["ostree", f"--repo={repo}", "init", "--mode=archive"])
    run.run(["ostree", f"--repo={repo}", "pull-local", str(source), commit], timeout=900)
    run.run(["ostree", f"--repo={repo}", "refs", f"--create={REF}", commit])

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_words: Any) -> None:
            pass

    handler = partial(Silent, directory=str(repo))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://10.0.2.2:{web.server_address[1]}"
        web.shutdown()


@pytest.mark.kola(network=True)
def test_basic(boot: Callable[..., Machine], build: Build, server: str) -> None:
    """The update is pulled, deployed and booted; state is kept; the old system is a reboot away."""
    guest = boot()
    old = guest.out("sudo ostree admin status | sed -n 's/^\\* [^ ]* \\([0-9a-f]*\\).*/\\1/p'")
    new = str(build.meta["ostree-commit"])
    assert old
    assert old != new, "the machine already runs the new build: give an older image"
    guest.script("echo kept | tee /etc/kola-kept > /var/lib/kola-kept")
    guest.script(f"set -- {server}\n{_UPDATE}", timeout=600)
    guest.reboot()
    guest.check()
    assert f"* {build.meta['name']} {new}" in guest.out("sudo ostree admin status")
    assert guest.out("cat /etc/kola-kept /var/lib/kola-kept") == "kept\nkept"
    assert build.meta["buildid"] in guest.out("cat /etc/os-release")
    guest.script("ostree admin set-default 1")
    guest.reboot()
    guest.check()
    assert f" {old}" in guest.out("sudo ostree admin status | grep '^\\*'")
