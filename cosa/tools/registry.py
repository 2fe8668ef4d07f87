"""A registry over HTTP: the OCI distribution API, as far as releases need it.

Every digest is checked before bytes are believed. Connections are kept and
shared by threads. `Client` raises `registry/...` errors of class NETWORK, or
UNTRUSTED where a registry's answer is not what its digest says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cosa.core import fs
from cosa.core.errors import CosaError, ExitClass
from cosa.model.imageref import ImageRef
from cosa.tools.registry_http import Answer, Connections, Part

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LISTS = (DOCKER_LIST, OCI_INDEX)
SCHEMA1 = (DOCKER_SCHEMA1, "application/vnd.docker.distribution.manifest.v1+json")

MANIFEST_LIMIT = 8 << 20  # bytes; registries refuse above 4 MiB
CONFIG_LIMIT = 16 << 20
_ACCEPT = ", ".join([DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, *SCHEMA1])
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry has it; `raw` has the digest `digest`."""

    ref: ImageRef
    raw: bytes
    media_type: str
    digest: str
    data: Mapping[str, Any] = field(repr=False)

    @property
    def is_list(self) -> bool:
        """Whether it lists manifests of several architectures."""
        return self.media_type in LISTS

    @property
    def layers(self) -> Sequence[Mapping[str, Any]]:
        """Descriptors of the layers, base first."""
        found: Sequence[Mapping[str, Any]] = self.data.get("layers", [])
        return found

    @property
    def config(self) -> Mapping[str, Any]:
        """Descriptor of the image's configuration."""
        found: Mapping[str, Any] = self.data["config"]
        return found


