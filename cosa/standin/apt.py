"""apt in a private root: what to install is decided and fetched as Debian would do it.

Sources, preferences, keyrings, proxies and credentials are those of the
environment; package lists, state and cache are our own. Signatures are apt's
business and stay on, whatever the environment's configuration says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from cosa.core import events, run
from cosa.core.errors import CosaError, ExitClass, Problems
from cosa.standin import control as deb822
from cosa.standin.control import Control

DEBIAN_ARCH = {
    "x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el", "s390x": "s390x",
    "riscv64": "riscv64",
}  # fmt: skip
_URI = re.compile(r"'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})")
_NOT_FOUND = re.compile(r"E: (?:Unable to locate package|Package '?)\s*([a-z0-9][a-z0-9+.-]*)")
_UNTRUSTED = re.compile(r"not signed|NO_PUBKEY|EXPKEYSIG|BADSIG|Sub-process .*sqv|signature")
_TRUSTED = re.compile(
    r"^\s*deb\s*\[[^\]]*trusted=yes|^Trusted:\s*yes", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class DebFile:
    """One package file apt chose: what it is, where it lies, its signed digest."""

    name: str
    version: str
    arch: str
    url: str
    sha256: str
    size: int


class Apt:
    """apt bound to a root of ours.

    `arch` is RPM's name of the architecture, `etc` the folder with the sources
    and keyrings to use.
    """

    def __init__(self, root: Path, arch: str, etc: Path = Path("/etc/apt")) -> None:
        self.root = root
        self.etc = etc
        self.arch = DEBIAN_ARCH[arch]
        self._lists = root / "lists"

    def prepare(self, *, refresh: bool) -> None:
        """Make the root; fetch the package lists if absent, asked for, or of other sources.

        Raises `standin/lists` (class NETWORK, or UNTRUSTED for a signature
        that does not hold), `env/missing-tool` where there is no apt.
        """
        for folder in ("lists/partial", "empty/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        stamp = self.root / "sources.sha256"
        sources = self._sources()
        if _TRUSTED.search(sources):
            events.warn("apt's sources say trusted=yes: signatures of those are not checked")
        digest = hashlib.sha256(sources.encode()).hexdigest()
        if not refresh and stamp.exists() and stamp.read_text() == digest:
            return
        for binary in self.root.glob("*.bin"):
            binary.unlink()
        with events.step("package lists"):
            self._update()
        stamp.write_text(digest)

    def state(self) -> str:
        """A digest of everything a resolution depends on besides the names."""
        digest = hashlib.sha256(self._sources().encode())
        for folder in (self.etc / "preferences", self.etc / "preferences.d"):
            for path in sorted([folder, *folder.glob("*")]):
                if path.is_file():
                    digest.update(path.read_bytes())
        for path in sorted(self._lists.glob("*Release")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def resolve(self, names: Sequence[str]) -> list[DebFile]:
        """The files of `names`, all of Essential and what they depend on; no recommendations.

        Raises `standin/no-such-package` naming every unknown name,
        `standin/unsolvable` with apt's own explanation.
        """
        result = self._apt(
            "install", "--no-install-recommends", "--print-uris", "-qq",
            *self._essential(), *names, check=False,
        )  # fmt: skip
        if result.status:
            _explain(result, names)
        files = []
        for line in result.out.splitlines():
            match = _URI.match(line)
            if not match:
                continue
            url, file, size, sha256 = match.groups()
            name, version, arch = file.removesuffix(".deb").split("_")
            files.append(DebFile(name, unquote(version), arch, url, sha256, int(size)))
        if not files:
            raise run.failed(result, "apt named no packages at all")
        return sorted(files, key=lambda file: (file.name, file.arch))

    def _essential(self) -> list[str]:
        """Names of all Essential packages; apt's pattern also has those marked Protected."""
        text = run.run(["apt-cache", *self.options(), "show", "?essential"]).out
        return sorted({item.name for item in deb822.parse(text) if item.essential})

    def controls(self, files: Sequence[DebFile]) -> dict[str, Control]:
        """Control data by name, from the signed lists."""
        wanted = {(file.name, file.version) for file in files}
        arguments = [f"{file.name}={file.version}" for file in files]
        text = run.run(["apt-cache", *self.options(), "show", *arguments]).out
        found = {}
        for item in deb822.parse(text):
            if (item.name, item.version) in wanted:
                found[item.name] = item
        return found

    def _update(self) -> None:
        result = self._apt("update", "-q", "-o", "APT::Update::Error-Mode=any", check=False)
        if not result.status and list(self._lists.glob("*Packages")):
            return
        text = result.err + result.out
        untrusted = _UNTRUSTED.search(text)
        raise CosaError(
            "standin/signature" if untrusted else "standin/lists",
            "the package lists are not signed by a key apt trusts" if untrusted
            else "the package lists could not be fetched",
            why=errors_of(result),
            fix=f"look at the sources in {self.etc} and the network, then try again",
            exit_class=ExitClass.UNTRUSTED if untrusted else ExitClass.NETWORK,
        )  # fmt: skip

    def _sources(self) -> str:
        files = [self.etc / "sources.list", *sorted((self.etc / "sources.list.d").glob("*"))]
        texts = [path.read_text() for path in files if path.is_file()]
        return "\n".join([self.arch, str(_SETTINGS), *texts])

    def _apt(self, *arguments: str, check: bool = True) -> run.Result:
        return run.run(["apt-get", *self.options(), *arguments], check=check)

    def options(self) -> list[str]:
        """What each program of apt is told, to work in this root and check all it can."""
        private = {
            "Dir::Etc": self.etc, "Dir::State": self.root, "Dir::State::lists": self._lists,
            "Dir::State::status": self.root / "status", "Dir::Cache": self.root,
            "Dir::Cache::archives": self.root / "empty", "APT::Architecture": self.arch,
        }  # fmt: skip
        settings = [*private.items(), *_SETTINGS.items()]
        options = [word for key, value in settings for word in ("-o", f"{key}={value}")]
        return [*options, "-o", f"APT::Architectures::={self.arch}"]


_SETTINGS = {
    "APT::Sandbox::User": "root",
    "APT::Get::AllowUnauthenticated": "false",
    "Acquire::AllowInsecureRepositories": "false",
    "Acquire::AllowWeakRepositories": "false",
    "Acquire::AllowDowngradeToInsecureRepositories": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
    "Acquire::ForceHash": "SHA256",
    # apt takes itself for essential, which the image does not need.
    "pkgCacheGen::ForceEssential": ",",
}


def _explain(result: run.Result, names: Sequence[str]) -> None:
    missing = sorted(set(_NOT_FOUND.findall(result.err)) & set(names))
    problems = Problems()
    for name in missing:
        problems.add(
            "standin/no-such-package",
            f"there is no Debian package {name!r}",
            fix="check the name in the treefile's `packages`, or refresh: cosa standin --refresh",
        )
    problems.raise_if_any(f"{len(missing)} packages do not exist in Debian's repositories")
    explanation = [*result.out.splitlines()[-30:], *result.err.splitlines()[-30:]]
    raise CosaError(
        "standin/unsolvable",
        "apt finds no way to install these packages together",
        why="\n".join(line for line in explanation if not line.startswith("W:")),
    )


def errors_of(result: run.Result) -> str:
    """The lines in which one of apt's programs says what went wrong."""
    lines = (result.err + "\n" + result.out).splitlines()
    chosen = [line for line in lines if line.startswith(("E:", "W:", "Err:"))]
    return "\n".join(chosen[-20:] or lines[-10:])
