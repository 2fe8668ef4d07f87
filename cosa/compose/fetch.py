"""Packages from their repositories into the cache, each checked before anything reads it.

Every file must have the size and digest the repository's metadata gives, a header signed by one
of the repository's keys, and the payload its signed header names; there is no way to switch
that off. RPMs from overrides/rpm are the user's own: their digest is checked, not a signature.

`cache/rpms/sha256/AB/HEX.rpm` holds the files, `cache/rpms/verified.json` remembers which were
found good by which keys, as long as size, time and inode stay what they were.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import os
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosa.compose.verify import check_rpm
from cosa.core import events, fs, parallel, store
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.model.package import Package
from cosa.tools import repos as repos_tool
from cosa.tools import transfer
from cosa.tools.repofile import LOCAL_REPO, RepoConfig, local_path, no_key

if TYPE_CHECKING:
    from cosa.tools.gpg import KeySet

_FICLONE = 0x40049409  # linux/fs.h
_CHUNK = 1 << 20
_NO_KEYS = "local"  # in place of a key digest, for files from overrides/rpm

type _Seen = list[Any]  # [size, mtime_ns, inode, key digest]


def fetch(packages: Sequence[Package], repos: Sequence[RepoConfig], cache: Path) -> dict[str, Path]:
    """Verified RPM files by NEVRA; only what the cache lacks is downloaded.

    Raises one error for everything that failed: `fetch/not-found`, `fetch/failed` (NETWORK),
    `fetch/bad-digest`, `fetch/truncated`, `fetch/repodata-mismatch`, `fetch/unsigned`,
    `fetch/bad-signature`, `fetch/wrong-key`, `fetch/damaged` (UNTRUSTED), `repos/no-key` (INPUT),
    `env/disk-full`. What was fetched and is good stays in the cache, so the next run goes on.
    """
    with events.step("fetch packages") as step:
        job = _Fetch(packages, repos, cache)
        missing = job.missing()
        if missing:
            # Waiting is right: the other run is fetching the same files.
            with store.lock(cache / "rpms" / "lock", "fetching packages", wait=True):
                job.get(job.missing(), step)
        else:
            step.reuse(f"{len(packages)} packages, all verified")
        step.size = sum(package.size for package in missing)
        return {package.nevra: job.path(package) for package in packages}


def missing_size(packages: Iterable[Package], cache: Path) -> int:
    """Bytes `fetch` would have to bring, judged by which files are there."""
    folder = cache / "rpms/sha256"
    return sum(
        package.size for package in packages
        if not (folder / package.sha256[:2] / f"{package.sha256}.rpm").exists()
    )  # fmt: skip


@dataclass
class _Fetch:
    packages: Sequence[Package]
    repos: Sequence[RepoConfig]
    cache: Path
    problems: Problems = field(default_factory=Problems)
    untrusted: bool = False

    def __post_init__(self) -> None:
        self.root = self.cache / "rpms"
        self.configs = {repo.id: repo for repo in self.repos}
        self._keys: dict[str, repos_tool.KeyBlobs] = {}
        self._keysets: dict[str, KeySet] = {}
        self._renewals: set[str] = set()
        self._keys_lock = threading.Lock()
        self._check_repos()

    def path(self, package: Package) -> Path:
        """Where the cache keeps a package."""
        return self.root / "sha256" / package.sha256[:2] / f"{package.sha256}.rpm"

    def missing(self) -> list[Package]:
        """The packages that are not in the cache, or not verified as they are there now."""
        seen = _load_seen(self.root)
        return [p for p in self.packages if not self._is_good(p, seen.get(p.sha256))]

    def get(self, missing: Sequence[Package], step: events.Step) -> None:
        """Bring the files, check them, put the good ones in place; then raise for the others."""
        if not missing:
            return
        partial = self.root / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        brought = self._bring(missing, partial, step)
        good = parallel.each(functools.partial(self._verify, partial), brought)
        self._remember([package for package, fine in zip(brought, good, strict=True) if fine])
        self.problems.raise_if_any(
            "packages could not be fetched",
            ExitClass.UNTRUSTED if self.untrusted else ExitClass.NETWORK,
        )

    # Where files come from

    def _check_repos(self) -> None:
        problems = Problems()
        for name in sorted({package.repo for package in self.packages} - {LOCAL_REPO}):
            config = self.configs.get(name)
            if config is None:
                problems.add("repos/unknown", f"packages come from '{name}', which is not defined")
            elif not config.gpgkey:
                problems.absorb(no_key(config))
            elif not config.gpgcheck:
                events.warn(
                    f"gpgcheck=0 of repository '{name}' is not honoured: see {config.where}"
                )
        problems.raise_if_any("packages cannot be checked")

    def _bring(self, missing: Sequence[Package], partial: Path, step: events.Step) -> list[Package]:
        """Get files to `partial`; those that came. A file already in its place stays there."""
        here: list[Package] = []
        remote: list[transfer.Item] = []
        wanted: dict[Path, Package] = {}
        for package in missing:
            dest = partial / f"{package.sha256}.rpm"
            source = self._source(package)
            if self.path(package).exists():
                here.append(package)
            elif isinstance(source, Path):
                if self._link(package, source, dest):
                    here.append(package)
            else:
                wanted[dest] = package
                config = None if "://" in package.location else self.configs[package.repo]
                item = transfer.Item(source, dest, config, package.size, package.sha256)
                remote.append(item)
        if remote:
            here += self._download(remote, wanted, step)
        return here

    def _source(self, package: Package) -> Path | str:
        """The file on this machine, or the address to download from."""
        local = local_path(package.location)
        if local is not None:
            return local
        config = self.configs.get(package.repo)
        if config is None or config.folder is None or "://" in package.location:
            return package.location
        return fs.safe_join(config.folder, package.location)

    def _link(self, package: Package, source: Path, dest: Path) -> bool:
        dest.unlink(missing_ok=True)
        try:
            size = source.stat().st_size
            if size == package.size or package.repo == LOCAL_REPO:
                share(source, dest)
                return True
        except FileNotFoundError:
            self._fail(package, "not-found", "is not in its repository", str(source))
            return False
        kind = "truncated" if size < package.size else "repodata-mismatch"
        self._fail(package, kind, f"has {size} bytes instead of {package.size}", str(source))
        return False

    def _download(
        self, items: Sequence[transfer.Item], wanted: Mapping[Path, Package], step: events.Step
    ) -> list[Package]:
        have = sum(item.dest.stat().st_size for item in items if item.dest.exists())
        need = sum(item.size for item in items) - have
        fs.need_space(self.root, need, "the download")
        failures = transfer.download(
            items, resume=True,
            progress=lambda done, total: step.progress(done, total, "bytes"),
        )  # fmt: skip
        for failure in failures:
            package = wanted[failure.item.dest]
            if failure.kind == "failed":
                fs.need_space(self.root, failure.item.size, "the download")
            texts = {
                "not-found": "is not in its repository",
                "bad-digest": "is not the file its repository's metadata describes",
                "truncated": "is truncated",
                "wrong-size": "has another size than its repository's metadata says",
            }
            kind = "repodata-mismatch" if failure.kind == "wrong-size" else failure.kind
            self._fail(package, kind, texts.get(kind, "could not be fetched"), failure.why)
        failed = {failure.item.dest for failure in failures}
        return [wanted[item.dest] for item in items if item.dest not in failed]

    # Checking

    def _verify(self, partial: Path, package: Package) -> bool:
        place = self.path(package)
        path = place if place.exists() else partial / f"{package.sha256}.rpm"
        try:
            self._check(path, package)
        except CosaError as err:
            self.untrusted |= err.exit_class is ExitClass.UNTRUSTED
            self.problems.absorb(err)
            path.unlink(missing_ok=True)
            return False
        if path != place:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
        return True

    def _check(self, path: Path, package: Package) -> None:
        what = self._name(package)
        if package.repo == LOCAL_REPO:
            check_rpm(path, package, None, what)
            return
        keys = self._keyset(package.repo)
        try:
            check_rpm(path, package, keys, what)
        except CosaError as err:
            if err.code != "fetch/wrong-key":
                raise
            newer = self._renewed(package.repo)
            if newer.digest == keys.digest:
                raise
            check_rpm(path, package, newer, what)

    def _keyset(self, repo: str) -> KeySet:
        from cosa.tools import gpg

        blobs = self._blobs(repo)
        with self._keys_lock:
            if repo not in self._keysets:
                self._keysets[repo] = gpg.read_keys(blobs.blobs)
            return self._keysets[repo]

    def _renewed(self, repo: str) -> KeySet:
        """The keys after another look: one from the network may have been replaced since."""
        config = self.configs[repo]
        with self._keys_lock:
            remote = any(local_path(address) is None for address in config.gpgkey)
            if remote and repo not in self._renewals:
                self._renewals.add(repo)
                self._keys[repo] = repos_tool.key_blobs(config, self.cache, again=True)
                del self._keysets[repo]
        return self._keyset(repo)

    def _blobs(self, repo: str) -> repos_tool.KeyBlobs:
        with self._keys_lock:
            if repo not in self._keys:
                self._keys[repo] = repos_tool.key_blobs(self.configs[repo], self.cache)
            return self._keys[repo]

    # Memory

    def _trust(self, package: Package) -> str:
        return _NO_KEYS if package.repo == LOCAL_REPO else self._blobs(package.repo).digest

    def _is_good(self, package: Package, seen: _Seen | None) -> bool:
        if seen is None:
            return False
        try:
            now = _fingerprint(self.path(package))
        except FileNotFoundError:
            return False
        return bool(seen[:3] == now and seen[3] == self._trust(package))

    def _remember(self, good: Iterable[Package]) -> None:
        seen = {
            digest: entry
            for digest, entry in _load_seen(self.root).items()
            if (self.root / "sha256" / digest[:2] / f"{digest}.rpm").exists()
        }
        for package in good:
            entry = [*_fingerprint(self.path(package)), self._trust(package)]
            seen[package.sha256] = entry
        fs.atomic_write(self.root / "verified.json", json.dumps(seen, sort_keys=True))

    # Words

    def _name(self, package: Package) -> str:
        return f"{os.path.basename(package.location)} ({package.name}, repository '{package.repo}')"

    def _fail(self, package: Package, kind: str, what: str, why: str) -> None:
        self.untrusted |= kind not in ("not-found", "failed")
        self.problems.add(
            f"fetch/{kind}", f"{self._name(package)} {what}", why=why,
            fix="run again; if it stays, the repository is broken or being updated: "
            "`cosa fetch` reads its metadata anew",
        )  # fmt: skip


def share(source: Path, dest: Path) -> None:
    """Make `dest` the same content as `source`: hard link, else reflink, else copy."""
    try:
        os.link(source.resolve(), dest)
        return
    except OSError as err:
        if err.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES):
            raise
    with source.open("rb") as src, dest.open("xb") as out:
        try:
            fcntl.ioctl(out.fileno(), _FICLONE, src.fileno())
        except OSError:
            fs.need_space(dest.parent, os.fstat(src.fileno()).st_size, "the copy of a package")
            shutil.copyfileobj(src, out, _CHUNK)


def _fingerprint(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_size, info.st_mtime_ns, info.st_ino]


def _load_seen(root: Path) -> dict[str, _Seen]:
    """What was verified before; a damaged memory is no memory."""
    try:
        found = json.loads((root / "verified.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
