"""Manifests of real operators, in images made of them."""

from __future__ import annotations

import yaml

from cosa.payload import lint, read, taskgraph
from cosa.payload.assemble import Wanted
from cosa.payload.imagestream import Tag
from cosa.payload.new import Options, new
from cosa.payload.source import Source

OPERATOR = {"io.openshift.release.operator": "true"}


def test_a_release_of_real_operators(shared_fixture, images, client, registry):
    folder = shared_fixture("operators")
    tags, wanted, count = {}, set(), 0
    for operator in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = {
            f"manifests/{path.name}": path.read_bytes()
            for path in sorted((operator / "manifests").iterdir())
        }
        base = operator.name == "cluster-version-operator"
        references = yaml.safe_load(found.get("manifests/image-references", b"{}"))
        if not base:
            wanted |= {tag["name"] for tag in references.get("spec", {}).get("tags", [])}
            count += len(found) - ("manifests/image-references" in found)
        tags[operator.name] = images.push(
            f"real-{operator.name}", {"usr/x": "x"}, found, labels={} if base else OPERATOR
        )
    for name in sorted(wanted - set(tags)):
        label = {"io.openshift.build.versions": "kubernetes=1.33.2"} if name == "hyperkube" else {}
        tags[name] = images.push(f"part-{name}", {"x": name}, labels=label)
    target = f"{registry}/real/release:1"
    made = new(
        Source(tuple(Tag(name, spec) for name, spec in tags.items()), {}, {}),
        Options(Wanted("4.21.0", "2026-08-22T00:00:00Z"), to_image=target), client,
    )  # fmt: skip
    payload = read.load(client, target)
    assert payload.digest == made.digest
    assert len(payload.manifests) == count
    assert read.component_versions(payload)["kubernetes"].version == "1.33.2"
    os_images = payload.files["0000_80_machine-config_05_osimageurl.yaml"].data.decode()
    assert "releaseVersion: 4.21.0" in os_images
    assert "placeholder" not in os_images
    # Whatever is left standing is told; a real operator has no fault that stops a cluster.
    found = lint.of_files(payload.manifests)
    assert [one for one in found if one.fatal] == []
    graph = taskgraph.graph(payload.manifests, taskgraph.Cluster())
    levels = [stage.level for stage in graph.stages if stage.level >= 0]
    assert levels == sorted(levels)
    assert {20, 25, 70, 80} <= set(levels)
    operators = {task.object.name for task in graph.tasks if task.awaited}
    assert {"etcd", "machine-config", "kube-apiserver", "network"} <= operators
    assert graph.excluded
