"""What is kept with a pytest item: its name, its request, the group it runs in."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from cosa.core.errors import CosaError
from cosa.kola.extitem import ExtItem
from cosa.kola.metadata import Limit
from cosa.kola.outcome import NAME_KEY
from cosa.kola.request import Request

REQUEST = pytest.StashKey[Request]()
BAD = pytest.StashKey[CosaError]()
_KNOWN = {
    "Platforms": ("qemu", "qemu-iso", "aws", "azure", "gcp", "openstack", "do", "esx"),
    "Architectures": ("x86_64", "aarch64", "ppc64le", "s390x"),
    "Distros": ("fcos", "rhcos", "scos"),
}


def name_of(item: pytest.Item) -> str:
    """The name by which people know a test."""
    return str(dict(item.user_properties)[NAME_KEY])


def request_of(item: pytest.Item) -> Request:
    """What a test asks for."""
    return item.stash[REQUEST]


def tags_of(item: pytest.Item) -> tuple[str, ...]:
    """The tags of a test of either kind."""
    return item.test.tags if isinstance(item, ExtItem) else item.stash[REQUEST].tags


def group_of(item: pytest.Item) -> str:
    """Tests with the same group share a machine.

    Where machines are restored in seconds, tests that only look need not wait for those
    that change the machine: they have one of their own.
    """
    if isinstance(item, ExtItem):
        return item.bucket.bucket.name if item.bucket else name_of(item)
    if "machine" not in getattr(item, "fixturenames", ()):
        return name_of(item)
    wanted = item.stash[REQUEST]
    changing = bool(wanted.stage and item.config.option.kola_saved and not wanted.cold)
    callspec = getattr(item, "callspec", None)
    copy = callspec.params.get("kola_copy", "") if callspec else ""
    return f"shared-{wanted.machine_key()}{'-changed' if changing else ''}{copy}"


def listing(items: Sequence[pytest.Item]) -> list[dict[str, object]]:
    """What `cosa kola list --json` prints, in upstream's words."""
    rows: list[dict[str, object]] = []
    for item in items:
        if isinstance(item, ExtItem):
            meta = item.test.meta
            limits = (meta.platforms, meta.architectures, meta.distros)
            text = str(item.test.problem) if item.test.problem else meta.description
        else:
            limits = (Limit(("qemu",)), Limit(("x86_64",)), Limit())
            text = (getattr(item, "obj", None) and item.obj.__doc__) or ""  # type: ignore[attr-defined]
        row: dict[str, object] = {"Name": name_of(item)}
        for (key, known), limit in zip(_KNOWN.items(), limits, strict=True):
            row[key] = [name for name in known if limit.allows(name)]
        row |= {"Tags": list(tags_of(item)), "Description": text.strip().partition("\n")[0]}
        rows.append(row)
    return rows


def to_json(rows: list[dict[str, object]]) -> str:
    """The rows as JSON text."""
    return json.dumps(rows, indent=2)
