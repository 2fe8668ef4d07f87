"""All that decides which tests run and how they count; one value that travels to workers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cosa.core import clock
from cosa.kola.denylist import Decision, Denylist, Entry, Subject, load
from cosa.kola.external import ExternalTest, Root
from cosa.kola.metadata import Metadata
from cosa.kola.selection import Selection, Shard, glob_matches

NEEDS_INTERNET = "needs-internet"


@dataclass(frozen=True)
class Choice:
    """What the command line said, as plain words, so that it can be handed to workers."""

    globs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()  # PREFIX=FOLDER
    distro: str = "fcos"
    arch: str = "x86_64"
    platform: str = "qemu"
    stream: str = ""
    osversion: str = ""
    multiply: int = 1
    sharding: str = ""
    denylists: tuple[str, ...] = ()  # files
    denied: tuple[str, ...] = ()  # globs
    no_net: bool = False
    only: tuple[str, ...] = ()  # names: nothing else runs
    today: str = ""  # YYYY-MM-DD; else that of the clock, UTC

    def to_json(self) -> str:
        """As one word for pytest's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Choice:
        """Back from the word."""
        values: dict[str, Any] = json.loads(text) if text else {}
        for key, value in values.items():
            values[key] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    @cached_property
    def selection(self) -> Selection:
        """Globs and tags."""
        return Selection(self.globs, self.tags)

    @cached_property
    def shard(self) -> Shard:
        """The part of the tests that runs here."""
        return Shard.parse(self.sharding) if self.sharding else Shard()

    @cached_property
    def date(self) -> dt.date:
        """The day that snoozes and new tests are measured by."""
        return (
            dt.date.fromisoformat(self.today)
            if self.today
            else dt.datetime.fromtimestamp(clock.wall(), dt.UTC).date()
        )

    @cached_property
    def denylist(self) -> Denylist:
        """The entries that apply. Raises `kola/denylist`."""
        subject = Subject(self.stream, self.arch, self.platform, self.osversion)
        entries: list[Entry] = [entry for path in self.denylists for entry in load(Path(path))]
        return Denylist(entries, subject, self.date)

    def check(self) -> None:
        """Raise for what is wrong with the words themselves, before anything is collected."""
        for glob in (*self.globs, *self.denied):
            glob_matches(glob.removeprefix("!"), "")
        for name in ("shard", "denylist"):
            getattr(self, name)

    def external_roots(self) -> list[Root]:
        """Where external tests are."""
        pairs = (root.partition("=") for root in self.roots)
        return [Root(Path(folder), prefix) for prefix, _, folder in pairs]

    def fits(self, meta: Metadata) -> bool:
        """Is the test for what is tested here: architecture, platform, distribution."""
        return (
            meta.architectures.allows(self.arch)
            and meta.platforms.allows(self.platform)
            and meta.distros.allows(self.distro)
        )

    def takes(self, name: str, tags: Iterable[str], required: str = "") -> bool:
        """Does the test run: by name, tag, shard, network."""
        words = tuple(tags)
        if self.only:
            return name in self.only
        if self.no_net and NEEDS_INTERNET in words:
            return False
        return self.selection.takes(name, words, required) and self.shard.takes(name)

    def takes_external(self, test: ExternalTest) -> bool:
        """The same for an external test, one with a problem included: it is to be seen failing."""
        if not test.problem and not self.fits(test.meta):
            return False
        return self.takes(test.name, test.tags, test.meta.required_tag)

    def decide(self, name: str, meta: Metadata | None = None) -> Decision:
        """Skip, warn or neither: by denylist, by --denylist-test, by the test's age."""
        for glob in self.denied:
            if glob_matches(glob, name):
                return Decision("skip", f"denylisted: --denylist-test {glob}")
        decision = self.denylist.decide(name)
        if not decision.action and meta and meta.is_new(self.date):
            return Decision("warn", f"new: of {meta.creation_date}")
        return decision
