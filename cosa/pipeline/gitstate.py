"""What git knows about an OS definition: commit, origin, branch, local changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosa.core import clock, events, run
from cosa.core.store import Json


@dataclass(frozen=True)
class GitState:
    """State of a git checkout; `origin` is empty without a remote, `branch` when detached."""

    commit: str
    origin: str
    branch: str
    dirty: bool

    def to_json(self) -> dict[str, Json]:
        """As `coreos-assembler.container-config-git` wants it: texts, none of them empty."""
        return {
            "commit": self.commit,
            "origin": self.origin or "UNKNOWN",
            "branch": self.branch or "HEAD",
            "dirty": "true" if self.dirty else "false",
        }


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


def commits_since(folder: Path, moment: int) -> int | None:
    """How many commits a checkout has from after `moment` (seconds since 1970); None without git.

    A shallow clone may hold too few of them, which is said.
    """
    real = folder.resolve()
    count = _git(real, "rev-list", "--count", f"--after={clock.iso(moment)}", "HEAD")
    if count is None:
        return None
    if _git(real, "rev-parse", "--is-shallow-repository") == "true":
        events.warn(
            f"{folder} is a shallow clone: the commits counted for the version may be too few;"
            " `git fetch --unshallow` there brings them all"
        )
    return int(count)


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
