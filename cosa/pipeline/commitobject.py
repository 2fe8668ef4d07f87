"""A commit as it lies in a repository: its bytes, and its metadata as JSON.

A commit object is a file of its own in every repository mode (ostree's
"repository" documentation): `objects/XX/REST.commit`, one GVariant.
"""

from __future__ import annotations

from pathlib import Path

from cosa.core.store import Json
from cosa.tools.ostree import Repo


def path(repo: Path, commit: str) -> Path:
    """Where a commit object lies."""
    return repo / "objects" / commit[:2] / f"{commit[2:]}.commit"


def is_there(repo: Path, commit: str) -> bool:
    """Whether a repository has a commit, and all of it."""
    partial = repo / "state" / f"{commit}.commitpartial"
    return path(repo, commit).is_file() and not partial.exists()


def metadata(repo: Path, commit: str) -> dict[str, Json]:
    """The metadata dictionary of a commit; bytes become lists of numbers."""
    found = Repo(repo).commit_metadata(commit).unpack()
    return {str(key): _plain(value) for key, value in sorted(found.items())}


def _plain(value: object) -> Json:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    raise TypeError(f"a commit's metadata holds a {type(value).__name__}")
