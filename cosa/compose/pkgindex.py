"""What the cache knows about an imported package without opening its RPM again."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass

from cosa.tools.rpmheader import FLAG_DOC, Scriptlet


@dataclass(frozen=True, slots=True)
class Entry:
    """A path of a package. `csum` names its content object, "" for directories.

    `path` is the packaged one without the leading `/`; `mode`, `user`, `group`
    and `caps` are what the header says, not what the object has: owners get
    their numbers only in the tree that has the accounts.
    """

    path: str
    mode: int
    user: str
    group: str
    flags: int
    color: int
    size: int
    caps: str
    csum: str
    target: str = ""

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether this is a symlink."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_doc(self) -> bool:
        """Whether `documentation: false` leaves it out."""
        return bool(self.flags & FLAG_DOC)

    @property
    def special(self) -> bool:
        """Whether its owner or capabilities must be applied in the tree."""
        return bool(self.caps) or self.user != "root" or self.group != "root"


@dataclass(frozen=True)
class PackageIndex:
    """An imported package: identity, files, scripts, and what it requires and provides."""

    name: str
    nevra: str
    digest: str
    entries: tuple[Entry, ...]
    scriptlets: tuple[Scriptlet, ...]
    requires: tuple[str, ...]
    provides: tuple[str, ...]

    def to_json(self) -> bytes:
        """The form kept in the cache."""
        body = {
            "name": self.name,
            "nevra": self.nevra,
            "digest": self.digest,
            "entries": [
                [
                    e.path, e.mode, e.user, e.group, e.flags, e.color, e.size, e.caps,
                    e.csum, e.target,
                ]
                for e in self.entries
            ],
            "scriptlets": [asdict(s) for s in self.scriptlets],
            "requires": self.requires,
            "provides": self.provides,
        }  # fmt: skip
        return json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> PackageIndex:
        """Read what `to_json` wrote."""
        body = json.loads(data)
        return cls(
            name=body["name"],
            nevra=body["nevra"],
            digest=body["digest"],
            entries=tuple(Entry(*row) for row in body["entries"]),
            scriptlets=tuple(
                Scriptlet(
                    s["kind"], s["body"], tuple(s["interpreter"]), s["flags"],
                    tuple(s["patterns"]), s["priority"],
                )
                for s in body["scriptlets"]
            ),
            requires=tuple(body["requires"]),
            provides=tuple(body["provides"]),
        )  # fmt: skip
