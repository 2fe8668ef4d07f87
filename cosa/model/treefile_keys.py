"""Every key of a treefile: its type, how it merges, and its place in the flattened print.

The order of the fields is the order rpm-ostree prints them in (the structs of
its rust/src/treefile.rs, from outermost to innermost).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Rule(enum.Enum):
    """What happens to a key when an included treefile meets the one that includes it."""

    FIRST = "first wins"
    PREPEND = "the included list goes before what is there"
    UNION = "united and sorted"
    MAP = "entries are united, the includer's win"
    OWN = "taken from the top treefile only"
    CONSUMED = "used while reading, gone afterwards"


@dataclass(frozen=True)
class Hidden:
    """Marks a key that the flattened print leaves out."""


U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Field(ge=0, le=2**64 - 1)]
type Variable = bool | int | str


_Str = Annotated[str | None, Rule.FIRST]
_Bool = Annotated[bool | None, Rule.FIRST]
_List = Annotated[tuple[str, ...] | None, Rule.PREPEND]
_Set = Annotated[tuple[str, ...] | None, Rule.UNION]
_Metadata = Annotated[dict[str, Any] | None, Rule.MAP]


def kebab(name: str) -> str:
    """The key of a field: `boot_location` is `boot-location`."""
    return name.replace("_", "-")


def _one_ascii(text: str) -> str:
    if len(text) != 1 or not text.isascii():
        raise ValueError("must be exactly one ASCII character")
    return text


class Part(BaseModel):
    """What all parts of a treefile have in common: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab)


class Rojig(Part):
    """Name and words for people; the commit itself does not carry them."""

    name: str
    summary: str
    license: str
    description: str | None = None


class RepoPackages(Part):
    """Packages that are to come from one repository."""

    repo: str
    packages: tuple[str, ...]


class CheckNone(Part):
    """No check."""

    type: Literal["none"]


class CheckPrevious(Part):
    """Compare with the previous commit."""

    type: Literal["previous"]


class CheckFile(Part):
    """Compare with, and seed from, a file beside the treefile."""

    type: Literal["file"]
    filename: str


class CheckUsers(Part):
    """Compare with ids written here: one id for both, or uid and gid."""

    type: Literal["data"]
    entries: dict[str, U32 | Annotated[tuple[U32, ...], Field(min_length=1, max_length=2)]]


class CheckGroupIds(Part):
    """Compare with ids written here."""

    type: Literal["data"]
    entries: dict[str, U32]


class ConditionalInclude(Part):
    """Paths or a treefile written in place, taken when every condition holds."""

    condition: str | tuple[str, ...] = Field(alias="if")
    include: str | tuple[str, ...] | dict[str, Any]


_NoCheck = CheckNone | CheckPrevious | CheckFile
_Passwd = Annotated[_NoCheck | CheckUsers, Field(discriminator="type")]
_Groups = Annotated[_NoCheck | CheckGroupIds, Field(discriminator="type")]
_Where = Literal["inline", "detached", "disabled"]


