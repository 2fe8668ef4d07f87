"""A script that is to run: whose it is, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass

from cosa.compose.pkgindex import PackageIndex
from cosa.tools.rpmheader import Scriptlet


@dataclass(frozen=True)
class Job:
    """One run of a script. `paths` are what a file trigger gets on stdin, absolute."""

    package: PackageIndex
    script: Scriptlet
    paths: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("1",)
