"""Versions of components (kubernetes, machine-os ...) that images declare by label.

Label `io.openshift.build.versions`: `key=version,...`; versions are semantic
versions in the strict sense, so Fedora CoreOS's four parts are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cosa.core.errors import Problems
from cosa.payload.errors import refused
from cosa.payload.imagestream import DISPLAY_NAMES, VERSIONS, Tag

ALLOWED = ("kubernetes", "machine-os", "kernel", "crio", "kubectl", "kubernetes-tests")
_KEY = re.compile(r"[a-z0-9][-a-z0-9]*[a-z0-9]\Z")
_NAME = re.compile(r"[A-Za-z0-9\-:\s().]+\Z")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PART = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PART}(?:\.{_PART})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\Z"
)
# Of several images that declare kubectl these are right, in this order.
_KUBECTL = ("cli", "cli-artifacts")


@dataclass(frozen=True)
class Component:
    """What one image says of one component."""

    tag: str
    key: str
    version: str
    display_name: str = ""


def is_semver(text: str) -> bool:
    """Whether a text is a semantic version (semver.org 2.0.0), strictly."""
    return bool(_SEMVER.match(text))


def sort_key(version: str) -> tuple[tuple[int, ...], int, tuple[tuple[int, int, str], ...]]:
    """Precedence of a semantic version, build metadata aside."""
    core, _, pre = version.partition("+")[0].partition("-")
    parts = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".") if part
    )
    return tuple(int(part) for part in core.split(".")), 0 if pre else 1, parts


def declared_by(tag: Tag) -> list[Component]:
    """What a component's annotations declare; every mistake at once."""
    problems = Problems()
    names: dict[str, str] = {}
    with problems.collecting():
        names = dict(_pairs(tag, DISPLAY_NAMES))
    found = []
    with problems.collecting():
        for key, version in _pairs(tag, VERSIONS):
            with problems.collecting():
                _check(tag.name, key, version)
            found.append(Component(tag.name, key, version, names.get(key, "")))
    for key, name in names.items():
        if not _NAME.match(name):
            with problems.collecting():
                raise refused(
                    "bad-label", f"{tag.name}: invalid {DISPLAY_NAMES} label",
                    why=f"the name {name!r} of {key} may hold letters, digits, spaces and"
                    " - : ( ) . only",
                )  # fmt: skip
    problems.raise_if_any(f"{tag.name}: invalid {VERSIONS} or {DISPLAY_NAMES} label")
    return found


def _check(tag: str, key: str, version: str) -> None:
    if key not in ALLOWED:
        raise refused(
            "component-not-allowed",
            f'{tag}: references a component version "{key}" which is not in the allowed list:'
            f" {', '.join(ALLOWED)}",
        )  # fmt: skip
    if is_semver(version):
        return
    fix = "write MAJOR.MINOR.PATCH"
    if re.fullmatch(r"\d+\.\d{8}\.\d+\.\d+", version):
        fix += f", e.g. {map_os_version(version)} for {version}"
    raise refused(
        "bad-label", f"{tag}: invalid {VERSIONS} or {DISPLAY_NAMES} label",
        why=f"the version {version!r} of {key} is not a semantic version", fix=fix,
    )  # fmt: skip


def _pairs(tag: Tag, label: str) -> Iterable[tuple[str, str]]:
    text = tag.annotations.get(label, "")
    for word in text.split(",") if text else ():
        key, equals, value = word.strip().partition("=")
        if not equals or not _KEY.match(key):
            raise refused(
                "bad-label", f"{tag.name}: invalid {VERSIONS} or {DISPLAY_NAMES} label",
                why=f"{word!r} in {label} is not KEY=VALUE",
            )  # fmt: skip
        yield key, value


def map_os_version(version: str) -> str:
    """An OS version as a semantic version: X.YYYYMMDD.Z.N becomes X.YYYYMMDD.Z-N, others as is.

    Order is kept among versions of one stream: the last number is a numeric
    identifier of the pre-release part.
    """
    if is_semver(version):
        return version
    parts = version.split(".")
    if len(parts) > 3 and all(re.fullmatch(r"[0-9A-Za-z-]+", part) for part in parts):
        mapped = f"{'.'.join(str(int(p)) if p.isdigit() else p for p in parts[:3])}-"
        mapped += ".".join(str(int(p)) if p.isdigit() else p for p in parts[3:])
        if is_semver(mapped):
            return mapped
    raise refused(
        "no-semver", f"the OS version {version!r} cannot be written as a semantic version",
        fix="build with a version like 41.20260101.0.1",
    )  # fmt: skip


def by_key(tags: Iterable[Tag]) -> dict[str, list[Component]]:
    """Declarations of several images by component; kubectl and machine-os may be declared often."""
    found: dict[str, list[Component]] = {}
    for tag in tags:
        for one in declared_by(tag):
            found.setdefault(one.key, []).append(one)
    for winner in reversed(_KUBECTL):
        mine = [one for one in found.get("kubectl", []) if one.tag == winner]
        if mine:
            found["kubectl"] = mine
    return found


def check_consistent(found: Mapping[str, list[Component]]) -> None:
    """Refuse one component in two versions; several OS images may differ. All at once."""
    problems = Problems()
    for key, declared in sorted(found.items()):
        versions = sorted({one.version for one in declared})
        if len(versions) > 1 and key != "machine-os":
            with problems.collecting():
                raise refused(
                    "versions-differ",
                    f'the version for "{key}" is inconsistent across the referenced images:'
                    f" {', '.join(versions)}",
                    why="; ".join(f"{one.tag} says {one.version}" for one in declared),
                )  # fmt: skip
    problems.raise_if_any("component versions are inconsistent")
