"""`tag`: names for builds."""

from __future__ import annotations

from cosa.cli.command import Context, command
from cosa.cli.settings import settings


@command(
    group="Builds",
    positional=["action"],
    metavar={"tag": "NAME", "build": "ID", "description": "TEXT"},
    help={
        "action": "update, delete or list",
        "tag": "the tag",
        "build": "with update: the build it shall name",
        "description": "with update: what it is for",
        "force": "with update: even if no such build is listed",
        "all": "with delete: every tag",
    },
)
def tag(
    _c: Context,
    action: str,
    *,
    tag: str = "",
    build: str = "",
    description: str = "",
    force: bool = False,
    all: bool = False,  # noqa: A002  the option's name
) -> None:
    """Name builds, so that they are found again and never pruned."""
    from cosa.cli.parse import nearest, usage_error
    from cosa.pipeline import inspect, tags
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    workdir.need_init()
    if action == "list":
        print("\n".join(inspect.tag_lines(workdir.read_builds().tags)) or "No tags found")
    elif action == "update":
        if not tag or not build:
            raise usage_error("missing-argument", "`cosa tag update` needs --tag and --build")
        made = tags.update(workdir, tag, build, description=description, force=force)
        print(f"{made.name} is build {made.target}")
    elif action == "delete":
        if bool(tag) == all:
            raise usage_error("missing-argument", "`cosa tag delete` needs --tag or --all")
        gone = tags.delete_all(workdir) if all else [tag]
        if tag:
            tags.delete(workdir, tag)
        print(f"removed {', '.join(gone)}" if gone else "No tags found")
    else:
        actions = ("update", "delete", "list")
        raise usage_error(
            "tag", f"`cosa tag` knows no '{action}'",
            fix=f"{nearest(action, actions)} choose one of {', '.join(actions)}".strip(),
        )  # fmt: skip
