"""`payload mirror|lint|graph|sign|verify`: releases checked, signed and brought to clusters."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.registry import REGISTRY_HELP, REGISTRY_META, REGISTRY_SHORT, client_of, words_of

if TYPE_CHECKING:
    from cosa.model.imageref import ImageRef
    from cosa.payload.lint import Finding
    from cosa.payload.read import Payload
    from cosa.payload.taskgraph import Cluster, Graph


@command(
    group="Payload",
    short=REGISTRY_SHORT,
    metavar=REGISTRY_META | {
        "from_": "IMAGE", "to": "REPOSITORY", "to_dir": "DIR", "from_dir": "DIR",
        "print_mirror_instructions": "FORM", "signature_store": "DIR",
        "release_image_signature_to_dir": "DIR",
    },
    help=REGISTRY_HELP | {
        "from": "the release",
        "to": "the repository to copy to; ${component} stands for each component's name",
        "to-dir": "copy to a folder, for machines without network",
        "from-dir": "push what --to-dir wrote",
        "skip-release-image": "components only",
        "print-mirror-instructions": "idms (default), icsp or none",
        "signature-store": "where the release's signatures lie, to go with it",
        "release-image-signature-to-dir": "write the signatures' ConfigMap here",
        "dry-run": "say what would be copied",
    },
)  # fmt: skip
def payload_mirror(
    _c: Context,
    *,
    from_: str = "",
    to: str = "",
    to_dir: str = "",
    from_dir: str = "",
    skip_release_image: bool = False,
    print_mirror_instructions: str = "idms",
    signature_store: str = "",
    release_image_signature_to_dir: str = "",
    dry_run: bool = False,
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Copy a release and all its images; run again, it goes on."""
    from cosa.cli.parse import usage_error
    from cosa.model.imageref import parse_ref
    from cosa.payload import mirror, read, signing

    if bool(from_) == bool(from_dir) or bool(to) == bool(to_dir) or (from_dir and to_dir):
        raise usage_error(
            "missing-argument", "`cosa payload mirror` needs one of --from and --from-dir, and"
            " one of --to and --to-dir",
        )  # fmt: skip
    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        if from_dir:
            count = mirror.from_folder(client, Path(from_dir), _repository(to))
            print(f"{count} images are in {to}")
            return
        payload = read.load(client, from_)
        wanted = mirror.items(payload, release=not skip_release_image)
        if dry_run:
            print("\n".join(f"{item.source} -> {to or to_dir}:{item.tag}" for item in wanted))
            return
        if to_dir:
            count = mirror.to_folder(client, wanted, Path(to_dir))
        else:
            count = mirror.to_repository(client, wanted, _repository(to))
    print(f"{count} images are in {to or to_dir}")
    if signature_store:
        found = signing.stored(Path(signature_store), payload.digest)
        folder = release_image_signature_to_dir or (to_dir and str(Path(to_dir) / "config"))
        if folder and found:
            path = mirror.write_signatures(payload, [data for _, data in found], Path(folder))
            print(f"signatures: {path}; apply them with `oc apply -f {path}`")
    if to:
        name = parse_ref(to.replace("${component}", "x")).name
        print(mirror.instructions(payload, name, print_mirror_instructions), end="")
        print(f"update with: oc adm upgrade --to-image {name}@{payload.digest}")


def _repository(text: str) -> ImageRef:
    from cosa.model.imageref import ImageRef, parse_ref

    plain = parse_ref(text.replace("${component}", "component-name-here"))
    return ImageRef(plain.host, plain.repository.replace("component-name-here", "${component}"))