class Client:
    """Registries, with one set of credentials and connections."""

    def __init__(self, connections: Connections) -> None:
        self._http = connections

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest behind a name. Raises `registry/no-image` when there is none."""
        answer = self._http.ask(
            ref, "GET", f"/v2/{ref.repository}/manifests/{ref.target}",
            headers={"Accept": _ACCEPT}, limit=MANIFEST_LIMIT,
        )  # fmt: skip
        if answer.status == 404:
            raise CosaError(
                "registry/no-image", f"there is no image {ref}", why=_told(answer),
                exit_class=ExitClass.NETWORK,
            )  # fmt: skip
        _expect(answer, 200, f"the manifest of {ref}")
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if ref.digest and digest != ref.digest:
            raise _wrong_digest(f"the manifest of {ref}", digest)
        return _manifest(ref, answer, digest)

    def exists(self, ref: ImageRef) -> bool:
        """Whether the registry has the manifest."""
        path = f"/v2/{ref.repository}/manifests/{ref.target}"
        answer = self._http.ask(ref, "HEAD", path, headers={"Accept": _ACCEPT})
        if answer.status not in (200, 404):
            _expect(answer, 200, f"the manifest of {ref}")
        return answer.status == 200

    def blob(self, ref: ImageRef, digest: str, *, limit: int = CONFIG_LIMIT) -> bytes:
        """A blob's bytes, checked. Raises `registry/too-big` above `limit` bytes."""
        answer = self._http.ask(ref, "GET", f"/v2/{ref.repository}/blobs/{digest}", limit=limit)
        _expect(answer, 200, f"{digest} of {ref.name}")
        found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if found != digest:
            raise _wrong_digest(f"the blob {digest} of {ref.name}", found)
        return answer.body

    def save_blob(self, ref: ImageRef, digest: str, out: Path) -> int:
        """Write a blob to a new file, checked before it gets its name; its size in bytes."""
        state = hashlib.sha256()
        partial = out.with_name(f".{out.name}.partial")
        try:
            with self.opened(ref, digest) as pieces, partial.open("wb") as file:
                for piece in pieces:
                    state.update(piece)
                    file.write(piece)
            if f"sha256:{state.hexdigest()}" != digest:
                raise _wrong_digest(
                    f"the blob {digest} of {ref.name}", f"sha256:{state.hexdigest()}"
                )
            fs.publish(partial, out)
        finally:
            partial.unlink(missing_ok=True)
        return out.stat().st_size

    @contextmanager
    def opened(self, ref: ImageRef, digest: str) -> Iterator[Iterator[bytes]]:
        """A blob as pieces, not checked: the reader must."""
        path = f"/v2/{ref.repository}/blobs/{digest}"
        with self._http.stream(ref, path, _CHUNK) as (answer, pieces):
            _expect(answer, 200, f"{digest} of {ref.name}")
            yield pieces

    def has_blob(self, ref: ImageRef, digest: str) -> bool:
        """Whether the repository has a blob."""
        answer = self._http.ask(ref, "HEAD", f"/v2/{ref.repository}/blobs/{digest}")
        return answer.status == 200

    def put_blob(
        self, ref: ImageRef, digest: str, content: bytes | Path | Part, *, mount_from: str = ""
    ) -> bool:
        """Upload a blob unless it is there; `mount_from` names a repository of the same host
        to take it from. Whether bytes were sent.
        """
        if self.has_blob(ref, digest):
            return False
        query = f"?{urlencode({'mount': digest, 'from': mount_from})}" if mount_from else ""
        begun = self._http.ask(
            ref, "POST", f"/v2/{ref.repository}/blobs/uploads/{query}", push=True,
            pull_from=mount_from,
        )  # fmt: skip
        if begun.status == 201:
            return False
        _expect(begun, 202, f"an upload to {ref.name}")
        place = begun.headers.get("location", "")
        place += ("&" if "?" in place else "?") + urlencode({"digest": digest})
        done = self._http.ask(
            ref, "PUT", place, push=True, body=content,
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        _expect(done, 201, f"the upload of {digest} to {ref.name}")
        return True

    def put_manifest(self, ref: ImageRef, raw: bytes, media_type: str) -> str:
        """Upload a manifest under the name's tag or digest; its digest."""
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        target = ref.tag or digest
        answer = self._http.ask(
            ref, "PUT", f"/v2/{ref.repository}/manifests/{target}", push=True, body=raw,
            headers={"Content-Type": media_type},
        )  # fmt: skip
        _expect(answer, 201, f"the manifest of {ref}")
        return digest


def _manifest(ref: ImageRef, answer: Answer, digest: str) -> Manifest:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    try:
        data = json.loads(answer.body)
        kind = data.get("mediaType") or kind
        if data.get("schemaVersion") == 1:
            kind = DOCKER_SCHEMA1
        elif kind not in LISTS:
            for one in [data["config"], *data["layers"]]:
                _descriptor(one)
        else:
            for one in data["manifests"]:
                _descriptor(one)
        return Manifest(ref, answer.body, kind, digest, data)
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise CosaError(
            "registry/bad-manifest", f"the manifest of {ref} is not one",
            why=f"{type(err).__name__}: {err}", exit_class=ExitClass.UNTRUSTED,
        ) from None  # fmt: skip


def _descriptor(one: Mapping[str, Any]) -> None:
    from cosa.model.imageref import is_digest

    if not is_digest(one["digest"]) or not isinstance(one["size"], int) or one["size"] < 0:
        raise ValueError(f"a descriptor with digest {one['digest']!r} and size {one['size']!r}")


def _wrong_digest(what: str, found: str) -> CosaError:
    return CosaError(
        "registry/wrong-digest", f"{what} does not match its digest",
        why=f"what came has the digest {found}",
        fix="try again; if it stays, the registry or something before it is broken",
        exit_class=ExitClass.UNTRUSTED,
    )  # fmt: skip


def _expect(answer: Answer, status: int, what: str) -> None:
    if answer.status == status:
        return
    fix = ""
    if answer.status in (401, 403):
        fix = "log in with `podman login --authfile FILE HOST` and name the file with -a"
    raise CosaError(
        "registry/refused", f"the registry answered {answer.status} for {what}",
        why=_told(answer), fix=fix, exit_class=ExitClass.NETWORK,
    )  # fmt: skip


def _told(answer: Answer) -> str:
    """The registry's own words."""
    try:
        errors = json.loads(answer.body)["errors"]
        return "; ".join(f"{e.get('code', '')}: {e.get('message', '')}" for e in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.body[:200].decode("utf-8", "replace").strip()
