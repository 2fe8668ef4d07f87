"""`.repo` files: which package repositories there are and how they are trusted.

The format is dnf's INI dialect (dnf.conf(5), "REPO OPTIONS"): one section per repository, options
`KEY = VALUE`, lists separated by blanks, commas or indented further lines, variables
`$name` and `${name}`. Options that steer dnf's own caching or transactions are accepted and have no
meaning here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from cosa.core import events
from cosa.core.errors import CosaError, Problems, Where

LOCAL_REPO = "overrides"
"""The id under which the RPMs of overrides/rpm appear in metadata."""

# What steers dnf's own caching and transactions.
_IGNORED = {
    "name", "metadata_expire", "countme", "skip_if_unavailable", "type", "module_hotfixes",
    "deltarpm", "deltarpm_percentage", "enablegroups", "max_parallel_downloads", "fastestmirror",
    "throttle", "bandwidth", "ip_resolve", "keepcache", "cachedir", "mediaid", "user_agent",
    "minrate",
}  # fmt: skip
_TRUE, _FALSE = frozenset(("1", "yes", "true", "on")), frozenset(("0", "no", "false", "off"))
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SECTION = re.compile(r"\[([^\]]+)\]\s*(?:[#;].*)?$")
_ID = re.compile(r"[A-Za-z0-9_.:-]+$")


@dataclass(frozen=True)
class RepoConfig:
    """One repository. Lists of addresses are tried in order; lower `priority` wins over higher.

    `undefined` are variables its addresses use that nobody defined: an error as soon as the
    repository is needed. `password` never reaches a log.
    """

    id: str
    baseurl: tuple[str, ...] = ()
    metalink: str = ""
    mirrorlist: str = ""
    enabled: bool = True
    gpgcheck: bool = True
    repo_gpgcheck: bool = False
    gpgkey: tuple[str, ...] = ()
    priority: int = 99
    cost: int = 1000
    excludepkgs: tuple[str, ...] = ()
    includepkgs: tuple[str, ...] = ()
    sslverify: bool = True
    sslcacert: str = ""
    sslclientcert: str = ""
    sslclientkey: str = ""
    username: str = ""
    password: str = ""
    proxy: str = ""
    timeout: int = 30
    retries: int = 4
    where: Where | None = None
    undefined: tuple[str, ...] = ()

    @property
    def folder(self) -> Path | None:
        """The repository's folder when it lies on this machine."""
        if len(self.baseurl) != 1 or self.metalink or self.mirrorlist:
            return None
        return local_path(self.baseurl[0])

    def __repr__(self) -> str:
        return f"RepoConfig({self.id!r}, {self.baseurl or self.metalink or self.mirrorlist!r})"


_OPTIONS = {each.name for each in fields(RepoConfig)} - {"id", "where", "undefined"} | {"exclude"}


def local_path(address: str) -> Path | None:
    """The path of a `file:` URL or an absolute path, None for other addresses."""
    if address.startswith("file://"):
        from urllib.parse import unquote

        return Path(unquote(address.removeprefix("file://")))
    return Path(address) if address.startswith("/") else None


def read_repo_files(folder: Path, variables: Mapping[str, str]) -> list[RepoConfig]:
    """Every repository of the folder's *.repo files, in order of file name, then position.

    `variables` are `releasever`, `basearch`, the treefile's repovars and what the caller adds.
    Raises `repos/...` with every problem and its place; unknown options only warn, as in dnf.
    """
    problems = Problems()
    repos: dict[str, RepoConfig] = {}
    for path in sorted(folder.glob("*.repo")):
        for repo in parse(path.read_text("utf-8", "replace"), str(path), variables, problems):
            if repo.id in repos:
                first = repos[repo.id].where
                problems.add(
                    "repos/duplicate", f"repository '{repo.id}' is defined twice", repo.where,
                    why=f"first in {first}", fix="remove or rename one",
                )  # fmt: skip
            repos.setdefault(repo.id, repo)
    problems.raise_if_any(f"the repository files in {folder} are not valid")
    return list(repos.values())


def select(
    repos: Sequence[RepoConfig], wanted: Sequence[str] | None, where: Where | None = None
) -> list[RepoConfig]:
    """The repositories a treefile names, in its order; all enabled ones when it names none.

    Raises `repos/unknown`, `repos/undefined-variable` or `repos/no-address`, all at once.
    """
    problems = Problems()
    known = {repo.id: repo for repo in repos}
    if wanted is None:
        chosen = [repo for repo in repos if repo.enabled]
    else:
        for name in dict.fromkeys(wanted):
            if name not in known:
                near = difflib.get_close_matches(name, known, 3)
                hint = f"did you mean {' or '.join(near)}?" if near else ""
                problems.add(
                    "repos/unknown", f"no .repo file defines the repository '{name}'", where,
                    why=f"known: {', '.join(sorted(known)) or 'none'}",
                    fix=hint or "put a .repo file beside the treefile",
                )  # fmt: skip
        chosen = [known[name] for name in dict.fromkeys(wanted) if name in known]
    for repo in chosen:
        if repo.undefined:
            names = ", ".join(f"${name}" for name in repo.undefined)
            problems.add(
                "repos/undefined-variable",
                f"repository '{repo.id}' uses {names}, which nothing defines",
                repo.where,
                fix="define it under repovars: in the treefile",
            )
        elif not (repo.baseurl or repo.metalink or repo.mirrorlist):
            problems.add(
                "repos/no-address", f"repository '{repo.id}' has no address", repo.where,
                fix="give it baseurl=, metalink= or mirrorlist=",
            )  # fmt: skip
    problems.raise_if_any("the treefile's repositories cannot be used")
    return chosen


