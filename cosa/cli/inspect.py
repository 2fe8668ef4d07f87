"""`list`, `meta`, `basearch`: what is in the build directory."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(group="Builds", name="list")
def list_builds(_c: Context) -> None:
    """List the builds, newest first, and tags."""
    from cosa.pipeline import inspect
    from cosa.pipeline.workdir import Workdir

    print("\n".join(inspect.listing(Workdir(settings().workdir))))


@command(
    group="Builds",
    positional=[],
    iterable=["get_value", "set", "set_bool"],
    metavar={
        "get": "KEY", "get_value": "KEY", "set": "KEY=VALUE", "build": "ID", "arch": "ARCH",
        "image_path": "NAME", "set_bool": "KEY",
    },
    help={
        "get": "print KEY=VALUE of a key",
        "get-value": "print the value of a (dotted) key; None when there is none",
        "set": "set a key; may be repeated",
        "set-bool": "set a key to --true or --false",
        "true": "with --set-bool", "false": "with --set-bool",
        "dump": "print the whole file",
        "image-path": "print the path of an image file",
        "build": "which build; default the latest", "arch": "of which architecture",
    },
)  # fmt: skip
def meta(
    _c: Context,
    *,
    get: str = "",
    get_value: list[str] | None = None,
    set: list[str] | None = None,  # noqa: A002  the option's name
    set_bool: list[str] | None = None,
    true: bool = False,
    false: bool = False,
    dump: bool = False,
    image_path: str = "",
    build: str = "",
    arch: str = "",
) -> None:
    """Print or change a build's metadata.

    As scripts expect from upstream: keys are dotted paths, a missing one prints
    None and is no failure, objects print as Python does.
    """
    from cosa.cli.parse import usage_error
    from cosa.pipeline import inspect
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    if set_bool and true == false:
        raise usage_error("meta", "--set-bool needs one of --true and --false")
    changes: dict[str, object] = {}
    for item in set or []:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise usage_error("meta", f"--set wants KEY=VALUE, not '{item}'")
        changes[key] = value
    changes |= dict.fromkeys(set_bool or [], true)
    if not (get or get_value or changes or dump or image_path):
        raise usage_error("meta", "nothing was asked for", "see `cosa meta --help`")
    if changes:
        inspect.change_meta(workdir, changes, build, arch)
    if image_path:
        print(workdir.image_path(image_path, build, arch))
    if get or get_value or dump:
        print("\n".join(inspect.show_meta(workdir, build, arch, get, get_value or [], dump=dump)))


@command(group="Builds")
def basearch(_c: Context) -> None:
    """Print the architecture, as RPM names it."""
    from cosa.pipeline.workdir import basearch as here

    print(here())
