"""Repository metadata: repomd.xml, the files it names, the keys a repository is trusted by.

A repository in a folder of this machine is read where it lies; others come through librepo
into `cache/repos`. What is read is checked against repomd.xml, and repomd.xml against its signature
(`repo_gpgcheck`) or the metalink. Formats: createrepo_c's repomd.xml.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from cosa.core import events, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import transfer
from cosa.tools.repofile import (
    LOCAL_REPO,
    RepoConfig,
    local_path,
    no_key,
    read_repo_files,
    select,
)

__all__ = [
    "LOCAL_REPO",
    "KeyBlobs",
    "Metadata",
    "RepoConfig",
    "key_blobs",
    "read_repo_files",
    "refresh",
    "select",
]

_NS = "{http://linux.duke.edu/metadata/repo}"
_REPOMD = "repodata/repomd.xml"
_MAX_REPOMD = 8 << 20
_MAX_KEY = 1 << 20
_HASHES = ("sha256", "sha384", "sha512")


@dataclass(frozen=True)
class Record:
    """A metadata file named by repomd.xml: place below the repository, digest, bytes, time."""

    href: str
    algorithm: str
    digest: str
    size: int
    timestamp: int


@dataclass(frozen=True)
class Metadata:
    """A repository as its repomd.xml describes it at one moment."""

    repo: RepoConfig
    digest: str  # hex sha256 of repomd.xml
    timestamp: int  # of the newest file, seconds since 1970
    records: Mapping[str, Record]
    cache: Path = field(repr=False)

    def open(self, kind: str) -> Path:
        """The checked file of a kind (`primary`, `filelists`), downloaded when necessary.

        Raises `fetch/repodata-mismatch` (UNTRUSTED) or a `fetch/...` of class NETWORK.
        """
        record = self.record(kind)
        folder = self.repo.folder
        if folder is not None:
            path = fs.safe_join(folder, record.href)
            _check(path, record, self.repo)
            return path
        path = self.cache / "blobs" / f"{record.digest}-{os.path.basename(record.href)}"
        if not path.exists():
            self._download(record, path)
        return path

    def record(self, kind: str) -> Record:
        """What repomd.xml says of a kind. Raises `fetch/repodata-mismatch` when it is absent."""
        if kind not in self.records:
            _mismatch(self.repo, f"{_REPOMD} names no {kind} file", "")
        return self.records[kind]

    def _download(self, record: Record, path: Path) -> None:
        with fs.private_dir(self.cache / "incoming") as scratch:
            got = scratch / "file"
            sha256 = record.digest if record.algorithm == "sha256" else ""
            item = transfer.Item(record.href, got, self.repo, record.size, sha256)
            with events.step(f"metadata of {self.repo.id}") as step:
                failures = transfer.download(
                    [item], progress=lambda done, total: step.progress(done, total, "bytes")
                )
                step.size = record.size
            if failures and failures[0].kind not in ("failed", "not-found"):
                _mismatch(self.repo, f"{record.href} is not what {_REPOMD} says", failures[0].why)
            if failures:
                raise transfer.network_error(record.href, failures[0], self.repo)
            _check(got, record, self.repo)
            path.parent.mkdir(parents=True, exist_ok=True)
            prune(path.parent)
            fs.publish(got, path)


def refresh(repo: RepoConfig, cache: Path, *, offline: bool = False) -> Metadata:
    """The repository's metadata as it is now, or as last seen when `offline`.

    Raises `repos/not-cached`, `fetch/...` of class NETWORK, or with class UNTRUSTED
    `fetch/repodata-mismatch`, `gpg/...`; `repos/no-key` when a signature is wanted without a key.
    """
    folder = repo.folder
    store = cache / "repos"
    if folder is not None:
        raw, signature = _read_local(repo, folder)
    elif offline:
        raw, signature = _read_cached(repo, store)
    else:
        raw, signature = _read_remote(repo, store)
    digest = hashlib.sha256(raw).hexdigest()
    if repo.repo_gpgcheck:
        _check_signature(repo, cache, raw, signature, digest)
    records = parse_repomd(raw, repo)
    stamp = max((record.timestamp for record in records.values()), default=0)
    return Metadata(repo, digest, stamp, records, store)


def parse_repomd(raw: bytes, repo: RepoConfig) -> dict[str, Record]:
    """The files a repomd.xml names, by kind. Raises `fetch/repodata-mismatch`."""
    found: dict[str, Record] = {}
    try:
        if len(raw) > _MAX_REPOMD or b"<!DOCTYPE" in raw:
            raise ValueError("too large, or with a document type")
        for data in ET.fromstring(raw).iterfind(f"{_NS}data"):  # noqa: S314  no DTD, see above
            checksum, location = data.find(f"{_NS}checksum"), data.find(f"{_NS}location")
            if checksum is None or location is None:
                raise ValueError("an entry without checksum or location")
            href = location.attrib["href"]
            fs.safe_join(Path("/"), href)
            found[data.attrib["type"]] = Record(
                href,
                checksum.attrib["type"],
                (checksum.text or "").strip().lower(),
                int(data.findtext(f"{_NS}size") or 0),
                int(float(data.findtext(f"{_NS}timestamp") or 0)),
            )
    except (ET.ParseError, ValueError, KeyError) as err:
        _mismatch(repo, f"{_REPOMD} is not readable", str(err))
    return found


def _read_local(repo: RepoConfig, folder: Path) -> tuple[bytes, bytes | None]:
    try:
        raw = (folder / _REPOMD).read_bytes()
        signed = folder / f"{_REPOMD}.asc"
        return raw, signed.read_bytes() if repo.repo_gpgcheck and signed.exists() else None
    except OSError as err:
        raise CosaError(
            "fetch/not-found",
            f"repository '{repo.id}' has no metadata at {folder}",
            repo.where,
            why=f"{err.filename}: {err.strerror}",
            fix="check baseurl=, or run createrepo_c there",
            exit_class=ExitClass.NETWORK,
        ) from err


def _slot(repo: RepoConfig, store: Path) -> Path:
    """Where the last repomd.xml of a remote repository is kept."""
    address = json.dumps([repo.baseurl, repo.metalink, repo.mirrorlist])
    slug = re.sub(r"[^\w.-]", "_", repo.id)
    return store / f"{slug}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _read_cached(repo: RepoConfig, store: Path) -> tuple[bytes, bytes | None]:
    slot = _slot(repo, store)
    try:
        raw = (slot / "repomd.xml").read_bytes()
    except FileNotFoundError as err:
        raise CosaError(
            "repos/not-cached",
            f"nothing is known of repository '{repo.id}' yet",
            repo.where,
            fix="run `cosa fetch` while the network is there",
            exit_class=ExitClass.NETWORK,
        ) from err
    signed = slot / "repomd.xml.asc"
    return raw, signed.read_bytes() if signed.exists() else None


def _read_remote(repo: RepoConfig, store: Path) -> tuple[bytes, bytes | None]:
    with fs.private_dir(store / "incoming") as scratch:
        raw = transfer.get_repomd(repo, scratch)
        signature = None
        if repo.repo_gpgcheck:
            signature = transfer.get_bytes(f"{_REPOMD}.asc", scratch, repo)
    slot = _slot(repo, store)
    slot.mkdir(parents=True, exist_ok=True)
    fs.atomic_write(slot / "repomd.xml", raw)
    if signature is not None:
        fs.atomic_write(slot / "repomd.xml.asc", signature)
    return raw, signature


def _check_signature(
    repo: RepoConfig, cache: Path, raw: bytes, signature: bytes | None, digest: str
) -> None:
    """Check repomd.xml against its detached signature; what held once is remembered."""
    if signature is None:
        raise CosaError(
            "gpg/unsigned",
            f"the metadata of repository '{repo.id}' is not signed",
            repo.where,
            why=f"repo_gpgcheck is on and there is no {_REPOMD}.asc",
            fix="sign it, or set repo_gpgcheck=0 (packages are checked all the same)",
            exit_class=ExitClass.UNTRUSTED,
        )
    blobs = key_blobs(repo, cache)
    proof = f"{digest} {hashlib.sha256(signature).hexdigest()} {blobs.digest}\n"
    memo = _slot(repo, cache / "repos") / "verified"
    if memo.exists() and memo.read_text() == proof:
        return
    from cosa.tools import gpg

    what = f"{_REPOMD} of repository '{repo.id}'"
    gpg.verify_detached(raw, signature, gpg.read_keys(blobs.blobs), what)
    memo.parent.mkdir(parents=True, exist_ok=True)
    fs.atomic_write(memo, proof)


@dataclass(frozen=True)
class KeyBlobs:
    """The raw keys of a repository: (address, bytes), and a digest over them all."""

    blobs: tuple[tuple[str, bytes], ...] = field(repr=False)

    @functools.cached_property
    def digest(self) -> str:
        """Hex sha256 over the keys' bytes, in order."""
        whole = hashlib.sha256()
        for _, data in self.blobs:
            whole.update(hashlib.sha256(data).digest())
        return whole.hexdigest()


