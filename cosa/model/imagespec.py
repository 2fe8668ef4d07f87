"""image.yaml: what a definition says about its disks (docs/images.md lists the keys).

Upstream's file, with the keys it has had over the years. A file may include
others: for single values the includer wins, lists are joined (the includer's
items first) without repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cosa.core.errors import CosaError, Problems
from cosa.core.store import Json
from cosa.model import document
from cosa.model.document import Document, Spot

_LIMIT = 50  # files deep; a longer chain is a mistake

type Compressor = Literal["xz", "gzip", "zstd"]
type PlatformCompressor = Literal["xz", "gzip", "zstd", "zip"]
# A kernel argument goes into a boot entry, of which GRUB reads the line: one word,
# nothing its shell would take for itself.
type Karg = Annotated[str, StringConstraints(pattern=r"^[^\s\"'`;&|<>\\{}]+$")]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Keys(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=_kebab, populate_by_name=False
    )


class ImageFile(_Keys):
    """One file as written: every key optional."""

    include: str | tuple[str, ...] | None = None

    size: Annotated[int, Field(ge=1, le=65536)] | None = None
    extra_kargs: tuple[Karg, ...] | None = None
    compressor: Compressor | None = None
    platform_compressor: Mapping[str, PlatformCompressor] | None = None
    container_imgref: str | None = None
    bootc_install_to_fs: bool | None = None
    live_rootfs_fstype: Literal["squashfs", "erofs"] | None = None
    live_rootfs_fsoptions: str | None = None
    vmware_os_type: str | None = None
    vmware_hw_version: int | None = None
    vmware_secure_boot: bool | None = None
    aws_imdsv2_only: bool | None = None
    aws_volume_type: str | None = None
    aws_x86_boot_mode: str | None = None

    # Of former years; still found in definitions.
    bootfs: Literal["ext4", "ext4verity"] | None = None
    rootfs: Literal["ext4", "xfs", "ext4verity"] | None = None
    rootfs_args: str | None = None
    composefs: bool | Literal["unsigned", "signed", "verity"] | None = None
    ostree_remote: str | None = None
    ostree_format: str | None = None
    ostree_container_inject_openshift_cvo_labels: bool | None = None
    deploy_via_container: bool | None = None
    squashfs_compression: str | None = None
    ignition_network_kcmdline: tuple[str, ...] | None = None


class ImageSpec(_Keys):
    """The merged file. `size` is the disk's in GiB; what is None was not said."""

    size: int = 10
    extra_kargs: tuple[str, ...] = ()
    compressor: Compressor = "gzip"
    platform_compressor: Mapping[str, PlatformCompressor] = Field(default_factory=dict)
    container_imgref: str = "ostree-image-signed:oci-archive:/{file}"
    bootc_install_to_fs: bool = False
    live_rootfs_fstype: Literal["squashfs", "erofs"] = "squashfs"
    live_rootfs_fsoptions: str | None = None
    vmware_os_type: str = "rhel7_64Guest"
    vmware_hw_version: int = 13
    vmware_secure_boot: bool = True
    aws_imdsv2_only: bool = True
    aws_volume_type: str = "gp3"
    aws_x86_boot_mode: str = "uefi-preferred"

    bootfs: str = "ext4"
    rootfs: str = "ext4"
    rootfs_args: str | None = None
    composefs: bool | str = False
    ostree_remote: str | None = None
    ostree_format: str | None = None
    ostree_container_inject_openshift_cvo_labels: bool | None = None
    deploy_via_container: bool | None = None
    squashfs_compression: str | None = None
    ignition_network_kcmdline: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Json]:
        """The contents of image.json: upstream's keys, what was not said left out."""
        dump: dict[str, Json] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dump


