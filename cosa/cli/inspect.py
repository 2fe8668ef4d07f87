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
    iterable=["get", "get_value", "set", "set_int", "set_bool", "artifact_json"],
    metavar={
        "get": "KEY", "get_value": "KEY", "set": "KEY=VALUE", "set_int": "KEY=N", "build": "ID",
        "arch": "ARCH", "image_path": "NAME", "set_bool": "KEY", "artifact": "NAME",
        "artifact_json": "FILE",
    },
    help={
        "get": "print `KEY: VALUE`",
        "get-value": "print the value of a (dotted) key; None when there is none",
        "set": "set a key to a text; may be repeated",
        "set-int": "set a key to a whole number",
        "set-bool": "set a key to --true or --false",
        "true": "with --set-bool", "false": "with --set-bool",
        "dump": "print the whole file",
        "image-path": "print the path of an image file",
        "artifact-json": "merge what FILE says of an artefact into the metadata",
        "artifact": "where merging is delayed, the change goes to meta.NAME.json",
        "finalize": "merge all meta.NAME.json into meta.json",
        "no-clean": "with --finalize, keep the merged files",
        "build": "which build; default the latest", "arch": "of which architecture",
        "skip-validation": "do not hold the metadata against its schema",
    },
)  # fmt: skip
def meta(
    _c: Context,
    *,
    get: list[str] | None = None,
    get_value: list[str] | None = None,
    set: list[str] | None = None,  # noqa: A002  the option's name
    set_int: list[str] | None = None,
    set_bool: list[str] | None = None,
    true: bool = False,
    false: bool = False,
    dump: bool = False,
    image_path: str = "",
    artifact_json: list[str] | None = None,
    artifact: str = "",
    finalize: bool = False,
    no_clean: bool = False,
    build: str = "",
    arch: str = "",
    skip_validation: bool = False,
) -> None:
    """Print or change a build's metadata.

    As scripts expect from upstream: keys are dotted paths, a missing one prints
    None and is no failure, objects print as Python does.
    """
    import json
    from pathlib import Path

    from cosa.cli.parse import usage_error
    from cosa.pipeline import metafile
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    changes = _changes(set or [], set_int or [], set_bool or [], true=true, false=false)
    asked = (get, get_value, changes, dump, image_path, artifact_json, finalize)
    if not any(asked):
        raise usage_error("meta", "nothing was asked for", "see `cosa meta --help`")
    target = metafile.Target.of(
        workdir, build, arch, artifact=artifact, validate=not skip_validation
    )
    if changes:
        written = metafile.change(target, changes)
        if set_bool:
            print(written)
    for name in artifact_json or []:
        print(metafile.merge(target, Path(name)))
    if finalize:
        for name in metafile.finalize(target, keep=no_clean):
            print(f"merged {name}")
    if image_path:
        print(workdir.image_path(image_path, build, arch))
    data = target.read() if get or get_value or dump else {}
    for key in get or []:
        print(f"{key}: {metafile.lookup(data, key)}")
    for key in get_value or []:
        print(metafile.lookup(data, key))
    if dump:
        print(json.dumps(data, indent=4))


def _changes(
    texts: list[str], numbers: list[str], switches: list[str], *, true: bool, false: bool
) -> dict[str, object]:
    """What to set. Raises `usage/meta`."""
    from cosa.cli.parse import usage_error

    if switches and true == false:
        raise usage_error("meta", "--set-bool needs one of --true and --false")
    if (true or false) and not switches:
        raise usage_error("meta", "--true and --false go with --set-bool KEY")
    changes: dict[str, object] = {}
    for item in texts:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise usage_error("meta", f"--set wants KEY=VALUE, not '{item}'")
        changes[key] = value
    for item in numbers:
        key, equals, value = item.partition("=")
        if not equals or not key or not value.lstrip("-").isdecimal():
            raise usage_error("meta", f"--set-int wants KEY=NUMBER, not '{item}'")
        changes[key] = int(value)
    return changes | dict.fromkeys(switches, true)


@command(group="Builds")
def basearch(_c: Context) -> None:
    """Print the architecture, as RPM names it."""
    from cosa.pipeline.workdir import basearch as here

    print(here())
