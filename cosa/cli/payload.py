"""`payload new|info|diff|extract`: releases of the cluster, made and looked into."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.cli.command import Context, command
from cosa.cli.registry import REGISTRY_HELP, REGISTRY_META, REGISTRY_SHORT, client_of, words_of

if TYPE_CHECKING:
    from cosa.payload.read import Payload
    from cosa.tools.registry import Client


@command(
    group="Payload",
    positional=["mappings"],
    iterable=["mappings", "previous", "next", "include", "exclude"],
    short=REGISTRY_SHORT | {"from_image_stream_file": "f", "output": "o"},
    metavar=REGISTRY_META | {
        "from_image_stream_file": "FILE", "from_release": "IMAGE", "from_dir": "DIR",
        "mapping_file": "FILE", "name": "VERSION", "previous": "VERSIONS", "next": "VERSIONS",
        "metadata": "JSON", "to_image": "IMAGE", "to_file": "FILE", "to_dir": "DIR",
        "mirror": "REPOSITORY", "reference_mode": "MODE", "to_image_base_tag": "TAG",
        "filter_by_os": "OS/ARCH", "include": "NAMES", "exclude": "NAMES", "output": "FORM",
    },
    help=REGISTRY_HELP | {
        "mappings": "NAME=IMAGE: put this image in the place of a component",
        "from-image-stream-file": "an image stream, JSON or YAML; - reads standard input",
        "from-release": "an existing release",
        "from-dir": "a folder per operator, and image-references",
        "mapping-file": "words NAME=IMAGE, # begins a comment",
        "name": "the release's version",
        "previous": "versions that may be updated to this one",
        "next": "versions this one may be updated to",
        "metadata": "a JSON object for the update graph",
        "to-image": "push the release here",
        "to-file": "write the release's layer, tar.gz",
        "to-dir": "write the release's files",
        "mirror": "copy every image here and name it there",
        "oci": "OCI format; default is Docker's, which every reader knows",
        "reference-mode": "public (default) or source: how images of a stream are named",
        "to-image-base-tag": "the component the release is laid over",
        "filter-by-os": "which of several architectures; default linux/amd64",
        "include": "images that stay though nothing refers to them",
        "exclude": "images to leave out",
        "allow-missing-images": "go on without images that are not there",
        "skip-manifest-check": "take manifests that are no Kubernetes objects",
        "all-layers": "look for manifests in all layers, not the last alone",
        "strict": "what lint finds is an error",
        "dry-run": "write nothing",
        "output": "json: print the release's image stream",
    },
)  # fmt: skip
def payload_new(
    _c: Context,
    *,
    mappings: list[str],
    previous: list[str],
    next: list[str],  # noqa: A002  the option's name
    include: list[str],
    exclude: list[str],
    from_image_stream_file: str = "",
    from_release: str = "",
    from_dir: str = "",
    mapping_file: str = "",
    name: str = "",
    metadata: str = "",
    to_image: str = "",
    to_file: str = "",
    to_dir: str = "",
    mirror: str = "",
    oci: bool = False,
    reference_mode: str = "public",
    to_image_base_tag: str = "cluster-version-operator",
    filter_by_os: str = "linux/amd64",
    allow_missing_images: bool = False,
    skip_manifest_check: bool = False,
    all_layers: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    output: str = "",
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Make a release image from operator images."""
    from cosa.payload import new, source
    from cosa.payload.assemble import Wanted
    from cosa.payload.imagestream import to_json

    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        made_from = _source(client, from_image_stream_file, from_release, from_dir, reference_mode)
        words = [*(source.mapping_file(Path(mapping_file)) if mapping_file else []), *mappings]
        made_from = source.override(made_from, words, client)
        made_from = source.select(made_from, words_of(include), words_of(exclude))
        created = new.created_at()
        wanted = Wanted(
            name or new.default_name(created), created, words_of(previous), words_of(next),
            source.read_metadata(metadata), made_from.annotations, words_of(include),
            words_of(exclude), to_image_base_tag, allow_missing_images, not skip_manifest_check,
        )  # fmt: skip
        options = new.Options(
            wanted, to_image, _path(to_file), _path(to_dir), mirror, oci, all_layers,
            filter_by_os.rpartition("/")[2], strict,
            dry_run or output == "json" or not (to_image or to_file or to_dir),
        )  # fmt: skip
        made = new.new(made_from, options, client)
    if output == "json":
        print(json.dumps(to_json(made.release.stream), indent=2))
    else:
        print(made.digest, wanted.name, created)


def _source(client: Client, stream: str, release: str, folder: str, mode: str) -> Any:
    from cosa.cli.parse import usage_error
    from cosa.payload import read, source

    if len([word for word in (stream, release, folder) if word]) > 1:
        raise usage_error("two-inputs", "only one of -f, --from-release, --from-dir may be given")
    if mode not in ("public", "source"):
        raise usage_error("option-value", f"--reference-mode knows no {mode!r}",
                          fix="choose public or source")  # fmt: skip
    if stream:
        return source.from_stream_file(Path(stream), public=mode == "public")
    if release:
        loaded = read.load(client, release)
        return source.from_release(loaded.stream, str(loaded.ref))
    if folder:
        return source.from_folder(Path(folder))
    return source.Source((), {}, {})


def _path(text: str) -> Path | None:
    return Path(text) if text else None


