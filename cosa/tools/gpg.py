"""OpenPGP: keys a repository is trusted by, detached signatures, signed RPM headers.

Detached signatures (repomd.xml.asc) are checked by Sequoia through pysequoia, RPM headers
by librpm with a keyring of its own in memory: neither reads a key ring or an rpmdb of
the machine, and no gpg process is started.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NoReturn

import pysequoia
import rpm

from cosa.core.errors import CosaError, ExitClass
from cosa.tools.rpmheader import quiet

# Signature tags of a main header: RSA, DSA and rpm 6's OPENPGP. The file-wide signatures of rpm 3
# (PGP, GPG) cover MD5 sums and do not count.
_SIGNATURE_TAGS = (rpm.RPMTAG_RSAHEADER, rpm.RPMTAG_DSAHEADER, 278)


@dataclass(frozen=True)
class KeySet:
    """The keys one repository is trusted by."""

    certs: tuple[Any, ...] = field(compare=False, repr=False)
    digest: str  # hex sha256 over the keys themselves, in order of their fingerprints

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Upper-case hex fingerprints of the primary keys."""
        return tuple(cert.fingerprint.upper() for cert in self.certs)

    def describe(self) -> str:
        """`0123ABCD... (Name <mail>)` for each key, for error messages."""
        return ", ".join(
            f"{cert.fingerprint.upper()[-16:]} ({next(iter(map(str, cert.user_ids)), 'no name')})"
            for cert in self.certs
        )

    @cached_property
    def keyring(self) -> rpm.keyring:
        """The keys as librpm takes them."""
        ring = rpm.keyring()
        for cert in self.certs:
            ring.addKey(rpm.pubkey(str(cert).encode()))
        return ring


def read_keys(blobs: Iterable[tuple[str, bytes]]) -> KeySet:
    """Keys from `(origin, data)` pairs, armored or binary, several keys in one allowed.

    Raises `gpg/bad-key` naming the origin.
    """
    found: dict[str, Any] = {}
    for origin, data in blobs:
        try:
            certs = pysequoia.Cert.split_bytes(data)
        except Exception as err:
            _bad_key(origin, str(err))
        if not certs:
            _bad_key(origin, "it holds no key")
        for cert in certs:
            known = found.get(cert.fingerprint)
            found[cert.fingerprint] = known.merge(cert) if known else cert
    ordered = tuple(found[fingerprint] for fingerprint in sorted(found))
    digest = hashlib.sha256()
    for cert in ordered:
        digest.update(bytes(cert))
    return KeySet(ordered, digest.hexdigest())


def _bad_key(origin: str, why: str) -> NoReturn:
    raise CosaError(
        "gpg/bad-key",
        f"{origin} is not an OpenPGP public key",
        why=why,
        fix="point gpgkey= at the armored public key (gpg --armor --export KEY)",
    )


def verify_detached(data: bytes, signature: bytes, keys: KeySet, what: str) -> str:
    """Check a detached signature, armored or binary; the signing key's fingerprint.

    Raises `gpg/wrong-key` or `gpg/bad-signature`, class UNTRUSTED, naming `what`.
    """
    try:
        parsed = pysequoia.Sig.from_bytes(signature)
    except Exception as err:
        _untrusted("gpg/bad-signature", f"the signature of {what} is not readable", str(err))
    issuer = (parsed.issuer_fingerprint or parsed.issuer_key_id or "unknown").upper()
    try:
        result = pysequoia.verify(bytes=data, store=lambda _ids: list(keys.certs), signature=parsed)
    except Exception as err:
        if _knows(keys, issuer):
            _untrusted("gpg/bad-signature", f"the signature of {what} does not hold", str(err))
        _wrong_key(what, issuer, keys)
    return str(result.valid_sigs[0].certificate).upper()


def verify_rpm_header(file: IO[bytes], keys: KeySet, what: str) -> rpm.hdr:
    """Check digests and signature of an RPM's main header against `keys`.

    Returns the header and leaves `file` at the start of the payload, whose digest is in the
    header and *not* checked here. Raises, with class UNTRUSTED and naming `what`,
    `gpg/unsigned`, `gpg/wrong-key`, `gpg/bad-signature` or `gpg/damaged`.
    """
    header = _read_header(file, keys.keyring, rpm.RPMVSF_DEFAULT)
    if header is None:
        _explain_rpm(file, keys, what)
    if not any(header[tag] for tag in _SIGNATURE_TAGS):
        _untrusted("gpg/unsigned", f"{what} is not signed", "its header has no signature")
    return header


def _explain_rpm(file: IO[bytes], keys: KeySet, what: str) -> NoReturn:
    unchecked = _read_header(file, rpm.keyring(), rpm.RPMVSF_MASK_NOSIGNATURES)
    if unchecked is None:
        _untrusted("gpg/damaged", f"{what} is damaged", "its header does not match its own digest")
    issuer = signer_of(unchecked)
    if issuer and not _knows(keys, issuer):
        _wrong_key(what, issuer, keys)
    _untrusted(
        "gpg/bad-signature", f"the signature of {what} does not hold",
        "the header or the signature was changed after signing, or the key has expired",
    )  # fmt: skip


def signer_of(header: rpm.hdr) -> str:
    """The upper-case hex id of the key that signed a header; empty if unsigned."""
    for tag in ("RSAHEADER", "DSAHEADER"):
        text = str(header.format(f"%{{{tag}:pgpsig}}"))
        if "Key ID" in text:
            return text.rpartition(" ")[2].upper()
    return ""


def _read_header(file: IO[bytes], keyring: rpm.keyring, flags: int) -> rpm.hdr | None:
    transaction = rpm.TransactionSet()
    transaction.setKeyring(keyring)
    transaction.setVSFlags(flags)
    with quiet():
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        try:
            return transaction.hdrFromFdno(file.fileno())
        except rpm.error:
            return None


def _knows(keys: KeySet, issuer: str) -> bool:
    """Whether the issuer (fingerprint or key id) is one of the keys or of their subkeys."""
    return any(
        known.endswith(issuer) or issuer.endswith(known[-16:]) for known in keys.fingerprints
    )


def _wrong_key(what: str, issuer: str, keys: KeySet) -> NoReturn:
    _untrusted(
        "gpg/wrong-key",
        f"{what} is signed by a key that its repository does not list",
        f"signed by {issuer}; trusted: {keys.describe()}",
        "if the repository changed its key, get the new one from a place you trust and "
        "name it in gpgkey=",
    )


def _untrusted(code: str, what: str, why: str, fix: str = "") -> NoReturn:
    raise CosaError(
        code, what, why=why,
        fix=fix or "get it again from the repository; report it to its owner if that does not help",
        exit_class=ExitClass.UNTRUSTED,
    )  # fmt: skip


def read_key_files(paths: Iterable[Path]) -> KeySet:
    """Keys from files. Raises `gpg/bad-key`, also for a file that cannot be read."""
    blobs = []
    for path in paths:
        try:
            blobs.append((str(path), path.read_bytes()))
        except OSError as err:
            _bad_key(str(path), err.strerror or str(err))
    return read_keys(blobs)
