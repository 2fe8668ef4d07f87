"""Just enough OpenPGP to sign: an Ed25519 key and detached version 4 signatures.

Libraries add a random salt and the time of day to each signature; a repository
that is equal to the bit when made twice needs neither. Source of the formats:
RFC 4880 (packets, signature version 4) and RFC 9580 section 5.5.5.5
(EdDSALegacy, which GnuPG 2.1, Sequoia and RPM all verify).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass

USER_ID = "cosa stand-in repository of this machine (local, made on first use)"
_EDDSA, _SHA256, _SHA512 = 22, 8, 10
_OID_ED25519 = bytes.fromhex("2b06010401da470f01")
_SIG_BINARY, _SIG_CERTIFY = 0x00, 0x13
_TAG_SIGNATURE, _TAG_PUBLIC_KEY, _TAG_USER_ID = 2, 6, 13


@dataclass(frozen=True)
class SigningKey:
    """A local key; `created` (seconds since 1970) is also the time of each of its signatures."""

    secret: bytes
    created: int

    @property
    def fingerprint(self) -> str:
        """40 hex digits, as `gpg` shows them, in lower case."""
        return self._fingerprint().hex()

    def public_armored(self) -> str:
        """The certificate users import: key, user id and self-signature."""
        body = self._key_body()
        uid = USER_ID.encode()
        certified = b"\x99" + len(body).to_bytes(2) + body + b"\xb4" + len(uid).to_bytes(4) + uid
        # Key flags: certify and sign; preferences say SHA-512 and SHA-256.
        extra = _subpacket(27, b"\x03") + _subpacket(21, bytes([_SHA512, _SHA256]))
        signature = self._signature(_SIG_CERTIFY, certified, extra)
        packets = _packet(_TAG_PUBLIC_KEY, body) + _packet(_TAG_USER_ID, uid) + signature
        return _armor("PUBLIC KEY BLOCK", packets)

    def sign(self, data: bytes) -> bytes:
        """A detached signature packet over `data`; equal data give equal signatures."""
        return self._signature(_SIG_BINARY, data, b"")

    def sign_armored(self, data: bytes) -> str:
        """The same in the text form that `repomd.xml.asc` has."""
        return _armor("SIGNATURE", self.sign(data))

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    def _key_body(self) -> bytes:
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        point = b"\x40" + self._private().public_key().public_bytes(*raw)
        head = b"\x04" + self.created.to_bytes(4) + bytes([_EDDSA, len(_OID_ED25519)])
        return head + _OID_ED25519 + _mpi(point)

    def _fingerprint(self) -> bytes:
        body = self._key_body()
        packet = b"\x99" + len(body).to_bytes(2) + body
        return hashlib.sha1(packet, usedforsecurity=False).digest()

    def _signature(self, kind: int, data: bytes, extra: bytes) -> bytes:
        issuer = self._fingerprint()
        hashed = (
            _subpacket(2, self.created.to_bytes(4))
            + _subpacket(33, b"\x04" + issuer)
            + _subpacket(16, issuer[-8:])
            + extra
        )
        head = bytes([4, kind, _EDDSA, _SHA256]) + len(hashed).to_bytes(2) + hashed
        digest = hashlib.sha256(data + head + b"\x04\xff" + len(head).to_bytes(4)).digest()
        raw = self._private().sign(digest)
        body = head + b"\0\0" + digest[:2] + _mpi(raw[:32]) + _mpi(raw[32:])
        return _packet(_TAG_SIGNATURE, body)


def load_or_create(folder: Path) -> SigningKey:
    """The key in `folder/secret.json` (mode 0600); made on first use.

    The caller holds the repository's lock. Raises `standin/key` when the file
    is there but is no key.
    """
    path = folder / "secret.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        fresh = {"ed25519": os.urandom(32).hex(), "created": clock.now()}
        fs.atomic_write(path, json.dumps(fresh), mode=0o600)
    try:
        data = json.loads(path.read_text())
        key = SigningKey(bytes.fromhex(data["ed25519"]), int(data["created"]))
        key.sign(b"")
    except (ValueError, KeyError, TypeError, OverflowError) as err:
        raise CosaError(
            "standin/key", f"the signing key {path} cannot be used", why=str(err),
            fix="remove the file; a new key is made and every package converted again",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err  # fmt: skip
    return key


def _mpi(raw: bytes) -> bytes:
    stripped = raw.lstrip(b"\0")
    bits = (len(stripped) - 1) * 8 + stripped[0].bit_length() if stripped else 0
    return bits.to_bytes(2) + stripped


def _subpacket(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def _packet(tag: int, body: bytes) -> bytes:
    """A packet with an old-style header, which every reader of RPM signatures takes."""
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2) + body


def _armor(what: str, data: bytes) -> str:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    text = base64.b64encode(data).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    check = base64.b64encode((crc & 0xFFFFFF).to_bytes(3)).decode()
    return "\n".join(
        [f"-----BEGIN PGP {what}-----", "", *lines, f"={check}", f"-----END PGP {what}-----", ""]
    )
