"""The SELinux policy: by far the longest script, so it runs beside the others and is kept.

Compiling a policy's modules takes longer than all other scripts together and
depends on few packages. Where nothing else in the transaction touches the
policy, its %posttrans runs on an overlay of its own, and what it wrote is kept
under the digests of the packages it needs (docs/adr/compose-selinux-policy.md).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosa.compose import closure, translate
from cosa.compose.digests import Digests
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.scriptjob import Job
from cosa.compose.tree import Tree
from cosa.core.store import Json

STEP = "selinux-policy"
_VERSION = 2
_POLICY_FILES = re.compile(
    r"usr/share/selinux/[^/]+/.*\.pp|etc/selinux/[^/]+/contexts/|var/lib/selinux/[^/]+/active/"
)
_TOOLS = re.compile(r"\b(semodule|semanage|setsebool)\b")
# What a policy is made from besides its packages.
_READ = ("etc/selinux", "usr/share/selinux", "etc/default/useradd", "etc/login.defs")
_MINE = "etc/selinux"


def brings_policy(package: PackageIndex) -> bool:
    """Whether a package ships an SELinux policy."""
    return any(_POLICY_FILES.match(entry.path) for entry in package.entries)


def detachable(jobs: Mapping[str, Sequence[Job]], packages: Sequence[PackageIndex]) -> list[Job]:
    """The %posttrans scripts that build a policy, if they may run beside the others.

    They may not when such a package has another script as well, or when a
    package they do not rely on changes the policy in its own scripts.
    """
    mine = [job for job in jobs["posttrans"] if brings_policy(job.package)]
    names = {job.package.name for job in mine}
    before = needed(mine, packages) if mine else set()
    for job in (job for phase in jobs.values() for job in phase):
        if job in mine:
            continue
        late = job.package.name not in before
        if job.package.name in names or (late and _TOOLS.search(job.script.body)):
            return []
    return mine


def needed(jobs: Sequence[Job], packages: Sequence[PackageIndex]) -> set[str]:
    """The packages the policy's packages require, themselves included."""
    found = closure.Packages(packages).closure(job.package.name for job in jobs)
    return {package.name for package in found}


def key(
    tree: Tree, jobs: Sequence[Job], packages: Sequence[PackageIndex], overrides: Mapping[str, str]
) -> dict[str, Json]:
    """What decides how the policy comes out; of what layers replaced, its packages' own files."""
    digests = Digests(tree)
    needed = closure.Packages(packages).closure(job.package.name for job in jobs)
    mine = {translate.merged(entry.path) for package in needed for entry in package.entries}
    return {
        "version": _VERSION,
        "packages": dict(closure.digests(needed)),
        "files": {path: digests.below(path) for path in _READ},
        "overrides": {path: csum for path, csum in sorted(overrides.items()) if path in mine},
    }


def only_policy(upper: Path) -> None:
    """Drop from the policy's layer what is neither policy nor anybody else's business.

    Other scripts ran meanwhile: theirs is the longer history of everything outside the policy.
    """
    for folder, names, files in os.walk(upper, topdown=True):
        rel = os.path.relpath(folder, upper)
        names[:] = [name for name in names if os.path.normpath(f"{rel}/{name}") != _MINE]
        for name in files:
            os.unlink(os.path.join(folder, name))
