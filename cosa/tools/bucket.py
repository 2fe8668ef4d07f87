"""Places builds are kept in: a folder, a web server (reading only), S3 (`tools/s3.py`).

Names are relative paths with `/`. What is not there is no error; HTTP 403, 404 and 504
mean that, too, because buckets that may not be listed answer so.
"""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from cosa.core import clock, fs
from cosa.core.errors import CosaError, ExitClass
from cosa.tools import transfer

ABSENT = (403, 404, 504)
_SECONDS = 60
_PAUSES = (1.0, 3.0, 8.0)
_LIMIT = 64 << 20  # bytes of a file read into memory


@dataclass(frozen=True)
class Put:
    """How a file is stored: for how many seconds others may keep it, its type and encoding."""

    max_age: int
    media: str = ""
    encoding: str = ""


class Bucket(Protocol):
    """What fetching and uploading need."""

    @property
    def address(self) -> str:
        """How people name the place."""

    def read(self, name: str) -> bytes | None:
        """A small file, None when it is not there. Raises `bucket/...`."""

    def fetch(self, name: str, dest: Path) -> bool:
        """Copy a file to a place of ours; False when it is not there."""

    def has(self, name: str) -> bool:
        """Whether a file is there."""

    def store(self, source: Path, name: str, how: Put) -> None:
        """Put a file there, replacing what is there."""


@dataclass(frozen=True)
class FolderBucket:
    """A folder of this machine."""

    root: Path

    @property
    def address(self) -> str:
        """Its path."""
        return str(self.root)

    def read(self, name: str) -> bytes | None:
        """A small file, None when it is not there."""
        path = fs.safe_join(self.root, name)
        return path.read_bytes() if path.is_file() else None

    def fetch(self, name: str, dest: Path) -> bool:
        """Copy a file."""
        path = fs.safe_join(self.root, name)
        if not path.is_file():
            return False
        shutil.copyfile(path, dest)
        return True

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return fs.safe_join(self.root, name).is_file()

    def store(self, source: Path, name: str, how: Put) -> None:
        """Copy a file there; it appears whole."""
        del how  # a folder has no headers
        path = fs.safe_join(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            shutil.copyfile(source, partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class WebBucket:
    """A web server."""

    url: str

    @property
    def address(self) -> str:
        """Its address."""
        return self.url

    def read(self, name: str) -> bytes | None:
        """A small file, None when it is not there. Raises `bucket/network`, `bucket/too-big`."""
        address = f"{self.url}/{quote(name)}"
        why = ""
        for pause in (*_PAUSES, None):
            try:
                # The scheme was looked at by `open_bucket`.
                with urllib.request.urlopen(address, timeout=_SECONDS) as answer:  # noqa: S310
                    data: bytes = answer.read(_LIMIT + 1)
                if len(data) > _LIMIT:
                    raise CosaError(
                        "bucket/too-big", f"{address} has more than {fs.mib(_LIMIT)}",
                        exit_class=ExitClass.UNTRUSTED,
                    )  # fmt: skip
                return data
            except urllib.error.HTTPError as err:
                if err.code in ABSENT:
                    return None
                why = f"the server answers {err.code} {err.reason}"
                if err.code < 500:
                    break
            except OSError as err:
                why = str(getattr(err, "reason", err))
            if pause:
                clock.sleep(pause)
        raise network_error(address, why)

    def fetch(self, name: str, dest: Path) -> bool:
        """Download a file, going on where an earlier run stopped."""
        item = transfer.Item(f"{self.url}/{quote(name)}", dest)
        failures = transfer.download([item], resume=True)
        if not failures:
            return True
        if any(f"code: {code}" in failures[0].why for code in ABSENT):
            return False
        raise network_error(item.url, failures[0].why)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        request = urllib.request.Request(f"{self.url}/{quote(name)}", method="HEAD")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310  as above
                return True
        except urllib.error.HTTPError as err:
            if err.code in ABSENT:
                return False
            raise network_error(request.full_url, f"{err.code} {err.reason}") from err
        except OSError as err:
            raise network_error(request.full_url, str(getattr(err, "reason", err))) from err

    def store(self, source: Path, name: str, how: Put) -> None:
        """Web servers are read only. Raises `bucket/read-only`."""
        del source, how
        raise CosaError(
            "bucket/read-only", f"{self.url}/{name} cannot be written", exit_class=ExitClass.USAGE
        )


def network_error(address: str, why: str) -> CosaError:
    """The error for a place that does not answer as it should."""
    return CosaError(
        "bucket/network", f"{address} could not be reached", why=why,
        fix="check the address and the network, then run again; what was fetched is kept",
        exit_class=ExitClass.NETWORK,
    )  # fmt: skip


def open_bucket(address: str, *, aws_config: str = "", endpoint: str = "") -> Bucket:
    """The place an address means: `s3://BUCKET/PREFIX`, http(s), file:// or a path.

    Raises `bucket/address`.
    """
    parts = urlsplit(address)
    if parts.scheme == "s3":
        from cosa.tools.s3 import S3Bucket

        return S3Bucket.open(parts.netloc, parts.path, aws_config=aws_config, endpoint=endpoint)
    if parts.scheme in ("http", "https") and parts.netloc:
        return WebBucket(address.rstrip("/"))
    if parts.scheme == "file":
        return folder_bucket(parts.path)
    if not parts.scheme and address:
        return folder_bucket(address)
    raise CosaError(
        "bucket/address", f"'{address}' is no place builds can be in",
        fix="give s3://BUCKET/PREFIX, http(s)://..., file://... or a folder",
        exit_class=ExitClass.USAGE,
    )  # fmt: skip


def folder_bucket(path: str) -> FolderBucket:
    """A folder that is there. Raises `bucket/no-folder`.

    One made on the way would be gone with the container that bin/cosa works in.
    """
    root = Path(path).absolute()
    if not root.is_dir():
        raise CosaError(
            "bucket/no-folder", f"there is no folder {root}",
            fix="make it first, and give it as a path, so that bin/cosa brings it along",
            exit_class=ExitClass.USAGE,
        )  # fmt: skip
    return FolderBucket(root)