def parse(
    text: str, path: str, variables: Mapping[str, str], problems: Problems
) -> Iterator[RepoConfig]:
    """The repositories of one file's text; what is wrong goes to `problems`."""
    for name, start, options in _sections(text, path, problems):
        if name == "main":
            continue
        if not _ID.match(name):
            problems.add(
                "repos/bad-id", f"{name[:80]!r} is no repository id", Where(path, start, 1)
            )
            continue
        yield _Section(path, variables, problems, options).build(name, Where(path, start, 1))


type _Options = dict[str, tuple[str, int]]


def _sections(text: str, path: str, problems: Problems) -> Iterator[tuple[str, int, _Options]]:
    """Section name, its line, and `option -> (value, line)`; further lines joined by newlines."""
    current: tuple[str, int, _Options] | None = None
    option = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        header = _SECTION.match(stripped)
        if header:
            if current:
                yield current
            current, option = (header.group(1).strip(), number, {}), ""
        elif line[0] in " \t" and current and option:
            value, at = current[2][option]
            current[2][option] = (f"{value}\n{stripped}", at)
        else:
            found = re.match(r"([\w.-]+)\s*[=:]\s*(.*)", stripped)
            if not found or current is None:
                what = (
                    "an option outside any [section]"
                    if found
                    else f"not understood: {stripped[:80]!r}"
                )
                problems.add("repos/syntax", what, Where(path, number, 1))
                continue
            option = found.group(1)
            if option in current[2]:
                problems.add(
                    "repos/duplicate-option", f"'{option}' is set twice", Where(path, number, 1)
                )
            current[2][option] = (found.group(2), number)
    if current:
        yield current


class _Section:
    """Turns the options of one section into a `RepoConfig`."""

    def __init__(
        self, path: str, variables: Mapping[str, str], problems: Problems, options: _Options
    ) -> None:
        self._path = path
        self._variables = variables
        self._problems = problems
        self._options = options
        self._undefined: dict[str, None] = {}

    def build(self, name: str, where: Where) -> RepoConfig:
        for option, (_, line) in self._options.items():
            if option not in _OPTIONS | _IGNORED:
                near = difflib.get_close_matches(option, sorted(_OPTIONS), 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                events.warn(f"{self._path}:{line}: unknown option '{option}' is ignored{hint}")
        return RepoConfig(
            id=name,
            baseurl=tuple(url.rstrip("/") for url in self._list("baseurl")),
            metalink=self._text("metalink"),
            mirrorlist=self._text("mirrorlist"),
            enabled=self._bool("enabled", default=True),
            gpgcheck=self._bool("gpgcheck", default=True),
            repo_gpgcheck=self._bool("repo_gpgcheck", default=False),
            gpgkey=tuple(self._key(item) for item in self._list("gpgkey")),
            priority=self._int("priority", 99),
            cost=self._int("cost", 1000),
            excludepkgs=(*self._list("excludepkgs"), *self._list("exclude")),
            includepkgs=self._list("includepkgs"),
            sslverify=self._bool("sslverify", default=True),
            sslcacert=self._text("sslcacert"),
            sslclientcert=self._text("sslclientcert"),
            sslclientkey=self._text("sslclientkey"),
            username=self._text("username"),
            password=self._text("password"),
            proxy=self._text("proxy").removeprefix("_none_"),
            timeout=self._int("timeout", 30),
            retries=self._int("retries", 4),
            where=where,
            undefined=tuple(self._undefined),
        )

    def _text(self, option: str) -> str:
        value = self._options.get(option, ("", 0))[0].strip()

        def replace(match: re.Match[str]) -> str:
            name = match.group(1) or match.group(2)
            if name not in self._variables:
                self._undefined[name] = None
            return str(self._variables.get(name, match.group(0)))

        return _VARIABLE.sub(replace, value)

    def _list(self, option: str) -> tuple[str, ...]:
        return tuple(item for item in re.split(r"[\s,]+", self._text(option)) if item)

    def _key(self, address: str) -> str:
        """A key's address; a relative path is meant from the .repo file's folder."""
        if "://" in address or address.startswith(("/", "$")):
            return address
        return str(Path(self._path).parent.absolute() / address)

    def _bool(self, option: str, *, default: bool) -> bool:
        value = self._text(option).lower()
        if value in _TRUE | _FALSE:
            return value in _TRUE
        if option in self._options:
            self._wrong(option, value, "1 or 0")
        return default

    def _int(self, option: str, default: int) -> int:
        value = self._text(option)
        if not value:
            return default
        try:
            return int(value)
        except ValueError:
            self._wrong(option, value, "a whole number")
            return default

    def _wrong(self, option: str, value: str, wanted: str) -> None:
        self._problems.add(
            "repos/wrong-value", f"{option}={value[:80]} should be {wanted}",
            Where(self._path, self._options[option][1], 1),
        )  # fmt: skip


def no_key(repo: RepoConfig) -> CosaError:
    """The error for a repository without keys: packages are never taken unchecked."""
    ignored = "" if repo.gpgcheck else "; gpgcheck=0 is not honoured"
    return CosaError(
        "repos/no-key",
        f"repository '{repo.id}' has no gpgkey, so its packages cannot be checked",
        repo.where,
        why=f"signatures are always verified{ignored}",
        fix="set gpgkey= to the address of its public key (file://, https://, or a path "
        "beside the .repo file)",
    )