class TreeConfig(Part):
    """One treefile as written, after its aliases are replaced; None is a key that is not set."""

    packages: _Set = None
    repo_packages: Annotated[tuple[RepoPackages, ...] | None, Rule.PREPEND] = None
    cliwrap: _Bool = None
    cliwrap_binaries: _List = None
    edition: Annotated[Literal["2014", "2024"] | None, Rule.FIRST] = None
    ref: _Str = None
    metadata: _Metadata = None
    basearch: _Str = None
    variables: Annotated[dict[str, bool | U64 | str] | None, Rule.CONSUMED, Hidden()] = None
    repovars: Annotated[dict[str, str] | None, Rule.MAP, Hidden()] = None
    rojig: Annotated[Rojig | None, Rule.FIRST] = None
    repos: _List = None
    lockfile_repos: _List = None
    selinux: _Bool = None
    ignore_devices: _Bool = None
    selinux_label_version: Annotated[Annotated[int, Field(ge=0, le=1)] | None, Rule.FIRST] = None
    ima: _Bool = None
    gpg_key: _Str = None
    include: Annotated[str | tuple[str, ...] | None, Rule.CONSUMED] = None
    arch_include: Annotated[dict[str, str | tuple[str, ...]] | None, Rule.CONSUMED] = None
    conditional_include: Annotated[
        tuple[ConditionalInclude, ...] | None, Rule.CONSUMED, Hidden()
    ] = None
    bootstrap_packages: _Set = None
    ostree_layers: _List = None
    ostree_override_layers: _List = None
    exclude_packages: _List = None
    platform_module: Annotated[str | None, Rule.OWN] = None
    container: _Bool = None
    recommends: _Bool = None
    documentation: _Bool = None
    install_langs: _List = None
    initramfs_args: _List = None
    no_initramfs: _Bool = None
    readonly_executables: _Bool = None
    boot_location: Annotated[Literal["new", "modules", "kernel-install"] | None, Rule.FIRST] = None
    tmp_is_dir: _Bool = None
    opt_usrlocal: Annotated[
        Literal["var", "root", "state-overlay", "stateoverlay"] | None, Rule.FIRST
    ] = None
    units: _List = None
    default_target: _Str = None
    machineid_compat: _Bool = None
    releasever: Annotated[U64 | str | None, Rule.FIRST] = None
    automatic_version_prefix: _Str = None
    automatic_version_suffix: Annotated[
        Annotated[str, AfterValidator(_one_ascii)] | None, Rule.FIRST
    ] = None
    mutate_os_release: _Str = None
    etc_group_members: _List = None
    preserve_passwd: _Bool = None
    check_passwd: Annotated[_Passwd | None, Rule.FIRST] = None
    check_groups: Annotated[_Groups | None, Rule.FIRST] = None
    ignore_removed_users: _Set = None
    ignore_removed_groups: _Set = None
    postprocess_script: _Str = None
    postprocess: _List = None
    add_files: Annotated[tuple[tuple[str, str], ...] | None, Rule.PREPEND] = None
    remove_files: _List = None
    remove_from_packages: Annotated[
        tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] | None, Rule.PREPEND
    ] = None
    add_commit_metadata: _Metadata = None
    repo_metadata: Annotated[_Where | None, Rule.FIRST] = None
    advisories_metadata: Annotated[_Where | None, Rule.FIRST] = None
    rpmdb: Annotated[
        Literal["target", "bdb", "b-d-b", "ndb", "sqlite", "host"] | None, Rule.FIRST
    ] = None
    rpmdb_normalize: _Bool = None
    sysusers: Annotated[Literal["compose-auto", "compose-forced"] | None, Rule.FIRST] = None
    container_cmd: Annotated[tuple[str, ...] | None, Rule.FIRST] = None


FIELDS = TreeConfig.model_fields
KEYS: Mapping[str, str] = {kebab(field): field for field in FIELDS}
RULES: Mapping[str, Rule] = {
    field: next(item for item in info.metadata if isinstance(item, Rule))
    for field, info in FIELDS.items()
}
PRINTED = tuple(f for f, i in FIELDS.items() if not any(isinstance(m, Hidden) for m in i.metadata))
# key as it may also be written -> key
ALIASES = {
    "gpg_key": "gpg-key",
    "boot_location": "boot-location",
    "default_target": "default-target",
    "automatic_version_prefix": "automatic-version-prefix",
    "bootstrap_packages": "bootstrap-packages",
}
# What rpm-ostree keeps in a client's origin; a compose refuses it.
CLIENT_ONLY = frozenset(
    {
        "base-refspec",
        "container-image-reference",
        "packages-local",
        "packages-local-fileoverride",
        "override-remove",
        "ex-override-replace",
        "override-replace-local",
        "initramfs",
        "custom",
        "override-commit",
        "unconfigured-state",
    }
)
RESERVED = ("basearch", "releasever")
# Values with an older spelling, printed as the newer one.
RESPELLED = {"b-d-b": "bdb", "stateoverlay": "state-overlay"}