def load_image_spec(path: Path, *, stream: str | None = None) -> ImageSpec:
    """Read an image.yaml and what it includes.

    With `stream`, `{stream}` in texts is replaced and doubled braces become
    single ones; without, texts stay as they are. Every problem of every file is
    raised at once, codes `image-spec/*`.
    """
    problems = Problems()
    files: list[tuple[Document, ImageFile]] = []
    _read(path, (), files, problems)
    if files and not any(file.extra_kargs is not None for _, file in files) and not problems:
        problems.add(
            "image-spec/missing-key", "the key 'extra-kargs' is missing",
            files[0][0].where(), fix="write `extra-kargs: []` if there are none",
        )  # fmt: skip
    problems.raise_if_any(f"{path} is not valid")
    merged: dict[str, object] = {}
    for _, file in files:
        _merge(merged, file.model_dump(exclude_none=True, exclude={"include"}, by_alias=True))
    if stream is not None:
        merged = {key: _substitute(value, stream) for key, value in merged.items()}
    return ImageSpec.model_validate(merged)


def _read(
    path: Path, above: tuple[Path, ...], files: list[tuple[Document, ImageFile]], problems: Problems
) -> None:
    """Read a file and, depth first, its includes; files already seen above are a cycle."""
    with problems.collecting():
        doc = document.load(path)
        found = document.check(ImageFile, doc.value, Spot(doc, (), "image-spec"), problems)
        if found is None:
            return
        files.append((doc, found))
        names = (found.include,) if isinstance(found.include, str) else found.include or ()
        for index, name in enumerate(names):
            keys = ("include",) if isinstance(found.include, str) else ("include", index)
            target = path.parent / name
            if target.resolve() in {p.resolve() for p in (*above, path)}:
                problems.add(
                    "image-spec/cycle", f"{name} includes this file again", doc.where(*keys),
                    fix="remove one of the two includes",
                )  # fmt: skip
            elif not target.is_file():
                problems.add(
                    "image-spec/no-include", f"the included file {name} does not exist",
                    doc.where(*keys), why=f"looked for {target}",
                )  # fmt: skip
            elif len(above) < _LIMIT:
                _read(target, (*above, path), files, problems)


def _merge(merged: dict[str, object], later: Mapping[str, object]) -> None:
    """Add what a file further down the includes says."""
    for key, value in later.items():
        mine = merged.get(key)
        if mine is None:
            merged[key] = value
        elif isinstance(mine, tuple) and isinstance(value, tuple):
            merged[key] = tuple(dict.fromkeys((*mine, *value)))
        elif isinstance(mine, Mapping) and isinstance(value, Mapping):
            merged[key] = {**value, **mine}


def _substitute(value: object, stream: str) -> object:
    if isinstance(value, str):
        marked = value.replace("{{", "\0").replace("}}", "\1").replace("{stream}", stream)
        return marked.replace("\0", "{").replace("\1", "}")
    if isinstance(value, tuple):
        return tuple(_substitute(item, stream) for item in value)
    return value


class PlatformSettings(BaseModel):
    """What platforms.yaml adds for one platform of one architecture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grub_commands: tuple[str, ...] = ()
    kernel_arguments: tuple[Karg, ...] = ()


def load_platform_settings(path: Path) -> Mapping[str, Mapping[str, PlatformSettings]]:
    """Read platforms.yaml (or .json): settings by architecture and platform."""
    doc = document.load(path)
    if not isinstance(doc.value, dict):
        raise CosaError(
            "platforms/wrong-type", "platforms.yaml must map architectures to platforms",
            doc.where(),
        )  # fmt: skip
    problems = Problems()
    out: dict[str, dict[str, PlatformSettings]] = {}
    for arch, entries in doc.value.items():
        if not isinstance(entries, dict):
            problems.add(
                "platforms/wrong-type", f"'{arch}' must map platforms to their settings",
                doc.where(arch),
            )  # fmt: skip
            continue
        out[arch] = {}
        for name, value in entries.items():
            spot = Spot(doc, (arch, name), "platforms")
            settings = document.check(PlatformSettings, value, spot, problems)
            if settings is not None:
                out[arch][name] = settings
    problems.raise_if_any(f"{path} is not valid")
    return out
