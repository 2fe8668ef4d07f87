"""Downloads through librepo: parallel, resumable, over every mirror a repository has."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from cosa.core import parallel
from cosa.core.errors import CosaError, ExitClass
from cosa.tools.repofile import RepoConfig

type Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_USER_AGENT = "cosa (librepo)"
# Connections at once: enough to hide latency, few enough for a mirror's patience.
_CONNECTIONS = 8
_PAUSES = (0.5, 2.0, 5.0)  # seconds before each further round over the mirrors


@dataclass(frozen=True)
class Item:
    """One file to get. `url` is absolute, or below the address of `repo`.

    `size` (bytes) and `sha256` (hex) are checked while downloading when known.
    """

    url: str
    dest: Path
    repo: RepoConfig | None = None
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a file did not come. `kind`: not-found, bad-digest, truncated, wrong-size, failed."""

    item: Item
    kind: str
    why: str


@dataclass
class _Counter:
    """Sums the progress of parallel transfers."""

    progress: Progress | None
    total: int
    done: dict[int, int] = field(default_factory=dict)
    told: float = 0.0

    def update(self, number: int, done: int) -> None:
        self.done[number] = done
        now = time.monotonic()
        if self.progress and now - self.told > 0.1:
            self.told = now
            self.progress(sum(self.done.values()), self.total)


