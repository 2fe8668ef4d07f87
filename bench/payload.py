"""Releases of 150 components from a registry on loopback, beside skopeo asked for each image."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

from bench.measure import Cost, measure
from bench.ours import ROOT
from cosa.core.run import end, start
from cosa.model.imageref import parse_ref
from cosa.tools.registry import DOCKER_MANIFEST, Client
from cosa.tools.registry_http import Connections

COMPONENTS, OPERATORS, FILES = 150, 90, 6
BUDGET_SECONDS, AGAIN_SECONDS, MEMORY_MIB = 1.5, 0.7, 300
_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {root}}}
http: {{addr: 127.0.0.1:{port}}}
"""


def run(folder: Path, runs: int) -> dict[str, Any]:
    """Seconds and memory of `payload new`, again with one component changed, and of skopeo."""
    folder.mkdir(parents=True, exist_ok=True)
    with _registry(folder) as host, Connections() as connections:
        tags = _push_all(Client(connections), host)
        stream = folder / "stream.json"
        figures: dict[str, Any] = {}
        for _ in range(runs):
            _write(stream, tags)
            _keep(figures, "new", _new(folder, stream, host))
            tags["operator-00"] = _push(Client(connections), host, "operator-00", changed=True)
            _write(stream, tags)
            _keep(figures, "one changed", _new(folder, stream, host))
            _keep(figures, "skopeo, one by one", _skopeo(folder, tags))
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{COMPONENTS} components, {OPERATORS} of them operators with {FILES} manifests each"]
    lines.append(f"{'':<22}{'wall s':>8}{'peak MiB':>10}  budget")
    budgets = {"new": BUDGET_SECONDS, "one changed": AGAIN_SECONDS}
    for name, cost in figures.items():
        budget = budgets.get(name)
        mark = "" if budget is None else f"{budget} {'OVER' if cost['wall'] > budget else 'within'}"
        lines.append(f"{name:<22}{cost['wall']:>8.2f}{cost['peak'] / 2**20:>10.0f}  {mark}")
    lines.append(
        f"ratio to skopeo {figures['new']['wall'] / figures['skopeo, one by one']['wall']:.3f}"
    )
    return "\n".join(lines)


def _keep(figures: dict[str, Any], name: str, cost: Cost) -> None:
    """The best of several runs: what disturbs only ever makes slower."""
    known = figures.get(name)
    if known is None or cost.wall < known["wall"]:
        figures[name] = {"wall": cost.wall, "cpu": cost.cpu, "peak": cost.peak}


def _new(folder: Path, stream: Path, host: str) -> Cost:
    argv = [sys.executable, "-m", "cosa.cli.main", "payload", "new", "-f", str(stream),
            "--name", "4.20.0", "--to-image", f"{host}/bench/release:one"]  # fmt: skip
    return measure(argv, folder / "new.log", env={"PYTHONPATH": str(ROOT)})


def _skopeo(folder: Path, tags: dict[str, str]) -> Cost:
    """Every image copied to a folder, as a script without a registry client would."""
    script = "".join(
        f"skopeo copy -q --src-tls-verify=false docker://{spec} dir:{folder}/pulled/{name}\n"
        for name, spec in tags.items()
    )
    (folder / "pulled").mkdir(exist_ok=True)
    return measure(["sh", "-ec", script], folder / "skopeo.log")


def _write(path: Path, tags: dict[str, str]) -> None:
    path.write_text(json.dumps({
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "bench"},
        "spec": {"tags": [{"name": name, "from": {"kind": "DockerImage", "name": spec}}
                          for name, spec in tags.items()]},
    }))  # fmt: skip


def _push_all(client: Client, host: str) -> dict[str, str]:
    names = ["cluster-version-operator"]
    names += [f"operator-{number:02}" for number in range(OPERATORS)]
    names += [f"operand-{number:02}" for number in range(COMPONENTS - len(names))]
    return {name: _push(client, host, name) for name in names}


def _push(client: Client, host: str, name: str, *, changed: bool = False) -> str:
    files = {"usr/bin/program": name.encode() * 1000}
    labels = {}
    if name.startswith("operator"):
        number = int(name.rpartition("-")[2])
        labels = {"io.openshift.release.operator": "true"}
        operand = f"operand-{number % (COMPONENTS - OPERATORS - 1):02}"
        files = {
            f"manifests/0000_50_{name}_{index:02}.yaml": _manifest(name, index, operand, changed)
            for index in range(FILES)
        }
        files["manifests/image-references"] = json.dumps({
            "kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
            "spec": {"tags": [
                {"name": each, "from": {"kind": "DockerImage", "name": f"x.io/{each}"}}
                for each in (name, operand)
            ]},
        }).encode()  # fmt: skip
    return _image(client, f"{host}/bench/{name}", files, labels)


def _manifest(name: str, index: int, operand: str, changed: bool) -> bytes:
    """A deployment of the usual size."""
    env = "".join(f"        - name: SETTING_{n}\n          value: '{n}'\n" for n in range(20))
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}-{index}
  namespace: openshift-{name}
  annotations:
    include.release.openshift.io/self-managed-high-availability: "true"
    changed: "{changed}"
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: main
        image: x.io/{operand}
        env:
        - name: RELEASE_VERSION
          value: 0.0.1-snapshot
{env}""".encode()


def _image(client: Client, name: str, files: dict[str, bytes], labels: dict[str, str]) -> str:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    layer = gzip.compress(raw.getvalue(), mtime=0)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Labels": labels},
        "rootfs": {"type": "layers",
                   "diff_ids": [f"sha256:{hashlib.sha256(raw.getvalue()).hexdigest()}"]},
    }).encode()  # fmt: skip
    ref = parse_ref(f"{name}:one")
    described = []
    for kind, data in (("image.rootfs.diff.tar.gzip", layer), ("container.image.v1+json", config)):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        client.put_blob(ref, digest, data)
        described.append({"mediaType": f"application/vnd.docker.{kind}", "size": len(data),
                          "digest": digest})  # fmt: skip
    manifest = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
                           "config": described[1], "layers": described[:1]})  # fmt: skip
    return str(ref.at(client.put_manifest(ref, manifest.encode(), DOCKER_MANIFEST)))


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(root=folder / "registry", port=port))
    with (folder / "registry.log").open("wb") as log:
        process = start(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            for _ in range(100):
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).close()
                    break
                sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            end(process)
