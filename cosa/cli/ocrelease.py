"""`oc-adm-release`: an existing release with the OS of a build in it."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.registry import client_of
from cosa.cli.settings import settings


@command(
    group="Payload",
    metavar={
        "from_url": "REPOSITORY", "from_tag": "TAG", "to_url": "REPOSITORY", "to_tag": "TAG",
        "content": "NAME", "build": "ID", "authfile": "FILE", "name": "VERSION",
    },
    help={
        "from-url": "the repository of the release to start from",
        "from-tag": "its tag",
        "to-url": "the repository to push to",
        "to-tag": "the tag to push as; default the new release's version",
        "content": "the component that is the OS; default machine-os-content",
        "name": "the new release's version; default as `oc` makes one up",
        "build": "the build; default the latest",
        "authfile": "auth file of registries; default as podman's",
        "insecure": "take any certificate, and registries without TLS",
        "dry-run": "push nothing",
    },
)  # fmt: skip
def oc_adm_release(
    _c: Context,
    *,
    from_url: str = "",
    from_tag: str = "",
    to_url: str = "",
    to_tag: str = "",
    content: str = "machine-os-content",
    name: str = "",
    build: str = "",
    authfile: str = "",
    insecure: bool = False,
    dry_run: bool = False,
) -> None:
    """Put the OS container of a build into a release, as pushed and noted in meta.json."""
    from cosa.cli.parse import usage_error
    from cosa.payload import new, read, source
    from cosa.payload.assemble import Wanted

    if not from_url or not from_tag or not (to_url or dry_run):
        raise usage_error(
            "missing-argument", "`cosa oc-adm-release` needs --from-url, --from-tag and --to-url"
        )
    pullspec = _os_container(build)
    with client_of(authfile, "", insecure=insecure) as client:
        release = read.load(client, f"{from_url}:{from_tag}")
        made_from = source.override(
            source.from_release(release.stream, str(release.ref)), [f"{content}={pullspec}"], client
        )
        created = new.created_at()
        version = name or new.default_name(created)
        wanted = Wanted(version, created, annotations=made_from.annotations)
        target = f"{to_url}:{to_tag or version.replace('+', '_')}" if to_url else ""
        options = new.Options(wanted, target, dry_run=dry_run)
        made = new.new(made_from, options, client)
    print(made.digest, version, created)


def _os_container(build: str) -> str:
    """The pushed container of a build, by digest. Raises `container/not-pushed`."""
    from cosa.core.errors import CosaError
    from cosa.pipeline.workdir import Workdir, basearch

    workdir = Workdir(settings().workdir)
    workdir.need_init()
    build = build or workdir.latest(basearch())
    data = workdir.meta(build, basearch()).to_json()
    for key in ("oscontainer", "base-oscontainer"):
        entry = data.get(key)
        if isinstance(entry, dict) and entry.get("image") and entry.get("digest"):
            return f"{entry['image'].rpartition('@')[0] or entry['image']}@{entry['digest']}"
    raise CosaError(
        "container/not-pushed", f"no container of build {build} has been pushed",
        why="its meta.json has neither oscontainer nor base-oscontainer",
        fix="push it with `cosa push-container HOST/REPOSITORY`",
    )  # fmt: skip