@functools.cache
def _librepo() -> ModuleType:
    try:
        import librepo
    except ImportError as err:
        raise CosaError(
            "env/missing-tool",
            "the Python bindings of librepo are not installed",
            why=str(err),
            fix="run through bin/cosa, which brings every tool, or see `cosa doctor`",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err
    # What it warns of comes back as an error as well, in our words.
    with contextlib.suppress(ImportError):
        from gi.repository import GLib

        GLib.log_set_handler("librepo", GLib.LogLevelFlags.LEVEL_MASK, lambda *_: None)
    found: ModuleType = librepo
    return found


def handle(repo: RepoConfig) -> Any:
    """A librepo handle with a repository's addresses, credentials and patience."""
    lib = _librepo()
    made = lib.Handle()
    made.repotype = lib.LR_YUMREPO
    made.useragent = _USER_AGENT
    made.interruptible = False
    made.connecttimeout = repo.timeout
    made.lowspeedtime, made.lowspeedlimit = repo.timeout, 1000
    made.allowedmirrorfailures = max(1, repo.retries)
    made.maxmirrortries = max(1, repo.retries)
    made.maxparalleldownloads = max(_CONNECTIONS, parallel.jobs())
    if repo.baseurl:
        made.urls = list(repo.baseurl)
    if repo.metalink:
        made.metalinkurl = repo.metalink
    if repo.mirrorlist:
        made.mirrorlisturl = repo.mirrorlist
    made.sslverifypeer = made.sslverifyhost = int(repo.sslverify)
    for option in ("sslcacert", "sslclientcert", "sslclientkey", "proxy"):
        if value := getattr(repo, option):
            setattr(made, option, value)
    if repo.username:
        made.username, made.password = repo.username, repo.password
    return made


def download(
    items: Sequence[Item], *, progress: Progress | None = None, resume: bool = False
) -> list[Failure]:
    """Get all items, several at once; what failed after every retry, in the items' order.

    With `resume` a partial file left by an interrupted run is continued. A file that
    is missing (404) or whose content is wrong on every mirror is not tried again.
    """
    counter = _Counter(progress, sum(item.size for item in items))
    handles: dict[str, Any] = {}
    for item in items:
        if item.repo and item.repo.id not in handles:
            handles[item.repo.id] = handle(item.repo)
    left = dict(enumerate(items))
    failures: dict[int, Failure] = {}
    for pause in (*_PAUSES, None):
        failures = _once(left, handles, counter, resume=resume)
        left = {n: items[n] for n, failure in failures.items() if failure.kind == "failed"}
        if not left or pause is None:
            break
        time.sleep(pause)
        final = {n: failure for n, failure in failures.items() if n not in left}
        if final:
            break  # the whole will fail: say so now
    return [failures[number] for number in sorted(failures)]


def _once(
    items: dict[int, Item], handles: dict[str, Any], counter: _Counter, *, resume: bool
) -> dict[int, Failure]:
    lib = _librepo()
    said: dict[int, list[str]] = {number: [] for number in items}

    def mirror_failed(number: int, text: str, url: str) -> int:
        said[number].append(f"{text} ({url})" if url and url not in text else text)
        return int(lib.CB_OK)

    targets = {
        number: lib.PackageTarget(
            item.url,
            dest=str(item.dest),
            handle=handles.get(item.repo.id) if item.repo else None,
            checksum_type=lib.SHA256 if item.sha256 else lib.CHECKSUM_UNKNOWN,
            checksum=item.sha256 or None,
            # Librepo compares it with the length of what is *left*, and starts over.
            expectedsize=0 if resume and item.dest.exists() else item.size,
            resume=resume,
            progresscb=lambda number, _total, done: counter.update(number, int(done)),
            mirrorfailurecb=mirror_failed,
            cbdata=number,
        )
        for number, item in items.items()
    }
    try:
        lib.download_packages(list(targets.values()), failfast=False)
    except lib.LibrepoException as err:
        # A handle that cannot even get its mirror list fails everything.
        text = str(err.args[1] if len(err.args) > 1 else err)
        return {number: Failure(item, _kind(text, item), text) for number, item in items.items()}
    failed: dict[int, Failure] = {}
    for number, target in targets.items():
        if target.err and target.err != "Already downloaded":
            # "All mirrors were tried" is no reason; what the last one said is.
            why = said[number][-1] if "all mirrors" in target.err and said[number] else target.err
            failed[number] = Failure(items[number], _kind(why, items[number]), why)
    return failed


def _kind(text: str, item: Item) -> str:
    """Librepo says what went wrong in English only; these phrases are stable since 1.7."""
    low = text.lower()
    if "status code: 404" in low or "status code: 410" in low or "curl error (37)" in low:
        return "not-found"
    if "checksum" in low:
        short = item.dest.exists() and 0 < item.dest.stat().st_size < item.size
        return "truncated" if short else "bad-digest"
    if "inconsistent server data" in low or "file length" in low or "expected size" in low:
        return "wrong-size"
    if "curl error (18)" in low or "transferred a partial file" in low:
        return "truncated"
    return "failed"


def get_repomd(repo: RepoConfig, scratch: Path) -> bytes:
    """The repository's repomd.xml, checked against the metalink where there is one.

    Raises `fetch/not-found` or `fetch/failed`, class NETWORK, or `fetch/repodata-mismatch`.
    """
    lib = _librepo()
    for number, pause in enumerate((*_PAUSES, None)):
        made = handle(repo)
        folder = scratch / str(number)  # librepo wants to make its folders itself
        folder.mkdir(parents=True)
        made.destdir = str(folder)
        made.yumdlist = lib.LR_YUM_REPOMDONLY
        result = lib.Result()
        try:
            made.perform(result)
            return Path(result.getinfo(lib.LRR_YUM_REPO)["repomd"]).read_bytes()
        except lib.LibrepoException as err:
            text = str(err.args[1] if len(err.args) > 1 else err)
            item = Item("repodata/repomd.xml", scratch / "repomd.xml", repo)
            failure = Failure(item, _kind(text, item), text)
        if failure.kind in ("bad-digest", "wrong-size"):
            raise CosaError(
                "fetch/repodata-mismatch",
                f"repodata/repomd.xml of repository '{repo.id}' is not the one its metalink names",
                repo.where,
                why=failure.why,
                fix="run again in a while: mirrors may be behind; else it was tampered with",
                exit_class=ExitClass.UNTRUSTED,
            )
        if failure.kind == "not-found" or pause is None:
            break
        time.sleep(pause)
    raise network_error("repodata/repomd.xml", failure, repo)


def get_bytes(address: str, scratch: Path, repo: RepoConfig | None = None) -> bytes:
    """A small file (a key, repomd.xml) from an address that is not local.

    Raises `fetch/not-found` or `fetch/failed`, class NETWORK.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    dest = scratch / "got"
    dest.unlink(missing_ok=True)
    try:
        failures = download([Item(address, dest, repo)])
        if failures:
            raise network_error(address, failures[0], repo)
        return dest.read_bytes()
    finally:
        dest.unlink(missing_ok=True)


def network_error(what: str, failure: Failure, repo: RepoConfig | None) -> CosaError:
    """The error for a file that could not be fetched."""
    place = f" of repository '{repo.id}'" if repo else ""
    kind = failure.kind if failure.kind == "not-found" else "failed"
    return CosaError(
        f"fetch/{kind}",
        f"{what}{place} could not be fetched",
        repo.where if repo else None,
        why=failure.why,
        fix="check the address and the network, then run again; what was fetched is kept",
        exit_class=ExitClass.NETWORK,
    )