def key_blobs(repo: RepoConfig, cache: Path, *, again: bool = False) -> KeyBlobs:
    """The keys gpgkey= names. Those from the network are kept; `again` gets them anew.

    Raises `repos/no-key`, `gpg/bad-key`, or `fetch/...` of class NETWORK.
    """
    if not repo.gpgkey:
        raise no_key(repo)
    return KeyBlobs(
        tuple((address, _key(repo, address, cache, again=again)) for address in repo.gpgkey)
    )


def _key(repo: RepoConfig, address: str, cache: Path, *, again: bool) -> bytes:
    path = local_path(address)
    if path is None:
        store = cache / "repos" / "keys"
        kept = store / hashlib.sha256(address.encode()).hexdigest()
        if again or not kept.exists():
            with fs.private_dir(cache / "repos" / "incoming") as scratch:
                data = transfer.get_bytes(address, scratch)
            store.mkdir(parents=True, exist_ok=True)
            fs.atomic_write(kept, data)
        path = kept
    try:
        if path.stat().st_size > _MAX_KEY:
            raise OSError(0, "it is too large for a key", str(path))
        return path.read_bytes()
    except OSError as err:
        raise CosaError(
            "gpg/bad-key",
            f"the key {address} of repository '{repo.id}' cannot be read",
            repo.where,
            why=err.strerror or str(err),
            fix="correct gpgkey=",
        ) from err


