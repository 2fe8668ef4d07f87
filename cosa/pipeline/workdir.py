"""The working directory: where everything of one OS definition lives, as upstream lays it out.

src/config       the definition (git clone, or symlink to a local folder)
src/config.json  the variant chosen at init, if any
src/yumrepos     extra *.repo files, if given at init
overrides/       rpm/ beats locks; rootfs/ is laid over the final tree
cache/           what may be thrown away and is costly to make again
tmp/             repo/ (ostree, cache only) and private folders of running work
builds/          builds.json, latest -> ID, ID/ARCH/...
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosa.core.errors import CosaError, ExitClass

if TYPE_CHECKING:
    from cosa.model.builds import Builds
    from cosa.model.meta import Meta

_VARIANT = "coreos-assembler.config-variant"


def basearch() -> str:
    """The architecture RPMs of this machine have: `x86_64`, `aarch64` ..."""
    return platform.machine()


@dataclass(frozen=True)
class Workdir:
    """One working directory; `root` is absolute."""

    root: Path

    @property
    def config(self) -> Path:
        """The OS definition."""
        return self.root / "src/config"

    @property
    def variant_file(self) -> Path:
        """Names the variant chosen at init; absent without one."""
        return self.root / "src/config.json"

    @property
    def yumrepos(self) -> Path:
        """Extra repository files; absent unless given at init."""
        return self.root / "src/yumrepos"

    @property
    def overrides(self) -> Path:
        """Local changes laid over a build."""
        return self.root / "overrides"

    @property
    def cache(self) -> Path:
        """What may be deleted at the cost of time; one filesystem with `tmp`."""
        return self.root / "cache"

    @property
    def tmp(self) -> Path:
        """Work under way."""
        return self.root / "tmp"

    @property
    def repo(self) -> Path:
        """The OSTree repository commits are made in; a cache."""
        return self.tmp / "repo"

    @property
    def builds(self) -> Path:
        """The finished builds."""
        return self.root / "builds"

    @property
    def builds_json(self) -> Path:
        """The list of builds."""
        return self.builds / "builds.json"

    @property
    def source_json(self) -> Path:
        """The list of builds as it was on the machine they were last fetched from."""
        return self.tmp / "builds-source.json"

    @property
    def lock_file(self) -> Path:
        """Held while a build is made or the build directory changes."""
        return self.root / "tmp/.build.lock"

    def variant(self) -> str:
        """The variant chosen at init, or nothing."""
        try:
            chosen = json.loads(self.variant_file.read_bytes())
        except FileNotFoundError:
            return ""
        except (ValueError, RecursionError) as err:
            raise CosaError(
                "workdir/variant", f"{self.variant_file} is not JSON", why=str(err)
            ) from err
        name = chosen.get(_VARIANT, "") if isinstance(chosen, dict) else None
        if not isinstance(name, str) or "/" in name or not name.isprintable():
            raise CosaError(
                "workdir/variant", f"{self.variant_file} names no variant",
                fix=f'run `cosa init --force`, or write {{"{_VARIANT}": "NAME"}}',
            )  # fmt: skip
        return name

    def manifest(self) -> Path:
        """The top treefile of the definition, of the variant if there is one."""
        return self._config_file("manifest")

    def image_spec(self) -> Path:
        """The image definition, of the variant if there is one."""
        return self._config_file("image")

    def lockfiles(self, arch: str) -> list[Path]:
        """Lockfiles of the definition, in order of priority: base, overrides, arch overrides."""
        names = (
            f"manifest-lock.{arch}.json",
            "manifest-lock.overrides.yaml",
            f"manifest-lock.overrides.{arch}.yaml",
        )
        return [self.config / name for name in names if (self.config / name).exists()]

    def _config_file(self, stem: str) -> Path:
        variant = self.variant()
        name = f"{stem}-{variant}.yaml" if variant else f"{stem}.yaml"
        path = self.config / name
        if not path.is_file():
            self.need_init()
            raise CosaError(
                "workdir/no-" + stem, f"the OS definition has no {name}",
                why=f"looked for {path}",
                fix="" if self.config.is_dir() else "run `cosa init CONFIG` there first",
            )  # fmt: skip
        return path

    def need_init(self) -> None:
        """Raise `workdir/not-initialised` unless `cosa init` was run here, or builds imported."""
        if not self.config.is_dir() and (self.config.is_symlink() or not self.builds_json.exists()):
            broken = " (a link to nowhere)" if self.config.is_symlink() else ""
            raise CosaError(
                "workdir/not-initialised",
                f"{self.root} is not a cosa working directory",
                why=f"{self.config} is missing{broken}",
                fix="run `cosa init CONFIG` there first, or name another with --workdir",
                exit_class=ExitClass.USAGE,
            )

    def read_builds(self) -> Builds:
        """The list of builds, empty when there is none yet."""
        from cosa.model.builds import Builds

        return Builds.read(self.builds_json)

    def linked(self) -> str:
        """Where `builds/latest` points, or nothing."""
        link = self.builds / "latest"
        return os.readlink(link).rstrip("/") if link.is_symlink() else ""

    def has(self, build: str, arch: str) -> bool:
        """Whether the files of a build are here, not only its name in the list."""
        return (self.builds / build / arch / "meta.json").is_file()

    def latest(self, arch: str = "") -> str:
        """The id of the latest build: where `builds/latest` points, else the newest listed.

        Raises `build/none` when there is none (for `arch`).
        """
        arch = arch or basearch()
        name = self.linked()
        if name and self.has(name, arch):
            return name
        listed = [entry.id for entry in self.read_builds().builds if arch in entry.arches]
        # What was fetched as history only is listed, but has no files here.
        for found in [*(each for each in listed if self.has(each, arch)), *listed]:
            return found
        raise CosaError(
            "build/none",
            f"there is no {arch} build in {self.builds} yet",
            fix="run `cosa build`",
            exit_class=ExitClass.USAGE,
        )

    def build(self, build: str = "", arch: str = "") -> Path:
        """The folder of a build (default and `latest`: the latest one).

        Raises `build/unknown`, saying which there are.
        """
        arch = arch or basearch()
        build = self.latest(arch) if build in ("", "latest") else build
        path = self.builds / build / arch
        if "/" in build or build.startswith(".") or not self.has(build, arch):
            listed = self.read_builds()
            known = [entry.id for entry in listed.builds if self.has(entry.id, arch)][:5]
            only_listed = "it is listed, but its files are not here; " * listed.has(build, arch)
            raise CosaError(
                "build/unknown",
                f"there is no build {build} for {arch}",
                why=f"{only_listed}looked for {path / 'meta.json'}",
                fix=f"the newest builds here are: {', '.join(known) or 'none'}",
                exit_class=ExitClass.USAGE,
            )
        return path

    def meta(self, build: str = "", arch: str = "") -> Meta:
        """A build's metadata."""
        from cosa.model.meta import Meta

        return Meta.read(self.build(build, arch) / "meta.json")

    def image_path(self, name: str, build: str = "", arch: str = "") -> Path:
        """The file of an artefact (`ostree`, `qemu`, `metal` ...).

        Raises `build/no-image` naming the ones there are.
        """
        folder = self.build(build, arch)
        meta = self.meta(build, arch)
        found = meta.images.get(name)
        if not found:
            raise CosaError(
                "build/no-image",
                f"build {meta.buildid} has no image '{name}'",
                fix=f"it has: {', '.join(sorted(meta.images))}; `cosa build {name}` adds one",
                exit_class=ExitClass.USAGE,
            )
        return folder / found.path

    def plain_image(self, name: str, build: str = "", arch: str = "") -> Path:
        """The file of an artefact that is here and not compressed, to boot it or look inside.

        Raises `build/no-image`, `build/compressed`, each with what to do about it.
        """
        path = self.image_path(name, build, arch)
        folder = path.parent
        which = f"--build {folder.parent.name} --artifact {name}"
        if self.meta(build, arch).images[name].uncompressed_sha256:
            raise CosaError(
                "build/compressed", f"{path.name} is compressed",
                fix=f"cosa decompress {which}", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        if not path.is_file():
            raise CosaError(
                "build/no-image", f"{path.name} is listed in meta.json, but not here",
                why=f"looked for {path}", fix=f"cosa buildfetch {which}",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
        return path
