"""Sigstore signatures beside an image in its registry, made and checked by cosign."""

from __future__ import annotations

import os
from pathlib import Path

from cosa.core import run

_OFFLINE = ("--tlog-upload=false", "--yes")


def sign(pullspec: str, key: Path, *, insecure: bool = False) -> None:
    """Sign an image (by digest) with a private key; COSIGN_PASSWORD is its password."""
    argv = ["cosign", "sign", "--key", str(key), *_OFFLINE, *_registry(insecure=insecure), pullspec]
    run.run(argv, env=_env())


def verify(pullspec: str, key: Path, *, insecure: bool = False) -> None:
    """Check an image's signature with a public key. Raises when it does not hold."""
    argv = ["cosign", "verify", "--key", str(key), "--insecure-ignore-tlog=true",
            *_registry(insecure=insecure), pullspec]  # fmt: skip
    run.run(argv, env=_env())


def _registry(*, insecure: bool) -> list[str]:
    return ["--allow-insecure-registry", "--allow-http-registry"] if insecure else []


def _env() -> dict[str, str]:
    return {"COSIGN_PASSWORD": os.environ.get("COSIGN_PASSWORD", "")}
