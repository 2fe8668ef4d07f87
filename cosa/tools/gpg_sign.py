"""Signing with OpenPGP keys people keep in GnuPG: the program, because keys live in its agent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosa.core import run
from cosa.core.errors import CosaError, ExitClass


def sign_inline(data: bytes, *, key: str = "", key_file: Path | None = None) -> bytes:
    """A binary OpenPGP message that holds `data` and its signature (`gpg --sign`).

    The key is one of the user's keyring (name, mail or fingerprint; else the
    default one), or the only one of `key_file`. Raises `gpg/cannot-sign`.
    """
    with _home(key_file) as home, tempfile.TemporaryDirectory(prefix="cosa-sign") as folder:
        source, out = Path(folder) / "data", Path(folder) / "signed"
        source.write_bytes(data)
        argv = ["gpg", "--batch", "--yes", "--no-armor", "--digest-algo", "SHA256"]
        if key:
            argv += ["--local-user", key]
        argv += ["--output", str(out), "--sign", str(source)]
        result = run.run(argv, check=False, env={"GNUPGHOME": home} if home else {})
        if result.status:
            raise CosaError(
                "gpg/cannot-sign", "the signature could not be made", why=result.err.strip(),
                fix="name a secret key of your keyring with --key, or a file with --key-file",
                exit_class=ExitClass.ENVIRONMENT,
            )  # fmt: skip
        return out.read_bytes()


@contextmanager
def _home(key_file: Path | None) -> Iterator[str]:
    """GnuPG's folder: the user's, or a private one that holds the key of a file."""
    if key_file is None:
        yield os.environ.get("GNUPGHOME", "")
        return
    with tempfile.TemporaryDirectory(prefix="cosa-gpg") as folder:
        env = {"GNUPGHOME": folder}
        Path(folder).chmod(0o700)
        try:
            run.run(["gpg", "--batch", "--import", str(key_file)], env=env)
            yield folder
        finally:
            run.run(["gpgconf", "--kill", "all"], check=False, env=env)
