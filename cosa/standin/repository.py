"""The stand-in repository: from package names to a signed RPM repository.

    names -> apt's closure -> .debs by digest -> RPMs by digest -> one folder

Below `cache/standin`: `apt/ARCH` (lists), `debs` (downloads), `rpms`
(conversions, by what they were made from), `key`, `closures` (decisions) and
`repo/ARCH/ID`, finished repositories that never change again; ID is the digest
of all that went in. Each step finds what is there and makes the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cosa.core import events, fs, store
from cosa.core.errors import CosaError, ExitClass
from cosa.model.treefile import Treefile
from cosa.standin import apt, convert, download, essential, meaning, metadata, openpgp, worker
from cosa.standin.apt import Apt, DebFile

KEY_FILE = "RPM-GPG-KEY-standin"
_KEEP_DAYS = 30
_FORMAT = 1  # of the finished folder


@dataclass(frozen=True)
class StandinRepo:
    """A finished repository; `key` is the public key its RPMs and repomd.xml are signed with."""

    url: str
    path: Path
    key: Path
    packages: int


@dataclass(frozen=True)
class Item:
    """One package on its way into the repository; `dropped` as in `meaning.check`."""

    file: DebFile
    dropped: tuple[str, ...]
    nevra: str


@dataclass(frozen=True)
class Closure:
    """What the repository will hold, besides `deb-essential` made of `members`."""

    items: tuple[Item, ...]
    members: tuple[str, ...]
    version: str

    @classmethod
    def from_json(cls, text: str) -> Closure:
        """The inverse of `json.dumps(asdict(closure))`."""
        data = json.loads(text)
        items = tuple(
            Item(DebFile(**row["file"]), tuple(row["dropped"]), row["nevra"])
            for row in data["items"]
        )
        return cls(items, tuple(data["members"]), data["version"])


def make(
    names: Sequence[str],
    cache: Path,
    arch: str = "x86_64",
    *,
    refresh: bool = False,
    etc: Path = Path("/etc/apt"),
) -> StandinRepo:
    """The repository with `names` (Debian's), Essential and all they need.

    Nothing changed: found by its inputs, without network. Package lists are
    fetched when absent, when apt's sources changed, with `refresh`, and once
    when a file on them is gone from the mirror. Two at once wait for each other.
    `etc` is where apt's sources and keyrings are.

    Raises CosaError: `standin/arch`, `standin/no-such-package`,
    `standin/unsolvable`, `standin/meaning` (INPUT); `standin/lists`,
    `standin/download` (NETWORK); `standin/signature`, `standin/digest`,
    `standin/truncated`, `standin/bad-archive`, `standin/compression`,
    `standin/control`, `untrusted/path` (UNTRUSTED, every refused package named).
    """
    if arch not in apt.DEBIAN_ARCH:
        raise CosaError(
            "standin/arch", f"Debian has no architecture for {arch!r}",
            fix=f"known: {', '.join(apt.DEBIAN_ARCH)}",
        )  # fmt: skip
    root = cache / "standin"
    root.mkdir(parents=True, exist_ok=True)
    with events.step("stand-in repository") as step, _locked(root / "lock"):
        maker = _Maker(root, names, arch, etc)
        try:
            return maker.make(step, refresh=refresh)
        except CosaError as err:
            if refresh or err.exit_class != ExitClass.NETWORK or err.code != "standin/download":
                raise
            events.note("some files could not be had; looking for newer package lists")
            try:
                return maker.make(step, refresh=True)
            except CosaError as second:
                raise (err if second.code == "standin/lists" else second) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One maker at a time; whoever comes second says that it waits, and for whom."""
    purpose = "making the stand-in repository"
    with ExitStack() as held:
        try:
            held.enter_context(store.lock(path, purpose))
        except CosaError as err:
            if err.exit_class != ExitClass.BUSY:
                raise
            events.note(f"waiting: {err.what}")
            held.enter_context(store.lock(path, purpose, wait=True))
        yield


def names_of(tree: Treefile) -> list[str]:
    """The packages a treefile asks for by name.

    Version conditions are left to the solver, and so is what is asked for by
    path or by a boolean expression: those name nothing apt could be told.
    """
    wanted = [*(tree.packages or ())]
    wanted += [name for each in tree.repo_packages or () for name in each.packages]
    return sorted({entry.split()[0] for entry in wanted if entry[:1] not in "(/"})


class _Maker:
    """One run: the closure, then whatever is missing of it."""

    def __init__(self, root: Path, names: Sequence[str], arch: str, etc: Path) -> None:
        self.root = root
        self.names = sorted(set(names))
        self.arch = arch
        self.key = openpgp.load_or_create(root / "key")
        self.apt = Apt(root / "apt" / arch, arch, etc)

    def make(self, step: events.Step, *, refresh: bool) -> StandinRepo:
        self.apt.prepare(refresh=refresh)
        closure = self._closure()
        count = len(closure.items) + 1
        rpms = self._rpms(closure)
        final = self.root / "repo" / self.arch / self._ident(rpms)
        if final.exists():
            os.utime(final)
            step.reuse(f"{count} packages, nothing changed")
        else:
            self._convert(closure, rpms)
            with events.step("publish"):
                self._publish(rpms, final)
                self._evict()
            step.summary = f"{count} packages"
        return StandinRepo(final.as_uri(), final, final / KEY_FILE, count)

    def _closure(self) -> Closure:
        """What apt says, remembered by everything it depends on."""
        inputs: dict[str, store.Json] = {
            "names": tuple(self.names),
            "state": self.apt.state(),
            "version": (convert.VERSION, _FORMAT),
        }
        path = self.root / "closures" / f"{store.step_id('closure', inputs)}.json"
        if path.exists():
            os.utime(path)
            return Closure.from_json(path.read_text())
        with events.step("resolve") as step:
            files = self.apt.resolve(self.names)
            controls = self.apt.controls(files)
            dropped = meaning.check(controls)
            for package, clauses in dropped.items():
                step.note(f"{package}: Conflicts only RPM would see left out: {', '.join(clauses)}")
            items = tuple(
                Item(
                    file, dropped.get(file.name, ()), convert.describe(controls[file.name], 0).nevra
                )
                for file in files
            )
            members = tuple(sorted(c.name for c in controls.values() if c.essential))
            closure = Closure(items, members, controls["base-files"].version)
            step.summary = f"{len(items)} packages"
        path.parent.mkdir(exist_ok=True)
        fs.atomic_write(path, json.dumps(asdict(closure)))
        return closure

    def _rpms(self, closure: Closure) -> dict[str, Path]:
        """Where each RPM lies, by nevra; the name says what it is made from."""
        made_by = [convert.VERSION, self.key.fingerprint]
        paths = {}
        for item in closure.items:
            name = _digest([*made_by, item.file.sha256, *item.dropped])
            paths[item.nevra] = self.root / "rpms" / f"{name}.rpm"
        spec = essential.spec(closure.members, closure.version)
        name = _digest([*made_by, closure.version, *closure.members])
        paths[spec.nevra] = self.root / "rpms" / f"{name}.rpm"
        return paths

    def _ident(self, rpms: Mapping[str, Path]) -> str:
        parts = [f"{nevra} {path.name}" for nevra, path in sorted(rpms.items())]
        return _digest([_FORMAT, *parts])[:16]

    def _convert(self, closure: Closure, rpms: Mapping[str, Path]) -> None:
        folder = self.root / "rpms"
        folder.mkdir(exist_ok=True)
        debs = self.root / "debs"
        todo = [item for item in closure.items if not rpms[item.nevra].exists()]
        absent = [item.file for item in todo if not (debs / f"{item.file.sha256}.deb").exists()]
        # The RPMs take about as much as the .debs.
        need = sum(file.size for file in absent) + sum(item.file.size for item in todo)
        fs.need_space(self.root, need + (64 << 20), "the stand-in repository")
        if absent:
            with events.step("download") as step:
                download.fetch(self.apt, absent, debs, step)
                step.summary = f"{len(absent)} packages"
        jobs = [
            worker.Job(
                item.file.name, item.nevra, debs / f"{item.file.sha256}.deb", item.file.sha256,
                rpms[item.nevra], item.dropped, item.file.size,
            )
            for item in todo
        ]  # fmt: skip
        with events.step("convert to RPM") as step:
            worker.convert_all(jobs, self.key, step)
            step.size = sum(rpms[item.nevra].stat().st_size for item in todo)
            step.summary = f"{len(todo)} of {len(closure.items)} packages"
        spec = essential.spec(closure.members, closure.version)
        if not rpms[spec.nevra].exists():
            temporary = folder / f".{spec.name}"
            essential.make(closure.members, closure.version, self.key, temporary)
            worker.publish(temporary, rpms[spec.nevra], spec.nevra)

    def _publish(self, rpms: Mapping[str, Path], final: Path) -> None:
        with fs.private_dir(final.parent) as work:
            out = work / "out"
            (out / "Packages").mkdir(parents=True)
            for nevra, path in rpms.items():
                os.link(path, out / "Packages" / f"{nevra}.rpm")
            pieces = [path.with_suffix(".json") for _, path in sorted(rpms.items())]
            repomd = metadata.write(out, pieces)
            fs.atomic_write(out / "repodata" / "repomd.xml.asc", self.key.sign_armored(repomd))
            fs.atomic_write(out / KEY_FILE, self.key.public_armored())
            fs.publish(out, final)

    def _evict(self) -> None:
        """Forget what nothing has used for a month; RPMs stay while a repository links to them."""
        # The real clock: this is about files of this machine, not about builds.
        limit = time.time() - _KEEP_DAYS * 86400
        for path in [*self.root.glob("repo/*/*"), *self.root.glob("closures/*.json")]:
            if path.stat().st_mtime < limit:
                fs.remove_tree(path)
        for path in [*self.root.glob("debs/*.deb"), *self.root.glob("rpms/*.rpm")]:
            info = path.stat()
            if info.st_mtime < limit and info.st_nlink == 1:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink()


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
