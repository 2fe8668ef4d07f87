"""Signatures of releases: the simple signing format, in every place clusters look for it.

Format: containers/image "atomic container signature"; the message is a binary
inline OpenPGP one, because cluster verifiers read nothing else.

    DIR/sha256=HEX/signature-N                the layout of signature stores
    DIR/REPOSITORY@sha256=HEX/signature-N     the same, as registries.d names it
    ConfigMap sha256-HEX                      in a cluster, openshift-config-managed
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pysequoia

from cosa.core import clock, fs
from cosa.core.errors import CosaError, Problems
from cosa.model.imageref import ImageRef, is_digest
from cosa.payload.errors import refused
from cosa.tools import gpg

TYPE = "atomic container signature"
SIGNATURES = 9  # verifiers ask for signature-1 to signature-9
SIZE_LIMIT = 64 * 1024
_CREATOR = "cosa"


@dataclass(frozen=True)
class Verdict:
    """Who signed a digest, as checked: fingerprints of certificates that did."""

    digest: str
    signers: tuple[str, ...]
    identity: str


def claim(ref: ImageRef) -> bytes:
    """What is signed: that a digest is what a name stands for. `ref` must have a digest."""
    assert ref.digest, "only digests are signed"
    pinned = clock.source_date_epoch()
    return json.dumps(
        {
            "critical": {
                "type": TYPE,
                "image": {"docker-manifest-digest": ref.digest},
                "identity": {"docker-reference": str(ref)},
            },
            "optional": {
                "creator": _CREATOR,
                "timestamp": clock.now() if pinned is None else pinned,
            },
        },
        separators=(",", ":"),
    ).encode()


def check(signed: bytes, digest: str, keys: gpg.KeySet, what: str) -> Verdict:
    """Check one signature of a digest. Raises `payload/bad-signature` with the reason."""
    if signed.lstrip()[:5] == b"-----":
        raise _bad(what, "it is in text form; verifiers of clusters read the binary form only")
    try:
        result = pysequoia.verify(bytes=signed, store=lambda _ids: list(keys.certs))
    except Exception as err:  # the binding raises plain exceptions
        raise _bad(what, f"{err}; trusted are {keys.describe()}") from None
    signers = tuple(sorted({one.certificate.upper() for one in result.valid_sigs}))
    if not signers:
        raise _bad(what, f"no trusted key made it; trusted are {keys.describe()}")
    identity = _check_claim(bytes(result.bytes or b""), digest, what)
    return Verdict(digest, signers, identity)


def _check_claim(raw: bytes, digest: str, what: str) -> str:
    """The claim's identity, if it is of the digest and holds nothing unknown, as verifiers ask."""
    try:
        data = json.loads(raw)
        critical = data["critical"]
        _only(data, {"critical", "optional"})
        _only(critical, {"type", "image", "identity"})
        _only(critical["image"], {"docker-manifest-digest"})
        _only(critical["identity"], {"docker-reference"})
        _only(data.get("optional") or {}, {"creator", "timestamp"})
        if critical["type"] != TYPE:
            raise ValueError(f"its type is {critical['type']!r}")
        if critical["image"]["docker-manifest-digest"] != digest:
            raise ValueError(f"it is of {critical['image']['docker-manifest-digest']}")
        identity = critical["identity"]["docker-reference"]
        if not identity or not isinstance(identity, str):
            raise ValueError("it names no image")
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise _bad(what, f"what is signed does not hold: {err}") from None
    return identity


def _only(found: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise ValueError(f"it has the unknown field {unknown[0]!r}")


def store(folder: Path, digest: str, signed: bytes) -> Path:
    """Put a signature into a store's folder, after those that are there; its file."""
    place = folder / digest.replace(":", "=")
    place.mkdir(parents=True, exist_ok=True)
    for number in range(1, SIGNATURES + 1):
        path = place / f"signature-{number}"
        if path.exists():
            if path.read_bytes() == signed:
                return path
            continue
        fs.atomic_write(path, signed)
        return path
    raise refused(
        "too-many-signatures", f"{place} holds {SIGNATURES} signatures already",
        why="verifiers look at no more", fix="remove those of keys that are no longer used",
    )  # fmt: skip


def stored(folder: Path, digest: str) -> list[tuple[str, bytes]]:
    """The signatures of a digest in a store's folder, as (origin, bytes)."""
    found = []
    for number in range(1, SIGNATURES + 1):
        path = folder / digest.replace(":", "=") / f"signature-{number}"
        if not path.is_file():
            break
        if path.stat().st_size > SIZE_LIMIT:
            raise refused("bad-signature", f"{path} is too large", untrusted=True)
        found.append((str(path), path.read_bytes()))
    return found


def config_map(digest: str, signatures: Sequence[bytes]) -> dict[str, Any]:
    """The object a cluster without network takes signatures from."""
    name = digest.replace(":", "-")
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": "openshift-config-managed",
            "labels": {"release.openshift.io/verification-signatures": ""},
        },
        "binaryData": {
            f"{name}-{number}": base64.b64encode(data).decode()
            for number, data in enumerate(signatures, 1)
        },
    }


def keyrings(trusted: Mapping[str, str], origin: str) -> dict[str, gpg.KeySet]:
    """The keyrings a release trusts, by name. Raises `payload/no-keys` when it has none."""
    found = {
        name: gpg.read_keys([(f"{origin}: {name}", value.encode())])
        for name, value in sorted(trusted.items())
        if name.startswith("verifier-public-key-")
    }
    if not found:
        raise refused(
            "no-keys", f"{origin} names no keys to verify releases with",
            why="no ConfigMap of it has the annotation release.openshift.io/verification-config-map"
            " and verifier-public-key-* data",
            fix="clusters on it can be updated with force only",
        )  # fmt: skip
    return found


def verify(
    digest: str, signatures: Sequence[tuple[str, bytes]], rings: Mapping[str, gpg.KeySet]
) -> list[Verdict]:
    """Every keyring must have signed the digest; all that fail are told at once."""
    if not is_digest(digest):
        raise refused("no-digest", f"{digest!r} is not a digest; only digests are signed")
    problems = Problems()
    verdicts = []
    for name, keys in rings.items():
        tried = Problems()
        for origin, data in signatures:
            try:
                verdicts.append(check(data, digest, keys, origin))
                break
            except CosaError as err:
                tried.absorb(err)
        else:
            reasons = "; ".join(f"{one.what}: {one.why}" for one in tried)
            with problems.collecting():
                raise refused(
                    "unsigned", f"unable to verify {digest} against keyrings: {name}",
                    why=reasons or "no signature of it was found",
                    fix="sign it with that key before it is published", untrusted=True,
                )  # fmt: skip
    problems.raise_if_any(f"{digest} is not signed as it must be")
    return verdicts


def _bad(what: str, why: str) -> CosaError:
    return refused("bad-signature", f"the signature {what} does not hold", why=why, untrusted=True)
