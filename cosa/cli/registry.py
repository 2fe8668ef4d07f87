"""Options that every command speaking to registries takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosa.tools.registry import Client

REGISTRY_HELP = {
    "registry-config": "auth file of registries; default as podman's",
    "insecure": "take any certificate, and registries without TLS; loopback needs no asking",
    "certificate-authority": "CA certificates to trust, a PEM file",
}
REGISTRY_META = {"registry_config": "FILE", "certificate_authority": "FILE"}
REGISTRY_SHORT = {"registry_config": "a"}


@contextmanager
def client_of(
    registry_config: str, certificate_authority: str, *, insecure: bool
) -> Iterator[Client]:
    """Registries as the options say."""
    from cosa.tools.registry import Client
    from cosa.tools.registry_auth import AuthFile
    from cosa.tools.registry_http import Connections

    auth = AuthFile(*([Path(registry_config)] if registry_config else []))
    cafile = Path(certificate_authority) if certificate_authority else None
    with Connections(auth, insecure=insecure, cafile=cafile) as connections:
        yield Client(connections)


def words_of(values: Iterable[str]) -> list[str]:
    """Options that may be repeated, or hold several words between commas."""
    return [word for value in values for word in value.split(",") if word]