@command(
    group="Payload",
    positional=["images"],
    iterable=["images"],
    short=REGISTRY_SHORT | {"output": "o"},
    metavar=REGISTRY_META | {
        "output": "FORM", "image_for": "NAME", "changes_from": "IMAGE", "filter_by_os": "OS/ARCH",
    },
    help=REGISTRY_HELP | {
        "images": "a release, or two to compare",
        "output": "json, name, pullspec or digest",
        "pullspecs": "full names of images",
        "commits": "source and commit of images",
        "commit-urls": "pages of commits",
        "contents": "print every manifest",
        "size": "sizes, and what images add to each other",
        "verify": "check that every image is there",
        "include-images": "with -o json: configurations of all images",
        "image-for": "print the name of one image",
        "changes-from": "an older release to compare with",
        "filter-by-os": "which of several architectures; default linux/amd64",
    },
)  # fmt: skip
def payload_info(
    _c: Context,
    *,
    images: list[str],
    output: str = "",
    pullspecs: bool = False,
    commits: bool = False,
    commit_urls: bool = False,
    contents: bool = False,
    size: bool = False,
    verify: bool = False,
    include_images: bool = False,
    image_for: str = "",
    changes_from: str = "",
    filter_by_os: str = "linux/amd64",
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Say what a release is made of, or how two differ."""
    from cosa.cli.parse import usage_error
    from cosa.payload import component, info, read

    names = [*([changes_from] if changes_from else []), *images]
    if len(names) not in (1, 2):
        raise usage_error("missing-argument", "`cosa payload info` needs one release, or two")
    if output not in ("", "json", "name", "pullspec", "digest"):
        raise usage_error("option-value", f"-o knows no {output!r}",
                          fix="choose json, name, pullspec or digest")  # fmt: skip
    arch = filter_by_os.rpartition("/")[2]
    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        loaded = [read.load(client, name, arch=arch) for name in names]
        if len(loaded) == 2:
            _print_diff(loaded[0], loaded[1], output)
            return
        payload = loaded[0]
        if image_for:
            print(read.image_for(payload, image_for))
            return
        if contents:
            sys.stdout.buffer.write(_contents(payload))
            return
        found = None
        if size or verify or include_images:
            found = component.read_images(client, payload.stream.tags, arch=arch)
        if output:
            print(info.render(payload, output, found if include_images else None))
            return
        print(info.text(payload, pullspecs=pullspecs, commits=commits, commit_urls=commit_urls,
                        sizes=found if size else None))  # fmt: skip


def _contents(payload: Payload) -> bytes:
    return b"".join(
        f"# {name}\n".encode() + file.data.rstrip(b"\n") + b"\n---\n"
        for name, file in payload.manifests.items()
    )


def _print_diff(old: Payload, new: Payload, output: str) -> None:
    from cosa.payload import info

    if output == "json":
        print(json.dumps(info.diff_json(old, new), indent=2))
    else:
        print(info.diff_text(old, new))


@command(
    group="Payload",
    positional=["image"],
    iterable=["mappings"],
    short=REGISTRY_SHORT,
    metavar=REGISTRY_META | {
        "to": "DIR", "file": "NAME", "command": "NAME", "command_os": "OS", "cloud": "NAME",
    },
    help=REGISTRY_HELP | {
        "image": "the release",
        "to": "the folder to write to; default the current one",
        "file": "print one file",
        "tools": "write the release's programs",
        "command": "one program: oc, openshift-install, ccoctl",
        "command-os": "for this system: linux, mac, windows",
        "credentials-requests": "the CredentialsRequests only",
        "cloud": "those of one cloud",
        "included": "only what a default cluster gets",
    },
)  # fmt: skip
def payload_extract(
    _c: Context,
    image: str,
    *,
    to: str = ".",
    file: str = "",
    tools: bool = False,
    command: str = "",
    command_os: str = "",
    credentials_requests: bool = False,
    cloud: str = "",
    included: bool = False,
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Take manifests or programs out of a release."""
    from cosa.payload import extract, read, taskgraph

    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        payload = read.load(client, image)
        if file:
            sys.stdout.buffer.write(extract.one_file(payload, file))
            return
        if tools or command:
            made = extract.tools(client, payload, Path(to), command=command, system=command_os)
            print("\n".join(str(path) for path in made))
            return
    files = dict(payload.files)
    if credentials_requests:
        files = extract.credentials_requests(payload, cloud)
    if included:
        cluster = taskgraph.Cluster()
        files = extract.select(files, lambda one: not taskgraph.exclusion(one, cluster))
    print(f"{extract.write(files, Path(to))} files are in {to}")


@command(
    group="Payload",
    positional=["old", "new"],
    short=REGISTRY_SHORT | {"output": "o"},
    metavar=REGISTRY_META | {"output": "FORM"},
    help=REGISTRY_HELP | {
        "old": "the older release", "new": "the newer release", "output": "json",
    },
)  # fmt: skip
def payload_diff(
    _c: Context,
    old: str,
    new: str,
    *,
    output: str = "",
    registry_config: str = "",
    insecure: bool = False,
    certificate_authority: str = "",
) -> None:
    """Say how two releases differ: images and manifests."""
    from cosa.payload import read

    with client_of(registry_config, certificate_authority, insecure=insecure) as client:
        _print_diff(read.load(client, old), read.load(client, new), output)
