"""`cosa import`: a container image becomes a build, as if it had been composed here.

An image that is an OSTree commit in container form gives that very commit; any other
bootable image (a Containerfile on top of one) is unpacked, and its tree committed. From
there on disks are made of it as of any build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cosa.container import flatten, treecommit, unencapsulate
from cosa.container.ociread import GO_ARCH, Attached, Image, attached_of
from cosa.core import clock, events, fs, run, store
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.core.store import Json
from cosa.model import commitmeta
from cosa.model import lockfile as lockfiles
from cosa.model import version as versions
from cosa.model.commitmeta import CommitMeta
from cosa.model.meta import Meta
from cosa.model.package import Package
from cosa.pipeline import metamerge, pkgdiff, prune, publish
from cosa.pipeline.workdir import Workdir, basearch
from cosa.tools import ostree
from cosa.tools.registry_http import is_loopback

_BOOTC, _VERSION, _NAME = (
    "containers.bootc",
    "org.opencontainers.image.version",
    "com.coreos.osname",
)
_TRANSPORT = re.compile(r"(docker://|oci:|oci-archive:|containers-storage:|docker-archive:|dir:)")
_ARCHIVE = "oci-archive:"


@dataclass(frozen=True)
class Wanted:
    """What to import: an image by its transport, for which architecture, compared with what.

    `download` are the platforms whose disk images are taken too if the image's index has
    them; `all` is every one.
    """

    image: str
    arch: str = ""
    parent_build: str = ""
    skip_prune: bool = False
    download: Sequence[str] = ()


@dataclass(frozen=True)
class _Labels:
    """What the labels say; all that is needed is there."""

    version: str
    name: str
    all: dict[str, str]


def import_image(workdir: Workdir, wanted: Wanted) -> tuple[str, Path]:
    """Make a build of an image; its id and folder.

    Raises `import/labels` for an image that is no bootable system or does not say which,
    `import/fetch`, `import/damaged`, `build/exists`, and what the steps raise.
    """
    arch = wanted.arch or basearch()
    source = _source(wanted.image)
    for folder in (workdir.builds, workdir.tmp):
        folder.mkdir(parents=True, exist_ok=True)
    with (
        store.lock(workdir.lock_file, "a build"),
        fs.private_dir(workdir.tmp, "import") as work,
    ):
        publish.recover(workdir)
        prune.recover(workdir)
        parent = workdir.build(wanted.parent_build, arch) if wanted.parent_build else None
        _look_first(workdir, source, arch)
        archive = _bring(source, work, arch)
        image = Image(archive, arch)
        labels = _checked(image.labels, source)
        _must_be_new(workdir, labels, arch)
        build = _Build(workdir, image, labels, work)
        build.commit()
        build.files(archive, parent)
        for disk in _disks(source, image, wanted.download, arch):
            build.disk(source, disk)
        build.write_meta(parent)
        with events.step("publish") as step:
            folder = publish.publish(workdir, build.out, labels.version, arch)
            step.summary = labels.version
        if not wanted.skip_prune:
            prune.prune(workdir)
    return labels.version, folder


class _Build:
    """A build of an image on its way."""

    def __init__(self, workdir: Workdir, image: Image, labels: _Labels, work: Path) -> None:
        self.workdir = workdir
        self.image = image
        self.labels = labels
        self.arch = image.arch
        self.work = work
        self.out = work / "out"
        self.out.mkdir()
        self.images: dict[str, dict[str, Json]] = {}
        self.added: dict[str, Json] = {}
        self.checksum = ""

    def commit(self) -> None:
        """Bring the commit into the repository: the one the image is, or one of its tree."""
        ref = unencapsulate.ref_of(self.labels.version)
        if unencapsulate.is_commit(self.image):
            self.checksum = unencapsulate.unencapsulate(self.image, self.workdir.repo, ref)
            self.metadata = ostree.commit_metadata(self.workdir.repo, self.checksum)
            return
        with fs.private_dir(self.work, "tree") as holder:
            root = holder / "root"
            root.mkdir()
            flatten.flatten(self.image, root)
            packages = treecommit.packages_of(root)
            kernel = treecommit.settle(root)
            texts = {
                "version": self.labels.version,
                "ostree.linux": kernel.version,
                "ostree.manifest-digest": self.image.manifest_digest,
            }
            stream = self.labels.all.get("com.coreos.stream")
            if stream:
                texts |= {"com.coreos.stream": stream, "fedora-coreos.stream": stream}
            self.checksum = treecommit.write(
                root, self.workdir.repo, ref=ref, timestamp=self._created(), texts=texts,
                packages=packages,
            )  # fmt: skip
        self.metadata = ostree.commit_metadata(self.workdir.repo, self.checksum)
        self.metadata["synthetic"] = True

    def files(self, archive: Path, parent: Path | None) -> None:
        """The describing files, the archive and its manifest; what changed in packages."""
        stem = f"{self.labels.name}-{self.labels.version}-ostree.{self.arch}"
        self.image.path = archive.rename(self.out / f"{stem}.ociarchive")
        fs.atomic_write(self.out / f"{stem}-manifest.json", self.image.manifest_text)
        self._artefact("ostree", f"{stem}.ociarchive")
        self._artefact("oci-manifest", f"{stem}-manifest.json")
        commitmeta.write(self.out / "commitmeta.json", self.metadata)
        raw = self.out / "ostree-commit-object"
        raw.write_bytes(ostree.commit_variant(self.workdir.repo, self.checksum))
        raw.chmod(0o444)
        packages = CommitMeta.model_validate(self.metadata).rpms
        if packages:
            lock = lockfiles.Lockfile(packages=_locks(packages))
            lock.write(self.out / f"manifest-lock.generated.{self.arch}.json")
        self._compare(packages, parent)

    def disk(self, source: str, disk: Attached) -> None:
        """A disk image that comes with the container image."""
        suffix = disk.media.removeprefix("application/vnd.diskimage").strip(".+") or "img"
        stem = f"{self.labels.name}-{self.labels.version}-{disk.platform}.{self.arch}"
        path = fs.safe_join(self.out, f"{stem}.{suffix}")
        with events.step(f"disk image {disk.platform}") as step:
            if source.startswith(_ARCHIVE):
                self.image.save_attached(disk, path)
            else:
                _fetch_disk(source, disk, path, self.work)
            step.size = path.stat().st_size
        self._artefact(disk.platform, path.name)

    def write_meta(self, parent: Path | None) -> None:
        """meta.json."""
        labels, when = self.labels, clock.iso(self._created())
        data: dict[str, Any] = {
            "buildid": labels.version,
            "name": labels.name,
            "summary": labels.all.get("org.opencontainers.image.description"),
            "ostree-commit": self.checksum,
            "ostree-version": labels.version,
            "ostree-timestamp": when,
            "ostree-content-checksum": ostree.Repo(self.workdir.repo).content_checksum(
                self.checksum
            ),
            "images": self.images,
            "coreos-assembler.basearch": self.arch,
            "coreos-assembler.build-timestamp": when,
            "coreos-assembler.oci-imported": True,
            "coreos-assembler.oci-imported-labels": labels.all,
        }
        origin = labels.all.get("org.opencontainers.image.source")
        revision = labels.all.get("org.opencontainers.image.revision")
        if origin and revision:
            data["coreos-assembler.container-config-git"] = {"origin": origin, "commit": revision}
        if parent:
            data["fedora-coreos.parent-version"] = parent.parent.name
            data["fedora-coreos.parent-commit"] = Meta.read(parent / "meta.json").ostree_commit
        data = {key: value for key, value in data.items() if value} | self.added
        metamerge.check(data, {}, "meta.json")
        Meta.of(data).write(self.out / "meta.json")

    def _compare(self, packages: Sequence[Package], parent: Path | None) -> None:
        """Compare with the parent build, else with the latest, as upstream's import does."""
        folder = parent
        if folder is None:
            try:
                folder = self.workdir.build("", self.arch)
            except CosaError:
                return
        old = pkgdiff.content_of(folder)
        if old is not None and packages:
            rows = pkgdiff.packages(old.packages, packages)
            self.added["pkgdiff"] = rows
            changes = pkgdiff.words(rows) or "the same packages"
            events.note(f"against {folder.parent.name}: {changes}")

    def _artefact(self, name: str, file: str) -> None:
        path = self.out / file
        path.chmod(0o444)
        self.images[name] = {
            "path": file, "sha256": fs.sha256_file(path), "size": path.stat().st_size,
            "skip-compression": True,
        }  # fmt: skip

    def _created(self) -> int:
        text = self.image.created
        # Nanoseconds are more than Python reads.
        text = re.sub(r"(\.\d{6})\d+", r"\1", text)
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            return clock.now()
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _locks(packages: Sequence[Package]) -> dict[str, lockfiles.LockedPackage]:
    groups: dict[str, list[Package]] = {}
    for package in packages:
        groups.setdefault(package.name, []).append(package)
    return {
        name: lockfiles.LockedPackage(evra=group[0].evra)
        if len(group) == 1
        else lockfiles.LockedPackage(evr=max(group).evr)
        for name, group in groups.items()
    }


