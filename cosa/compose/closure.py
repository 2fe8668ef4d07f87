"""Which packages a step really depends on: what a package needs, and what that needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cosa.compose.pkgindex import PackageIndex

_WORD = re.compile(r"[^\s()]+(?:\([^\s()]*\)(?:\([^\s()]*\))?)?")


class Packages:
    """A set of packages with their dependencies, by name."""

    def __init__(self, packages: Sequence[PackageIndex]) -> None:
        self._by_name = {package.name: package for package in packages}
        self._providers: dict[str, list[str]] = {}
        for package in packages:
            for capability in package.provides:
                self._providers.setdefault(capability, []).append(package.name)
        self._files: dict[str, str] | None = None

    def closure(self, names: Iterable[str]) -> list[PackageIndex]:
        """The named packages and everything they require, directly or not, sorted.

        Where several packages provide something, all of them count: better too
        many than one too few. Of rich dependencies every name counts.
        """
        seen: set[str] = set()
        todo = [name for name in names if name in self._by_name]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            for requirement in self._by_name[name].requires:
                todo += self._satisfying(requirement)
        return [self._by_name[name] for name in sorted(seen)]

    def _satisfying(self, requirement: str) -> list[str]:
        if requirement.startswith("rpmlib("):
            return []
        if requirement.startswith("/"):
            owner = self._owner(requirement.strip("/"))
            if owner:
                return [owner]
        if requirement in self._providers:
            return self._providers[requirement]
        if requirement.startswith("("):
            words = _WORD.findall(requirement)
            return [name for word in words for name in self._providers.get(word, ())]
        return []

    def _owner(self, path: str) -> str | None:
        if self._files is None:
            self._files = {
                entry.path: package.name
                for package in self._by_name.values() for entry in package.entries
            }  # fmt: skip
        return self._files.get(path) or self._files.get(f"usr/{path}")


def digests(packages: Iterable[PackageIndex]) -> dict[str, str]:
    """NEVRA to RPM digest: what a step over these packages depends on."""
    return {package.nevra: package.digest for package in packages}
