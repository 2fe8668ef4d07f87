"""What git knows about an OS definition: commit, origin, branch, local changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosa.core import run
from cosa.core.store import Json


@dataclass(frozen=True)
class GitState:
    """State of a git checkout; `origin` is empty without a remote, `branch` when detached."""

    commit: str
    origin: str
    branch: str
    dirty: bool

    def to_json(self) -> dict[str, Json]:
        """As `coreos-assembler.container-config-git` wants it."""
        data: dict[str, Json] = {"commit": self.commit, "origin": self.origin}
        if self.branch:
            data["branch"] = self.branch
        return data | {"dirty": self.dirty}


def of_folder(folder: Path) -> GitState | None:
    """The state of the checkout a folder belongs to; `dirty` looks at that folder only.

    None when it is in no git checkout, has no commit yet, or git is not there.
    """
    real = folder.resolve()
    if not any((above / ".git").exists() for above in (real, *real.parents)):
        return None
    commit = _git(real, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    branch = _git(real, "rev-parse", "--abbrev-ref", "HEAD") or ""
    return GitState(
        commit=commit,
        origin=_without_password(_git(real, "config", "--get", "remote.origin.url") or ""),
        branch="" if branch == "HEAD" else branch,
        dirty=bool(_git(real, "status", "--porcelain", "--", ".")),
    )


def _git(folder: Path, *words: str) -> str | None:
    # The assembler's user seldom owns the user's checkout; we only read it. A lock for the
    # index refresh would be a write.
    argv = ["git", "-c", "safe.directory=*", "--no-optional-locks", "-C", str(folder), *words]
    result = run.run(argv, check=False)
    return result.out.strip() if result.status == 0 else None


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark or "@" not in rest.split("/", 1)[0]:
        return url
    return scheme + mark + rest.split("@", 1)[1]