@command(
    group="Payload",
    positional=["image"],
    short=REGISTRY_SHORT,
    iterable=["previous"],
    metavar=REGISTRY_META | {"previous": "IMAGE", "signature_store": "DIR"},
    help=REGISTRY_HELP | {
        "image": "the release",
        "previous": "a release that may be updated to it: its keys must have signed it",
        "signature-store": "where signatures lie",
        "as-json": "for machines",
    },
)  # fmt: skip
def payload_lint(
    _c: Context,
    image: str,
    *,
    previous: list[str],
    signature_store: str = "",
    as_json: bool = False,
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> int:
    """Say what is wrong with a release that `oc` would take; status 3 when a cluster could not."""
    from cosa.payload import lint, read

    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        payload = read.load(client, image)
        findings = [
            *lint.of_payload(client, payload),
            *(
                finding
                for name in words_of(previous)
                for finding in lint.of_signatures(
                    payload, read.load(client, name), Path(signature_store or ".")
                )
            ),
        ]
    _show(findings, as_json=as_json)
    return 3 if any(finding.fatal for finding in findings) else 0


def _show(findings: list[Finding], *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        place = f"{finding.where}: " if finding.where else ""
        print(f"{'error' if finding.fatal else 'warning'}: {place}{finding.what}")
        for name, text in (("why", finding.why), ("next", finding.fix), ("code", finding.code)):
            if text:
                print(f"  {name:<5}  {text}")
    fatal = sum(finding.fatal for finding in findings)
    print(f"{len(findings)} findings, {fatal} of them errors" if findings else "nothing found")


@command(
    group="Payload",
    positional=["images"],
    iterable=["images", "gate", "capability"],
    short=REGISTRY_SHORT | {"output": "o"},
    metavar=REGISTRY_META | {
        "profile": "NAME", "feature_set": "NAME", "gate": "NAMES", "capability": "NAMES",
        "output": "FORM",
    },
    help=REGISTRY_HELP | {
        "images": "a release; or two: how an update from the first to the second runs",
        "profile": "the cluster's profile; default self-managed-high-availability",
        "feature-set": "the cluster's feature set; default Default",
        "gate": "feature gates that are on",
        "capability": "capabilities that are enabled; default all",
        "excluded": "show what is left out, too",
        "output": "text, json or svg",
    },
)  # fmt: skip
def payload_graph(
    _c: Context,
    *,
    images: list[str],
    gate: list[str],
    capability: list[str],
    profile: str = "self-managed-high-availability",
    feature_set: str = "Default",
    excluded: bool = False,
    output: str = "text",
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Show what the cluster version operator applies, and in which order."""
    from cosa.cli.parse import usage_error
    from cosa.payload import graphview, read, taskgraph

    if len(images) not in (1, 2):
        raise usage_error("missing-argument", "`cosa payload graph` needs one release, or two")
    if output not in ("text", "json", "svg"):
        raise usage_error("option-value", f"-o knows no {output!r}", fix="choose text, json or svg")
    capabilities = frozenset(words_of(capability)) if capability else None
    cluster = taskgraph.Cluster(profile, feature_set, frozenset(words_of(gate)), capabilities)
    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        graphs = [_graph(read.load(client, image), cluster) for image in images]
    if len(graphs) == 2:
        sys.stdout.write(graphview.update(taskgraph.update(*graphs), output))
    else:
        sys.stdout.write(graphview.graph(graphs[0], output, excluded=excluded))


def _graph(payload: Payload, cluster: Cluster) -> Graph:
    from cosa.payload import taskgraph

    return taskgraph.graph(payload.manifests, cluster)


@command(
    group="Payload",
    positional=["image"],
    short=REGISTRY_SHORT,
    metavar=REGISTRY_META | {
        "key": "NAME", "key_file": "FILE", "signature_store": "DIR", "to_config_map": "FILE",
        "cosign_key": "FILE",
    },
    help=REGISTRY_HELP | {
        "image": "the release",
        "key": "a secret key of your GnuPG keyring; default its default",
        "key-file": "a secret key in a file",
        "signature-store": "the store's folder to put the signature into",
        "to-config-map": "write the signature as a ConfigMap, for clusters without network",
        "cosign-key": "sign with cosign, too: the signature goes beside the image",
    },
)  # fmt: skip
def payload_sign(
    _c: Context,
    image: str,
    *,
    key: str = "",
    key_file: str = "",
    signature_store: str = "",
    to_config_map: str = "",
    cosign_key: str = "",
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Sign a release so that clusters take it."""
    from cosa.cli.parse import usage_error
    from cosa.core import fs
    from cosa.payload import read, signing
    from cosa.tools.gpg_sign import sign_inline

    if not (signature_store or to_config_map or cosign_key):
        raise usage_error(
            "missing-argument", "say where the signature shall go: --signature-store,"
            " --to-config-map or --cosign-key",
        )  # fmt: skip
    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        payload = read.load(client, image)
    ref = payload.ref.at(payload.digest)
    if signature_store or to_config_map:
        path = Path(key_file) if key_file else None
        signed = sign_inline(signing.claim(ref), key=key, key_file=path)
        if signature_store:
            print(signing.store(Path(signature_store), payload.digest, signed))
        if to_config_map:
            made = signing.config_map(payload.digest, [signed])
            fs.atomic_write(Path(to_config_map), json.dumps(made, indent=2) + "\n")
            print(to_config_map)
    if cosign_key:
        from cosa.tools import cosign

        cosign.sign(str(ref), Path(cosign_key), insecure=insecure)
        print(f"{ref}: signed with cosign")


@command(
    group="Payload",
    positional=["image"],
    iterable=["previous"],
    short=REGISTRY_SHORT,
    metavar=REGISTRY_META | {"previous": "IMAGE", "signature_store": "DIR", "key_file": "FILE"},
    help=REGISTRY_HELP | {
        "image": "the release",
        "previous": "the release that a cluster runs: its keys count; default the release's own",
        "signature-store": "where signatures lie",
        "key-file": "public keys that must have signed it, instead",
    },
)  # fmt: skip
def payload_verify(
    _c: Context,
    image: str,
    *,
    previous: list[str],
    signature_store: str = "",
    key_file: str = "",
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Check a release's signatures against the keys that older releases trust."""
    from cosa.cli.parse import usage_error
    from cosa.payload import read, signing
    from cosa.tools import gpg

    if not signature_store:
        raise usage_error("missing-argument", "--signature-store says where signatures lie")
    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        payload = read.load(client, image)
        olds = [read.load(client, name) for name in words_of(previous)] or [payload]
    found = signing.stored(Path(signature_store), payload.digest)
    if key_file:
        rings = [(key_file, {key_file: gpg.read_key_files([Path(key_file)])})]
    else:
        rings = [
            (old.version, signing.keyrings(read.trusted_keys(old), f"release {old.version}"))
            for old in olds
        ]
    for origin, keys in rings:
        for verdict in signing.verify(payload.digest, found, keys):
            print(f"{payload.digest} is signed by {', '.join(verdict.signers)}"
                  f" (trusted by {origin}) as {verdict.identity}")  # fmt: skip
