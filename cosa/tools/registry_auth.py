"""Who we are to a registry: passwords from auth files, tokens from the registry's own service.

Files as in containers-auth.json(5): `{"auths": {"HOST[/PATH]": {"auth": base64(USER:PASSWORD)}}}`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from pathlib import Path

from cosa.core.errors import CosaError, ExitClass, Where

_CHALLENGE = re.compile(r'([a-z_]+)="([^"]*)"')


class AuthFile:
    """The credentials of one auth file, or of the files that are looked at by default."""

    def __init__(self, *named: Path) -> None:
        """`named` files are looked at in order, the first that knows a place counts."""
        self._entries: dict[str, str] = {}
        for path in named or _default_places():
            if path.is_file():
                for key, value in _read(path).items():
                    self._entries.setdefault(key, value)
            elif named:
                raise CosaError(
                    "registry/no-auth-file", f"the auth file {path} does not exist",
                    fix="make one with `podman login --authfile FILE HOST`",
                )  # fmt: skip

    def basic(self, host: str, repository: str) -> str:
        """base64 of USER:PASSWORD for a repository; the longest match counts; else empty."""
        place = f"{host}/{repository}"
        while place:
            if place in self._entries:
                return self._entries[place]
            place = place.rpartition("/")[0]
        return ""


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """The scheme (lower case) and parameters of a WWW-Authenticate header."""
    scheme, _, rest = header.partition(" ")
    return scheme.lower(), dict(_CHALLENGE.findall(rest))


def _default_places() -> list[Path]:
    named = os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        return [Path(named)]
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return [
        Path(runtime) / "containers/auth.json",
        Path("/run/containers/0/auth.json"),
        Path.home() / ".config/containers/auth.json",
        Path.home() / ".docker/config.json",
    ]


def _read(path: Path) -> dict[str, str]:
    try:
        auths = json.loads(path.read_text()).get("auths", {})
        found = {}
        for place, entry in auths.items():
            value = entry.get("auth", "")
            if value:
                base64.b64decode(value, validate=True).decode().index(":")
                found[_host_and_path(place)] = value
        return found
    except (ValueError, AttributeError, TypeError, OSError, binascii.Error) as err:
        raise CosaError(
            "registry/bad-auth-file", "not an auth file of containers", Where(str(path)),
            why=str(err), fix="make a new one with `podman login --authfile FILE HOST`",
            exit_class=ExitClass.INPUT,
        ) from None  # fmt: skip


def _host_and_path(place: str) -> str:
    """The key without scheme and API version, as old docker wrote them."""
    place = re.sub(r"^https?://", "", place).rstrip("/")
    return re.sub(r"/v[12]$", "", place)
