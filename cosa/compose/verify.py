"""Whether an RPM file is the one a repository promised, signed by one of its keys."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cosa.core.errors import CosaError, ExitClass
from cosa.model.package import Package

if TYPE_CHECKING:
    from cosa.tools.gpg import KeySet

_CHUNK = 1 << 20

# RPMTAG_PAYLOADSHA256 (PAYLOADDIGEST before rpm 6) and its algorithm; 8 is SHA-256 in OpenPGP.
_TAG_PAYLOAD_DIGEST, _TAG_PAYLOAD_ALGORITHM, _SHA256 = 5092, 5093, 8


def check_rpm(path: Path, package: Package, keys: KeySet | None, what: str) -> None:
    """Check signature, digest of the file, digest of the payload, and that it is `package`.

    `keys` is None for the user's own RPMs, which need no signature. `what` names the file in
    errors: `fetch/bad-digest`, `fetch/truncated`, `fetch/unsigned`, `fetch/wrong-key`,
    `fetch/bad-signature`, `fetch/damaged`, `fetch/repodata-mismatch`, all UNTRUSTED.
    """
    from cosa.tools import gpg, rpmfile, rpmheader

    with path.open("rb") as file:
        try:
            if keys is None:
                header = rpmfile.read_header(file, path)
            else:
                header = gpg.verify_rpm_header(file, keys, what)
        except CosaError as err:
            _judge_damage(err, file, package, what)
            code = "fetch/" + err.code.partition("/")[2].replace("unreadable", "damaged")
            raise CosaError(code, err.what, err.where, err.why, err.fix, err.exit_class) from None
        whole, payload = _digests(file, os.lseek(file.fileno(), 0, os.SEEK_CUR))
    if whole != package.sha256:
        raise _bad_digest(what, whole, package)
    _check_payload(header, payload, what)
    found = rpmheader.package_of(header)
    if found.nevra != package.nevra:
        raise _untrusted(
            "repodata-mismatch", f"{what} is really {found.nevra}",
            "the repository's metadata and the file disagree",
        )  # fmt: skip


def _digests(file: IO[bytes], payload_at: int) -> tuple[str, str]:
    """Hex sha256 of the whole file and of what follows `payload_at`, in one pass."""
    whole, payload = hashlib.sha256(), hashlib.sha256()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    left = payload_at
    while data := os.read(file.fileno(), min(_CHUNK, left) if left else _CHUNK):
        whole.update(data)
        if left:
            left -= len(data)
        else:
            payload.update(data)
    return whole.hexdigest(), payload.hexdigest()


def _check_payload(header: Any, actual: str, what: str) -> None:
    """The signature covers the header only, and the header the payload by this digest."""
    wanted = header[_TAG_PAYLOAD_DIGEST]
    algorithm = header[_TAG_PAYLOAD_ALGORITHM]
    wanted = wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted
    if not wanted or (algorithm and algorithm != _SHA256):
        raise _untrusted(
            "bad-signature", f"the signature of {what} does not cover its content",
            "its header has no SHA-256 digest of the payload (built by an rpm before 4.14)",
        )  # fmt: skip
    if str(wanted) != actual:
        raise _untrusted(
            "bad-digest", f"{what} was changed after it was signed",
            f"its payload has the digest {actual}, its signed header says {wanted}",
        )  # fmt: skip


def _judge_damage(err: CosaError, file: IO[bytes], package: Package, what: str) -> None:
    """A file that is not the repository's is called that, whatever its signature looks like."""
    if err.code not in ("gpg/damaged", "gpg/bad-signature", "rpm/unreadable"):
        return
    size = os.fstat(file.fileno()).st_size
    if size < package.size:
        why = f"it has {size} bytes instead of {package.size}"
        raise _untrusted("truncated", f"{what} is truncated", why)
    whole, _ = _digests(file, 0)
    if whole != package.sha256:
        raise _bad_digest(what, whole, package)


def _bad_digest(what: str, actual: str, package: Package) -> CosaError:
    return _untrusted(
        "bad-digest", f"{what} is not the file its repository's metadata describes",
        f"its sha256 is {actual}, the metadata says {package.sha256}",
    )  # fmt: skip


def _untrusted(kind: str, what: str, why: str) -> CosaError:
    return CosaError(
        f"fetch/{kind}", what, why=why,
        fix="it was removed from the cache: run again; if it stays, tell the repository's owner",
        exit_class=ExitClass.UNTRUSTED,
    )  # fmt: skip
