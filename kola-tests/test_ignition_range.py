"""Ignition's range: configs and files over HTTP, disks, and how it fails."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cosa.core.errors import CosaError
from cosa.kola.machine import Machine

HOST = "10.0.2.2"  # QEMU's user network: this machine, seen by the guest
BIG = bytes(range(256)) * 1200  # 300 KiB


class Site:
    """Files on a port of this machine, under the address a guest knows it by."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._base = folder, f"http://{HOST}:{port}"

    def put(self, name: str, content: bytes | dict[str, Any]) -> str:
        """The address of a new file."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (self._folder / name).write_bytes(data)
        return f"{self._base}/{name}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A web server for guests."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_words: Any) -> None:
            pass

    handler = partial(Silent, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Site(tmp_path, server.server_address[1])
        server.shutdown()


def config(**sections: Any) -> dict[str, Any]:
    """An Ignition config; `ignition` may hold more than the version."""
    own = sections.pop("ignition", {})
    return {"ignition": {"version": "3.3.0", **own}, **sections}


def file(path: str, text: str) -> dict[str, Any]:
    """A file with this text."""
    source = "data:;base64," + base64.b64encode(text.encode()).decode()
    return {"path": path, "contents": {"source": source}, "mode": 0o644}


def digest(data: bytes) -> dict[str, str]:
    """What Ignition checks the data with."""
    return {"hash": "sha512-" + hashlib.sha512(data).hexdigest()}


@pytest.mark.kola(disks=("2G:serial=range",), network=True, cold=True)
def test_all(boot: Callable[..., Machine], site: Site) -> None:
    """Configs merged over HTTP, files fetched, appended and large, and disks."""
    inner = config(storage={"files": [file("/etc/range/inner", "inner\n"),
                                      file("/etc/range/both", "inner\n")]})  # fmt: skip
    packed = gzip.compress(json.dumps(
        config(
            ignition={"config": {"merge": [{"source": site.put("inner.ign", inner)}]}},
            storage={"files": [file("/etc/range/both", "outer\n")]},
        )
    ).encode(), mtime=0)  # fmt: skip
    merged = {
        "source": site.put("outer.ign.gz", packed), "compression": "gzip",
        "verification": digest(gzip.decompress(packed))  # Ignition looks at the content,
    }  # fmt: skip
    fetched = {
        "path": "/var/lib/range/big", "mode": 0o600,
        "contents": {"source": site.put("big", BIG), "verification": digest(BIG)},
    }  # fmt: skip
    inline = "data:;base64," + base64.b64encode(BIG).decode()
    appended = {
        "path": "/etc/range/appended",
        "contents": {"source": "data:,one%0A"},
        "append": [{"source": "data:,two%0A"}, {"source": site.put("three", b"three\n")}],
    }
    device = "/dev/disk/by-id/virtio-range"
    whole = config(
        ignition={"config": {"merge": [merged]}},
        storage={
            "files": [
                fetched, appended,
                {"path": "/var/lib/range/inline", "contents": {"source": inline}},
            ],
            "disks": [{
                "device": device, "wipeTable": True,
                "partitions": [
                    {"number": 1, "label": "range-data", "sizeMiB": 512,
                     "guid": "6E4D5F60-0000-4000-8000-000000000001"},
                    {"number": 3, "label": "range-rest"},
                ],
            }],
            "filesystems": [
                {"device": "/dev/disk/by-partlabel/range-data", "format": "ext4",
                 "label": "data", "path": "/var/lib/data", "options": ["-m", "0"]},
                {"device": "/dev/disk/by-partlabel/range-rest", "format": "swap"},
            ],
            "links": [{"path": "/etc/range/hard", "target": "/etc/range/inner", "hard": True}],
        },
        systemd={"units": [{
            "name": "var-lib-data.mount", "enabled": True,
            "contents": "[Mount]\nWhat=/dev/disk/by-label/data\nWhere=/var/lib/data\nType=ext4\n"
                        "[Install]\nRequiredBy=local-fs.target\n",
        }]},
    )  # fmt: skip
    guest = boot(ignition=json.dumps(whole))
    # What is merged in wins over what it is merged into.
    assert guest.out("cat /etc/range/inner /etc/range/both") == "inner\ninner"
    assert guest.out("cat /etc/range/appended") == "one\ntwo\nthree"
    sums = guest.out("sudo sha512sum /var/lib/range/big /var/lib/range/inline").split("\n")
    assert {line.split()[0] for line in sums} == {hashlib.sha512(BIG).hexdigest()}
    assert guest.out("stat -c %h /etc/range/hard") == "2"
    shown = guest.out(f"lsblk -nro PARTN,PARTLABEL,SIZE,FSTYPE {device} | grep range")
    assert shown.splitlines() == ["1 range-data 512M ext4", "3 range-rest 1.5G swap"]
    guid = guest.out("sudo blkid -p -o value -s PART_ENTRY_UUID /dev/disk/by-partlabel/range-data")
    assert guid == "6e4d5f60-0000-4000-8000-000000000001"
    assert guest.out("findmnt -no FSTYPE,LABEL /var/lib/data").split() == ["ext4", "data"]


@pytest.mark.kola(network=True, cold=True)
def test_replace(boot: Callable[..., Machine], site: Site) -> None:
    """A config that replaces the one it stands in, fetched over HTTP."""
    other = config(storage={"files": [file("/etc/replaced", "by the other\n")]})
    told = config(
        ignition={"config": {"replace": {"source": site.put("other.ign", other)}}},
        storage={"files": [file("/etc/never", "there\n")]},
    )
    guest = boot(ignition=json.dumps(told))
    assert guest.out("cat /etc/replaced") == "by the other"
    assert guest.ssh("test -e /etc/never", check=False).status == 1


FAILURES = {
    "digest": ({"storage": {"files": [{
        "path": "/etc/x", "contents": {"source": "data:,x", "verification": digest(b"y")}}]}},
        "hash"),
    "user": ({"storage": {"files": [{
        "path": "/etc/x", "user": {"name": "nobody-here"}, "contents": {"source": "data:,x"}}]}},
        "nobody-here"),
    "spec": ({"ignition": {"config": {"merge": [{
        "source": "data:;base64," + base64.b64encode(b'{"ignition":{"version":"9.0.0"}}').decode(),
    }]}}}, "version"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.kola(checks=False, cold=True)
def test_failure(boot: Callable[..., Machine], kind: str) -> None:
    """What cannot be done fails the boot, with the reason in the error."""
    sections, words = FAILURES[kind]
    with pytest.raises(CosaError) as caught:
        boot(ignition=json.dumps(config(**sections)))
    assert caught.value.code == "kola/ignition-failed"
    assert words in caught.value.why