def _check(path: Path, record: Record, repo: RepoConfig) -> None:
    """Compare a file with repomd.xml."""
    if record.algorithm not in _HASHES:
        _mismatch(repo, f"{record.href} has only a {record.algorithm} digest", "too weak")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, record.algorithm).hexdigest()
    except OSError as err:
        _mismatch(repo, f"{record.href} is missing", err.strerror or str(err))
    if record.size and size != record.size:
        why = f"it has {size} bytes, {_REPOMD} says {record.size}"
        _mismatch(repo, f"{record.href} is not what {_REPOMD} says", why)
    if digest != record.digest:
        why = f"its {record.algorithm} is {digest}, {_REPOMD} says {record.digest}"
        _mismatch(repo, f"{record.href} is not what {_REPOMD} says", why)


def _mismatch(repo: RepoConfig, what: str, why: str) -> NoReturn:
    raise CosaError(
        "fetch/repodata-mismatch",
        f"the metadata of repository '{repo.id}' does not fit together: {what}",
        repo.where,
        why=why,
        fix="run again if the repository is just being updated; else it is broken or tampered with",
        exit_class=ExitClass.UNTRUSTED,
    )


def prune(folder: Path, days: int = 30) -> None:
    """Remove cache files that nobody used for a while (their time is renewed by use)."""
    limit = time.time() - days * 86400
    for path in folder.glob("*"):
        if path.is_file() and path.stat().st_mtime < limit:
            path.unlink(missing_ok=True)
