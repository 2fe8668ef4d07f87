"""Every key of meta.json and what it holds: the source of its JSON Schema.

The names and shapes are upstream's (`src/v1.json`), whose top level is closed: a key
that is not here is refused when it is set. `coreos-assembler.overrides`, the local
changes laid over the build, is ours. Sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

type Text = Annotated[str, StringConstraints(min_length=1)]
type Sha256 = Annotated[str, StringConstraints(min_length=64)]
type Time = Annotated[str, StringConstraints(pattern=r"\d{4}-\d{2}-\d{2}T.*Z$")]


def _key(name: str) -> str:
    return name.replace("_", "-")


class Open(BaseModel):
    """A part of the file: upstream lets further keys pass below the top level."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=_key)


class Artifact(Open):
    """A file of the build; the path is relative to meta.json."""

    path: str
    sha256: str
    size: float | None = None
    skip_compression: bool | None = None
    uncompressed_sha256: str | None = None
    uncompressed_size: int | None = None


class Image(Open):
    """A container image in a registry."""

    image: str
    digest: str | None = None
    comment: str | None = None
    tags: list[str] | None = None


class PrimaryImage(Image):
    """A container image of the OS itself; `manifest-list-digest` covers all architectures."""

    manifest_list_digest: str | None = None
    additional_images: list[Image] | None = None


class CloudArtifact(Open):
    """An uploaded image."""

    url: str
    image: str | None = None
    bucket: str | None = None
    region: str | None = None
    object: str | None = None


class Git(Open):
    """A git checkout; `dirty` is "true" or "false"."""

    commit: Annotated[str, StringConstraints(min_length=5)]
    origin: str
    branch: Text | None = None
    dirty: Text | None = None


class Ami(Open):
    """An image in a region of AWS; `name` is the region."""

    name: str
    hvm: str
    snapshot: str


class AliyunImage(Open):
    """An image in a region of Aliyun; `name` is the region."""

    name: Text
    id: Text


class Gcp(Open):
    """An image in Google's cloud."""

    image: str
    url: str
    project: str | None = None
    family: str | None = None


class Extensions(Open):
    """Packages delivered beside the OS."""

    manifest: dict[str, Any]
    path: str | None = None
    sha256: str | None = None
    rpm_ostree_state: Sha256 | None = None


class Koji(Open):
    """Where the build is in Koji."""

    build_id: float | None = Field(None, alias="build_id")
    token: str | None = None
    release: str | None = None


class S3(Open):
    """Where the build was uploaded to."""

    bucket: str | None = None
    key: str | None = None
    public_url: str | None = None


class Images(Open):
    """Artefacts by name; names of other platforms pass."""

    ostree: Artifact
    oci_manifest: Artifact | None = None


def _ours(name: str) -> Any:
    return Field(None, alias=f"coreos-assembler.{name}")


class MetaKeys(BaseModel):
    """The whole file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=_key, title="meta.json of a build"
    )

    buildid: Text
    name: str
    ostree_commit: Sha256
    ostree_timestamp: Time
    ostree_version: Text

    summary: Text | None = None
    ref: Text | None = None
    build_url: Text | None = None
    rpm_ostree_inputhash: Sha256 | None = None
    ostree_content_checksum: Sha256 | None = None
    ostree_content_bytes_written: int | None = None
    ostree_n_cache_hits: int | None = None
    ostree_n_content_total: int | None = None
    ostree_n_content_written: int | None = None
    ostree_n_metadata_total: int | None = None
    ostree_n_metadata_written: int | None = None
    images: Images | None = None
    pkgdiff: list[Any] | None = None
    parent_pkgdiff: list[Any] | None = None
    advisories_diff: list[Any] | None = None
    parent_advisories_diff: list[Any] | None = None

    aliyun: list[AliyunImage] | None = None
    amis: list[Ami] | None = None
    aws_winli: list[Ami] | None = None
    azure: CloudArtifact | None = None
    gcp: Gcp | None = None
    ibmcloud: list[CloudArtifact] | None = None
    powervs: list[CloudArtifact] | None = None
    oscontainer: PrimaryImage | None = None
    base_oscontainer: PrimaryImage | None = None
    extensions_container: PrimaryImage | None = None
    kubevirt: PrimaryImage | None = None
    release_payload: Image | None = None
    extensions: Extensions | None = None
    koji: Koji | None = None
    s3: S3 | None = None

    parent_version: Text | None = Field(None, alias="fedora-coreos.parent-version")
    parent_commit: Sha256 | None = Field(None, alias="fedora-coreos.parent-commit")

    basearch: Text | None = _ours("basearch")
    build_timestamp: Text | None = _ours("build-timestamp")
    code_source: Text | None = _ours("code-source")
    config_gitrev: Text | None = _ours("config-gitrev")
    config_dirty: Text | None = _ours("config-dirty")
    config_variant: str | None = _ours("config-variant")
    image_config_checksum: Sha256 | None = _ours("image-config-checksum")
    image_input_checksum: Sha256 | None = _ours("image-input-checksum")
    image_genver: int | None = _ours("image-genver")
    meta_stamp: float | None = _ours("meta-stamp")
    delayed_meta_merge: bool | None = _ours("delayed-meta-merge")
    overrides_active: bool | None = _ours("overrides-active")
    overrides: list[str] | None = _ours("overrides")
    oci_imported: bool | None = _ours("oci-imported")
    oci_imported_labels: dict[str, str] | None = _ours("oci-imported-labels")
    container_config_git: Git | None = _ours("container-config-git")
    container_image_git: Git | None = _ours("container-image-git")
    yumrepos_git: Git | None = _ours("yumrepos-git")
