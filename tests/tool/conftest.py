"""A real registry on loopback, and images made for the purpose."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cosa.model.imageref import parse_ref
from cosa.tools.registry import DOCKER_MANIFEST, Client
from cosa.tools.registry_http import Connections

_CONFIG = """
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:{port}}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Iterator[str]:
    """HOST:PORT of Debian's docker-registry, ours alone."""
    folder: Path = tmp_path_factory.mktemp("registry")
    port = free_port()
    (folder / "config.yml").write_text(_CONFIG.format(root=folder / "data", port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", folder / "config.yml"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for _ in range(100):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).close()
                break
            time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text())
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with Connections() as connections:
        yield Client(connections)


def layer(files: dict[str, str | bytes]) -> bytes:
    """A gzip layer; a value of `->X` makes a link to X, a name ending in / a folder."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mtime = 1_600_000_000
            data = content.encode() if isinstance(content, str) else content
            if name.endswith("/"):
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            elif data.startswith(b"->"):
                entry.type, entry.linkname = tarfile.SYMTYPE, data[2:].decode()
                tar.addfile(entry)
            else:
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), 1, mtime=0)


class Images:
    """Pushes images made of layers of files."""

    def __init__(self, client: Client, registry: str) -> None:
        self.client = client
        self.registry = registry

    def push(
        self, name: str, *layers: dict[str, str | bytes], labels: dict[str, str] | None = None
    ) -> str:
        """The pullspec by digest of a new image."""
        ref = parse_ref(f"{self.registry}/{name}:made")
        packed = [layer(files) for files in layers]
        descriptors = []
        for data in packed:
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.client.put_blob(ref, digest, data)
            descriptors.append({
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(data), "digest": digest,
            })  # fmt: skip
        diff_ids = [f"sha256:{hashlib.sha256(gzip.decompress(d)).hexdigest()}" for d in packed]
        config = json.dumps({
            "architecture": "amd64", "os": "linux",
            "config": {"Labels": labels or {}, "Entrypoint": ["/bin/run"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }).encode()  # fmt: skip
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        self.client.put_blob(ref, digest, config)
        manifest = {
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config), "digest": digest,
            },
            "layers": descriptors,
        }  # fmt: skip
        made = self.client.put_manifest(ref, json.dumps(manifest).encode(), DOCKER_MANIFEST)
        return str(ref.at(made))


@pytest.fixture(scope="session")
def images(client: Client, registry: str) -> Images:
    return Images(client, registry)
