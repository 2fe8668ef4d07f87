"""`push-container`, `push-container-manifest`, `copy-container`: a build's containers shipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cosa.cli.command import Context, command
from cosa.cli.registry import client_of, words_of
from cosa.cli.settings import settings

if TYPE_CHECKING:
    from cosa.pipeline.workdir import Workdir


@command(
    group="Containers",
    positional=["name"],
    metavar={
        "image": "NAME", "format": "FORM", "tag_suffix": "TEXT", "authfile": "FILE",
        "build": "ID", "arch": "ARCH",
    },
    help={
        "name": "where to: HOST/REPOSITORY[:TAG]; without a tag it gets ID-ARCH",
        "image": "which container of the build: ostree (default) or extensions-container",
        "format": "oci (default) or v2s2, Docker's",
        "tag-suffix": "appended to the tag",
        "authfile": "auth file of registries; default as podman's",
        "build": "the build; default the latest",
        "arch": "its architecture",
        "insecure": "take any certificate, and registries without TLS",
    },
)  # fmt: skip
def push_container(
    _c: Context,
    name: str,
    *,
    image: str = "ostree",
    format: str = "oci",  # noqa: A002  the option's name
    tag_suffix: str = "",
    authfile: str = "",
    build: str = "",
    arch: str = "",
    insecure: bool = False,
) -> None:
    """Push a container of a build to a registry, and note its digest in meta.json."""
    from cosa.cli.parse import usage_error
    from cosa.pipeline import containers

    if format not in ("oci", "v2s2"):
        raise usage_error("option-value", f"--format knows no {format!r}", fix="choose oci or v2s2")
    workdir, build, arch = _build(build, arch)
    with client_of(authfile, "", insecure=insecure) as client:
        pushed = containers.push(
            workdir,
            client,
            name,
            build=build,
            arch=arch,
            artefact=image,
            suffix=tag_suffix,
            v2s2=format == "v2s2",
        )
    print(f"{pushed.name}:{pushed.tag}@{pushed.digest}")


@command(
    group="Containers",
    positional=[],
    iterable=["tag", "arch", "image"],
    metavar={
        "repo": "REPOSITORY", "tag": "TAG", "artifact": "NAME", "metajsonname": "KEY",
        "build": "ID", "arch": "ARCH", "authfile": "FILE", "write_digest_to_file": "FILE",
        "image": "IMAGE",
    },
    help={
        "repo": "where to",
        "tag": "a tag of the list; may be repeated",
        "artifact": "which container of the build",
        "metajsonname": "the key in meta.json; default as upstream names it",
        "build": "the build; default the latest",
        "arch": "architectures; default all the build has",
        "image": "instead of a build: images that are in a registry already",
        "v2s2": "Docker's format",
        "force": "push even if the registry has the same list",
        "authfile": "auth file of registries; default as podman's",
        "write-digest-to-file": "write the list's digest here",
        "insecure": "take any certificate, and registries without TLS",
    },
)  # fmt: skip
def push_container_manifest(
    _c: Context,
    *,
    tag: list[str],
    arch: list[str],
    image: list[str],
    repo: str = "",
    artifact: str = "",
    metajsonname: str = "",
    build: str = "",
    v2s2: bool = False,
    force: bool = False,
    authfile: str = "",
    write_digest_to_file: str = "",
    insecure: bool = False,
) -> None:
    """Push a build's container for all its architectures as one manifest list."""
    from cosa.cli.parse import usage_error
    from cosa.core import fs
    from cosa.pipeline import containers

    if not repo or not tag or bool(artifact) == bool(image):
        raise usage_error(
            "missing-argument",
            "`cosa push-container-manifest` needs --repo, --tag, and --artifact or --image",
        )
    with client_of(authfile, "", insecure=insecure) as client:
        if image:
            digest = containers.join(client, repo, words_of(tag), words_of(image), v2s2=v2s2)
        else:
            workdir, build, _ = _build(build, "")
            arches = words_of(arch) or _arches(workdir, build)
            wanted = containers.Listed(repo, words_of(tag), artifact, metajsonname, v2s2, force)
            digest = containers.push_list(workdir, client, build, arches, wanted)
    if write_digest_to_file:
        fs.atomic_write(Path(write_digest_to_file), digest + "\n")
    print(f"{repo}@{digest}")


@command(
    group="Containers",
    positional=["source", "target"],
    iterable=["tag"],
    metavar={"tag": "TAG", "authfile": "FILE", "dest_authfile": "FILE"},
    help={
        "source": "the repository to copy from",
        "target": "the repository to copy to",
        "tag": "a tag to copy; may be repeated",
        "authfile": "auth file of registries; default as podman's",
        "dest-authfile": "auth file for the target",
        "manifest-list-to-arch-tag": "each image of a list as TAG-ARCH, not the list",
        "v2s2": "refused: copies keep their digests",
        "insecure": "take any certificate, and registries without TLS",
    },
)  # fmt: skip
def copy_container(
    _c: Context,
    source: str,
    target: str,
    *,
    tag: list[str],
    authfile: str = "",
    dest_authfile: str = "",
    manifest_list_to_arch_tag: bool = False,
    v2s2: bool = False,
    insecure: bool = False,
) -> None:
    """Copy tags from one repository to another; digests stay the same."""
    from cosa.cli.parse import usage_error
    from cosa.pipeline import containers
    from cosa.tools.registry import Client
    from cosa.tools.registry_auth import AuthFile
    from cosa.tools.registry_http import Connections

    if not tag:
        raise usage_error("missing-argument", "`cosa copy-container` needs --tag")
    files = [Path(name) for name in (dest_authfile, authfile) if name]
    with Connections(AuthFile(*files), insecure=insecure) as connections:
        lines = containers.copy(
            Client(connections), source, target, words_of(tag),
            v2s2=v2s2, by_arch=manifest_list_to_arch_tag,
        )  # fmt: skip
    print("\n".join(lines))


def _build(build: str, arch: str) -> tuple[Workdir, str, str]:
    from cosa.pipeline.workdir import Workdir, basearch

    workdir = Workdir(settings().workdir)
    workdir.need_init()
    arch = arch or basearch()
    return workdir, build or workdir.latest(arch), arch


def _arches(workdir: Workdir, build: str) -> list[str]:
    entry = next(one for one in workdir.read_builds().builds if one.id == build)
    return list(entry.arches)
