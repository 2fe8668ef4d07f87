"""`schema`: the formats of the files cosa writes, as JSON Schemas."""

from __future__ import annotations

from cosa.cli.command import Context, command


@command(
    group="Builds",
    positional=["name"],
    metavar={"write": "DIR", "check": "DIR"},
    help={
        "name": "meta, builds, commitmeta, lockfile, lockfile-overrides, image or treefile;"
        " none: list them",
        "write": "renew the published schemas in DIR",
        "check": "say which schemas in DIR are not current",
    },
)
def schema(_c: Context, *, name: str = "", write: str = "", check: str = "") -> int:
    """Print the JSON Schema of a file format.

    `docs/schemas` holds all of them.
    """
    from pathlib import Path

    from cosa.cli.parse import nearest, usage_error
    from cosa.model import schemas

    if write:
        changed = schemas.write(Path(write))
        print("\n".join(changed) or "all schemas were current")
        return 0
    if check:
        old = schemas.stale(Path(check))
        print("\n".join(f"not current: {each}" for each in old) or "all schemas are current")
        return 1 if old else 0
    if not name:
        print("\n".join(schemas.SCHEMAS))
        return 0
    if name not in schemas.SCHEMAS:
        raise usage_error(
            "schema", f"there is no schema '{name}'",
            fix=nearest(name, schemas.SCHEMAS) or f"there are: {', '.join(schemas.SCHEMAS)}",
        )  # fmt: skip
    print(schemas.text(name), end="")
    return 0
