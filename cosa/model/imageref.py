"""Names of images in registries: `HOST/REPOSITORY[:TAG][@DIGEST]`.

The grammar is the reference grammar of the OCI distribution specification.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cosa.core.errors import CosaError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z")


@dataclass(frozen=True, order=True)
class ImageRef:
    """One image's name; `digest` is `sha256:HEX` or empty."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def target(self) -> str:
        """What a registry's API is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> ImageRef:
        """The same repository, by digest alone."""
        return replace(self, tag="", digest=digest)


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 digest as registries write it."""
    return bool(_DIGEST.match(text))


def parse_ref(text: str) -> ImageRef:
    """Read an image's name. Raises `image/bad-reference`."""
    rest, _, digest = text.partition("@")
    host, slash, path = rest.partition("/")
    named = bool(slash) and ("." in host or ":" in host or host == "localhost")
    repository, _, tag = path.partition(":")
    wrong = (
        # Which registry a short name means differs from machine to machine.
        ("it does not name its registry", not named),
        ("its registry's name is not one", not _HOST.match(host)),
        ("its repository may hold lower case letters, digits and . _ - / only",
         not _REPOSITORY.match(repository) or len(repository) > 255),
        ("its tag is not one", ":" in path and not _TAG.match(tag)),
        ("its digest must be sha256: and 64 hexadecimal digits",
         "@" in text and not is_digest(digest)),
    )  # fmt: skip
    for why, found in wrong:
        if found:
            raise CosaError(
                "image/bad-reference", f"{text!r} is not the name of an image", why=why,
                fix="write HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:...",
            )  # fmt: skip
    return ImageRef(host, repository, tag, digest)
