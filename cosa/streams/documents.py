"""`releases.json` (a stream's releases, oldest first) and the updates JSON (who may go where).

Both formats are Fedora CoreOS's. Reading is lenient about keys not known here and
strict about the types of those that are; every problem is told at once with its place.
Order is that of the index, never that of version numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cosa.core.errors import CosaError, Problem, Problems
from cosa.model import document
from cosa.model.document import Document

_INT64 = 2**63


def _one_line(text: str) -> str:
    # It ends up on terminals and in pictures.
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise ValueError("control characters may not stand here")
    return text


type _Line = Annotated[str, AfterValidator(_one_line)]
type _Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Commit(_Open):
    """An OSTree commit of a release for one architecture."""

    architecture: str
    checksum: str


class OciImage(_Open):
    """A container image of a release for one architecture; `digest_ref` is REPOSITORY@DIGEST."""

    architecture: str
    digest_ref: str = Field(alias="digest-ref")
    image: str = ""


class Release(_Open):
    """One entry of the index."""

    version: _Line = Field(min_length=1)
    metadata: str = ""
    commits: tuple[Commit, ...] | None = None
    oci_images: tuple[OciImage, ...] | None = Field(None, alias="oci-images")

    def payload(self, basearch: str, *, oci: bool) -> str:
        """What a node of that architecture deploys; empty when the release has nothing for it.

        Of several entries for one architecture the last one counts.
        """
        pairs = (
            [(one.architecture, one.digest_ref) for one in self.oci_images or ()]
            if oci
            else [(one.architecture, one.checksum) for one in self.commits or ()]
        )
        return next((text for arch, text in reversed(pairs) if arch == basearch and text), "")

    def scopes(self) -> set[tuple[str, bool]]:
        """The (architecture, is OCI) pairs the release has a payload for."""
        found = {(one.architecture, False) for one in self.commits or () if one.checksum}
        return found | {(one.architecture, True) for one in self.oci_images or () if one.digest_ref}


class ReleaseIndex(_Open):
    """A whole releases.json."""

    stream: str = ""
    releases: tuple[Release, ...]

    def positions(self) -> dict[str, int]:
        """Where each version stands in the index; one listed twice, where it stands first."""
        last = len(self.releases) - 1
        return {one.version: last - n for n, one in enumerate(reversed(self.releases))}

    def scopes(self) -> list[tuple[str, bool]]:
        """All (architecture, is OCI) pairs of the stream."""
        return sorted({scope for one in self.releases for scope in one.scopes()})


class Reason(_Open):
    """Why there is a barrier or a dead end; may be empty."""

    reason: _Line


class Rollout(_Open):
    """How a release spreads. Shares are fractions from 0 to 1, whatever the key is called."""

    start_epoch: int | None = Field(None, ge=-_INT64, lt=_INT64)
    start_percentage: _Finite | None = None
    duration_minutes: int | None = Field(None, ge=0, lt=2 * _INT64)


class Marks(_Open):
    """What the updates JSON says of one release."""

    barrier: Reason | None = None
    deadend: Reason | None = None
    rollout: Rollout | None = None


class Update(_Open):
    """One entry of the updates JSON."""

    version: _Line = Field(min_length=1)
    metadata: Marks


class Updates(_Open):
    """A whole updates JSON."""

    stream: str = ""
    releases: tuple[Update, ...]

    def marks(self) -> dict[str, Marks]:
        """All that is said of each version; a later entry wins, key by key."""
        found: dict[str, dict[str, object]] = {}
        rollouts: dict[str, dict[str, object]] = {}
        for entry in self.releases:
            said, mine = entry.metadata, found.setdefault(entry.version, {})
            mine |= {k: v for k in ("barrier", "deadend") if (v := getattr(said, k)) is not None}
            if said.rollout:
                rollout = rollouts.setdefault(entry.version, {})
                rollout |= said.rollout.model_dump(exclude_none=True)
                mine["rollout"] = Rollout.model_validate(rollout)
        return {version: Marks.model_validate(mine) for version, mine in found.items()}


def read(releases: Path, updates: Path, stream: str = "") -> tuple[ReleaseIndex, Updates, Document]:
    """Both documents, held against each other, and the text of the second.

    With `stream`, documents that name another one are refused.
    Raises what `document.load` does, `streams/...` and `streams/other-stream`.
    """
    found = Problems()
    index: ReleaseIndex | None = None
    said: Updates | None = None
    doc: Document | None = None
    with found.collecting():
        listed = document.load(releases, "json")
        index = document.validate(ReleaseIndex, listed, "streams")
        _same_stream(index.stream, stream, listed)
    with found.collecting():
        doc = document.load(updates, "json")
        said = document.validate(Updates, doc, "streams")
        _same_stream(said.stream, stream, doc)
    found.raise_if_any("the documents of the stream are not valid")
    assert index is not None
    assert said is not None
    assert doc is not None
    if index.stream and said.stream and index.stream != said.stream:
        what = f"{releases} is of the stream {index.stream!r}, {updates} of {said.stream!r}"
        raise CosaError("streams/other-stream", what, doc.where("stream"))
    return index, said, doc


def _same_stream(written: str, wanted: str, doc: Document) -> None:
    if wanted and written and written != wanted:
        what = f"this is the document of the stream {written!r}, not of {wanted!r}"
        raise CosaError("streams/other-stream", what, doc.where("stream"))


def doubts(index: ReleaseIndex, updates: Updates, doc: Document) -> Iterator[Problem]:
    """What a graph can be made of all the same, but nobody can have meant."""
    for version, times in Counter(one.version for one in index.releases).items():
        if times > 1:
            yield Problem("streams/repeated", f"the index lists {version} {times} times")
    known = {one.version for one in index.releases}
    seen: set[str] = set()
    for number, entry in enumerate(updates.releases):
        where = doc.where("releases", number)
        version, marks = entry.version, entry.metadata
        if version not in known:
            what = f"{version} is not in the index of releases; the entry does nothing"
            yield Problem("streams/unknown-version", what, where)
        if version in seen:
            yield Problem("streams/repeated", f"{version} has two entries; they add up", where)
        seen.add(version)
        if marks.deadend and (marks.barrier or marks.rollout):
            what = f"{version} is a dead end that nodes are still sent to"
            yield Problem("streams/trap", what, where)
        share = marks.rollout.start_percentage if marks.rollout else None
        if share is not None and not 0 <= share <= 1:
            what = f"{version}: start_percentage is a fraction from 0 to 1, not {share:g}"
            yield Problem("streams/share", what, where)


_VERSION = re.compile(r"(\d+)\.(\d{8})(?:\.(\d+))?(?:[.-].+)?")


def age_of(version: str) -> tuple[int, str] | None:
    """The major version and the day its packages are of (`20260707`); None when it has none."""
    match = _VERSION.fullmatch(version)
    return (int(match[1]), match[2]) if match else None
