"""Triggers: scripts of a package that other packages, or files below a folder, set off.

Which ones run when, with what on stdin and with which arguments is rpm's
(lib/rpmtriggers.c, lib/psm.c), as if the packages were installed one by one in
the transaction's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import rpm

from cosa.compose import translate
from cosa.compose.pkgindex import PackageIndex
from cosa.compose.plan import Plan
from cosa.compose.scriptjob import Job

# File triggers of at least this priority run before a package's %post, others after.
_BOUND = 10_000
_ONE_EACH = ("1", "1")  # how many instances there are of either package


class Triggers:
    """The triggers of a transaction; tell it of every package as its turn comes."""

    def __init__(self, plan: Plan, jobs: Iterable[Job]) -> None:
        self._plan = plan
        self._jobs: dict[str, list[Job]] = {}
        for job in jobs:
            self._jobs.setdefault(job.package.nevra, []).append(job)
        self._installed: list[PackageIndex] = []

    def arrived(self, package: PackageIndex) -> None:
        """The package's files are there and its owners settled."""
        self._installed.append(package)

    def before_post(self, package: PackageIndex) -> Iterator[Job]:
        """What runs before the %post of a package that has just arrived."""
        return self._file_triggers(package, upper=True)

    def after_post(self, package: PackageIndex) -> Iterator[Job]:
        """What runs after its %post."""
        for other in self._installed:
            yield from self._package_triggers(other, package)
        for other in self._installed:
            yield from self._package_triggers(package, other)
        yield from self._file_triggers(package, upper=False)

    def of_transaction(self, package: PackageIndex, packages: Sequence[PackageIndex]) -> list[Job]:
        """A package's %transfiletriggerin scripts, once everything is there."""
        jobs = sorted(self._of(package, "transfiletriggerin"), key=lambda job: -job.script.priority)
        return [found for job in jobs if (found := self._matching(job, packages, ("1",)))]

    def _of(self, package: PackageIndex, kind: str) -> list[Job]:
        return [job for job in self._jobs.get(package.nevra, ()) if job.script.kind == kind]

    def _package_triggers(self, owner: PackageIndex, source: PackageIndex) -> Iterator[Job]:
        for job in self._of(owner, "triggerin"):
            if any(satisfies(source, condition) for condition in job.script.patterns):
                yield Job(job.package, job.script, arguments=_ONE_EACH)

    def _file_triggers(self, package: PackageIndex, *, upper: bool) -> Iterator[Job]:
        """Those that the package's files set off, then its own that others' files set off."""
        everyone = [
            job for owner in self._installed for job in self._of(owner, "filetriggerin")
            if (job.script.priority >= _BOUND) == upper
        ]  # fmt: skip
        everyone.sort(key=lambda job: -job.script.priority)
        others = [other for other in self._installed if other is not package]
        rounds = [(job, [package]) for job in everyone]
        rounds += [(job, others) for job in everyone if job.package is package]
        for job, sources in rounds:
            found = self._matching(job, sources, _ONE_EACH)
            if found:
                yield found

    def _matching(
        self, job: Job, sources: Iterable[PackageIndex], arguments: tuple[str, ...]
    ) -> Job | None:
        prefixes = tuple("/" + translate.merged(p.lstrip("/")) for p in job.script.patterns)
        paths = dict.fromkeys(
            path for source in sources for path in self._files(source) if path.startswith(prefixes)
        )
        return Job(job.package, job.script, tuple(paths), arguments) if paths else None

    def _files(self, package: PackageIndex) -> Iterator[str]:
        for entry in package.entries:
            place = self._plan.origins.get(entry.path)
            if place in self._plan.nodes:
                yield f"/{place}"


def satisfies(package: PackageIndex, condition: str) -> bool:
    """Whether a package is what a trigger waits for: `NAME`, or `NAME >= VERSION` and the like."""
    name, _, rest = condition.partition(" ")
    if name != package.name:
        return False
    if not rest:
        return True
    operator, _, wanted = rest.partition(" ")
    have = package.nevra.removeprefix(f"{package.name}-").rpartition(".")[0]
    mine, theirs = _evr(have), _evr(wanted)
    if not theirs[2]:
        mine = (*mine[:2], "")
    order = rpm.labelCompare(mine, theirs)
    return {-1: "<", 0: "=", 1: ">"}[order] in operator


def _evr(text: str) -> tuple[str, str, str]:
    epoch, colon, rest = text.rpartition(":")
    version, _, release = rest.partition("-")
    return (epoch if colon else "0", version, release)
