"""`buildfetch` and `buildupload`: builds from and to where they are published."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings

_PUBLIC = "https://builds.coreos.fedoraproject.org/prod/streams/{stream}/builds"


@command(
    group="Builds",
    iterable=["arch", "artifact", "file"],
    metavar={
        "url": "URL", "stream": "NAME", "build": "ID", "arch": "ARCH|all",
        "artifact": "NAME|all", "file": "NAME", "find_build_for_arch": "ARCH",
        "aws_config_file": "FILE",
    },
    help={
        "url": "s3://BUCKET/PREFIX, http(s)://..., file://... or a folder, up to builds/",
        "stream": "Fedora CoreOS's stream, where no --url is given; default by --build",
        "build": "which build; default the newest there",
        "arch": "which architectures; default this machine's; may be repeated",
        "artifact": "which images; default none; may be repeated",
        "file": "further files of the build; may be repeated",
        "find-build-for-arch": "the newest build that there is for ARCH",
        "decompress": "unpack the images that were fetched",
        "force": "although builds are listed here that are not there; they stay listed",
        "aws-config-file": "credentials for s3://",
    },
)  # fmt: skip
def buildfetch(
    _c: Context,
    *,
    url: str = "",
    stream: str = "",
    build: str = "",
    arch: list[str] | None = None,
    artifact: list[str] | None = None,
    file: list[str] | None = None,
    find_build_for_arch: str = "",
    decompress: bool = False,
    force: bool = False,
    aws_config_file: str = "",
) -> None:
    """Fetch the list of builds and one build's metadata, and images if asked for.

    No list there is no failure: a first build has no history.
    """
    from cosa.cli.parse import usage_error
    from cosa.pipeline import buildfetch as fetching
    from cosa.pipeline import compress
    from cosa.pipeline.workdir import Workdir
    from cosa.tools.bucket import open_bucket

    if url and stream:
        raise usage_error("exclusive", "--url and --stream exclude each other")
    if build and find_build_for_arch:
        raise usage_error("exclusive", "--build and --find-build-for-arch exclude each other")
    place = url or _PUBLIC.format(stream=stream or fetching.stream_of(build))
    wish = fetching.Wish(
        build,
        tuple(arch or ()),
        tuple(artifact or ()),
        tuple(file or ()),
        find_build_for_arch,
        force,
    )
    workdir = Workdir(settings().workdir)
    bucket = open_bucket(place, aws_config=aws_config_file)
    found, arches = fetching.fetch(workdir, bucket, wish)
    if not found:
        print(f"no builds at {bucket.address}")
        return
    print(f"build {found} for {', '.join(arches)} is here")
    if decompress and wish.artefacts:
        names = () if "all" in wish.artefacts else wish.artefacts
        for name in compress.decompress(workdir, compress.Wish(found, names)):
            print(f"unpacked {name}")


@command(
    group="Builds",
    iterable=["arch", "artifact"],
    metavar={
        "build": "ID", "arch": "ARCH", "artifact": "NAME", "acl": "NAME", "endpoint_url": "URL",
        "aws_config_file": "FILE",
    },
    help={
        "kind": "s3 or file",
        "destination": "BUCKET/PREFIX, up to builds/; or a folder",
        "build": "which build; default the latest",
        "arch": "which architectures; default all that are here; may be repeated",
        "artifact": "which images; default all; may be repeated",
        "skip-builds-json": "leave the list there as it is",
        "force": "send images although they are there already",
        "dry-run": "only say what would be sent",
        "acl": "who may read it, in S3's words; default private",
        "endpoint-url": "another server that speaks S3",
        "aws-config-file": "credentials",
        "enable-gz-peel": "store X.gz as X with a header saying that it is gzipped",
    },
)  # fmt: skip
def buildupload(
    _c: Context,
    kind: str,
    destination: str,
    *,
    build: str = "",
    arch: list[str] | None = None,
    artifact: list[str] | None = None,
    skip_builds_json: bool = False,
    force: bool = False,
    dry_run: bool = False,
    acl: str = "private",
    endpoint_url: str = "",
    aws_config_file: str = "",
    enable_gz_peel: bool = False,
) -> None:
    """Send a build to S3 or a folder: images first, metadata after them, the list last."""
    from cosa.cli.parse import usage_error
    from cosa.pipeline.buildupload import Wish, upload
    from cosa.pipeline.workdir import Workdir
    from cosa.tools.bucket import Bucket, folder_bucket

    bucket: Bucket
    if kind == "s3":
        from cosa.tools.s3 import S3Bucket

        name, _, prefix = destination.removeprefix("s3://").partition("/")
        bucket = S3Bucket.open(
            name, prefix, aws_config=aws_config_file, endpoint=endpoint_url, acl=acl
        )
    elif kind == "file":
        bucket = folder_bucket(destination)
    else:
        raise usage_error("kind", f"builds are sent to s3 or file, not '{kind}'")
    wish = Wish(
        build, tuple(arch or ()), tuple(artifact or ()), skip_builds_json, force, dry_run,
        enable_gz_peel,
    )  # fmt: skip
    for name in upload(Workdir(settings().workdir), bucket, wish):
        print(f"{'would send' if dry_run else 'sent'} {bucket.address}/{name}")