def _source(image: str) -> str:
    if _TRANSPORT.match(image):
        return image
    if Path(image).is_file():
        return f"{_ARCHIVE}{image}"
    raise CosaError(
        "import/source", f"'{image}' names no image", exit_class=ExitClass.USAGE,
        why="it is no file, and says no transport",
        fix=f"write docker://{image} for a registry, oci-archive:FILE or oci:FOLDER",
    )  # fmt: skip


def _checked(labels: dict[str, str], source: str) -> _Labels:
    """The labels every import needs; all that is wrong with them at once."""
    problems = Problems()
    if labels.get(_BOOTC) != "1":
        given = labels.get(_BOOTC)
        problems.add(
            "import/labels", f"{source} is not a bootable system: its label {_BOOTC} is not 1",
            why=f"it is '{given}'" if given is not None else "it has no such label",
            fix=f"build it FROM a bootc image, or with LABEL {_BOOTC}=1",
        )  # fmt: skip
    for key, what in ((_VERSION, "which version it is"), (_NAME, "what the OS is called")):
        if not labels.get(key):
            problems.add(
                "import/labels", f"{source} does not say {what}",
                why=f"it has no label {key}", fix=f"build it with --label {key}=...",
            )  # fmt: skip
    with problems.collecting():
        for key in (_VERSION, _NAME):
            if labels.get(key):
                versions.check_id(labels[key])
    problems.raise_if_any("the image cannot be imported")
    return _Labels(labels[_VERSION], labels[_NAME], labels)


def _must_be_new(workdir: Workdir, labels: _Labels, arch: str) -> None:
    if (workdir.builds / labels.version / arch).exists():
        raise CosaError(
            "build/exists", f"there is a build {labels.version} for {arch} already",
            fix="import another version, or remove that build first",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip


def _skopeo(words: Sequence[str], what: str) -> bytes:
    result = run.run(["skopeo", *_without_tls(words)], check=False)
    if result.status != 0:
        raise CosaError(
            "import/fetch", what, why=result.err.strip()[-2000:],
            fix="check its name and transport, and --authfile for a private registry",
            exit_class=ExitClass.NETWORK,
        )  # fmt: skip
    return result.raw


def _without_tls(words: Sequence[str]) -> list[str]:
    """The words, allowing plain HTTP to a registry on this machine, as everywhere in cosa."""
    found = [word for word in words if word.startswith("docker://")]
    if not found or not is_loopback(found[0].removeprefix("docker://").partition("/")[0]):
        return list(words)
    flags = {"inspect": "--tls-verify=false", "copy": "--src-tls-verify=false"}
    return [each for word in words for each in ((word, flags[word]) if word in flags else (word,))]


def _look_first(workdir: Workdir, source: str, arch: str) -> None:
    """Before anything large moves: the labels, and whether there is such a build already."""
    if source.startswith(_ARCHIVE):
        return  # it is here; reading it is as quick
    words = ["--override-arch", GO_ARCH.get(arch, arch), "inspect", "--no-tags", source]
    text = _skopeo(words, f"cannot look at {source}")
    found = json.loads(text).get("Labels") or {}
    _must_be_new(workdir, _checked(found, source), arch)


def _bring(source: str, work: Path, arch: str) -> Path:
    """The image as an OCI archive of our own."""
    target = work / "image.ociarchive"
    with events.step(f"fetch {source}") as step:
        name = source.removeprefix(_ARCHIVE)
        if source.startswith(_ARCHIVE) and Path(name).is_file():
            fs.need_space(work, Path(name).stat().st_size, "the copy of the image")
            run.run(["cp", "--reflink=auto", "--", name, str(target)])
            target.chmod(0o644)
        else:
            keep = [] if source.startswith("containers-storage:") else ["--preserve-digests"]
            words = ["--override-arch", GO_ARCH.get(arch, arch), "copy", "--quiet", *keep, source]
            _skopeo([*words, f"{_ARCHIVE}{target}"], f"cannot fetch {source}")
        step.size = target.stat().st_size
    return target


def _disks(source: str, image: Image, wanted: Sequence[str], arch: str) -> list[Attached]:
    """The disk images asked for. Raises `import/no-disk` naming those there are."""
    if not wanted:
        return []
    if source.startswith(_ARCHIVE):
        there = image.attached()
    else:
        there = list(attached_of(_skopeo(["inspect", "--raw", source], f"cannot read {source}")))
    mine = {each.platform: each for each in there if each.arch in ("", GO_ARCH.get(arch, arch))}
    if "all" in wanted:
        return list(mine.values())
    missing = [name for name in wanted if name not in mine]
    if missing:
        raise CosaError(
            "import/no-disk", f"the image comes with no disk image for {', '.join(missing)}",
            why=f"it has: {', '.join(sorted(mine)) or 'none'}", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return [mine[name] for name in wanted]


def _fetch_disk(source: str, disk: Attached, path: Path, work: Path) -> None:
    """The one layer of a disk image's manifest, checked by its digest."""
    name = re.sub(r"(@[^/]*|:[^/:]*)$", "", source.removeprefix("docker://"))
    if not source.startswith("docker://"):
        raise CosaError(
            "import/no-disk", "disk images come with archives and registries only",
            fix="name the image as oci-archive:FILE or docker://NAME", exit_class=ExitClass.USAGE,
        )  # fmt: skip
    with fs.private_dir(work, "disk") as holder:
        words = ["copy", "--quiet", f"docker://{name}@{disk.digest}", f"dir:{holder / 'd'}"]
        _skopeo(words, f"cannot fetch the disk image for {disk.platform}")
        manifest = json.loads((holder / "d/manifest.json").read_text())
        rows = manifest.get("layers") or []
        digest = str(rows[0].get("digest", "")).removeprefix("sha256:") if len(rows) == 1 else ""
        blob = holder / "d" / digest
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or fs.sha256_file(blob) != digest:
            raise CosaError(
                "import/damaged", f"the disk image for {disk.platform} is not one sound file",
                exit_class=ExitClass.UNTRUSTED,
            )  # fmt: skip
        blob.rename(path)
