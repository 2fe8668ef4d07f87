"""Which registries this machine is set up to use, and whether they answer.

No address is ours: package registries come from the configuration of apt, pip
and Go (the host's, which bin/cosa hands on), container registries from
containers-registries.conf(5) and from the base image the Containerfile names.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cosa.core import clock, run
from cosa.core.errors import CosaError

SECONDS = 6.0
_GO_DEFAULT = Path("/usr/local/share/cosa/goproxy")  # written when the image was built
_GO_PROBE = "github.com/coreos/butane/@v/v0.24.0.info"
_PIP_PROBE = "invoke"


@dataclass(frozen=True)
class Registry:
    """One place software comes from. `kind` is apt, pip, go or container."""

    kind: str
    name: str  # host and path, without credentials
    url: str  # what to ask for to see whether it answers


@dataclass(frozen=True)
class Answer:
    """Whether a registry answered; `trouble` says why not."""

    registry: Registry
    trouble: str
    seconds: float


def registries(containerfile: Path) -> list[Registry]:
    """Every registry this machine is set up to use."""
    return [*_apt(), *_pip(), *_go(), *_containers(containerfile)]


def ask(registry: Registry) -> Answer:
    """Ask a registry for something small, `SECONDS` at most."""
    started = clock.monotonic()
    argv = ["curl", "--silent", "--show-error", "--location", "--max-time", f"{SECONDS:g}",
            "--range", "0-63", "--output", "/dev/null", "--write-out", "%{http_code}"]  # fmt: skip
    result = run.run([*argv, registry.url], check=False, timeout=3 * SECONDS)
    trouble = ""
    if result.status:
        trouble = result.err.strip().rpartition(") ")[2] or f"curl ended with {result.status}"
    elif not result.out.startswith("2") and not (
        # A registry that wants a login is a registry that is there.
        registry.kind == "container" and result.out == "401"
    ):
        trouble = f"HTTP status {result.out}"
    return Answer(registry, trouble, round(clock.monotonic() - started, 2))


def _named(kind: str, base: str, probe: str) -> Registry:
    parts = urlsplit(base)
    host = parts.netloc.rpartition("@")[2]
    return Registry(kind, f"{host}{parts.path}".rstrip("/"), probe)


def _apt() -> list[Registry]:
    """The suites apt would update from."""
    try:
        listing = run.run(["apt-get", "update", "--print-uris"], check=False, timeout=SECONDS).out
    except CosaError:
        return []
    found = {}
    for url in re.findall(r"'(https?://[^']+/(?:InRelease|Release))'", listing):
        found[_named("apt", url.rpartition("/")[0], "").name] = url
    return [Registry("apt", name, url) for name, url in sorted(found.items())]


def _pip() -> list[Registry]:
    """The indices of pip, from its configuration or its own default."""
    try:
        text = run.run(
            ["python3", "-m", "pip", "config", "list"], check=False, timeout=SECONDS,
            env={key: value for key, value in os.environ.items() if key.startswith("PIP_")},
        ).out  # fmt: skip
    except CosaError:
        return []
    urls = re.findall(r"(?:extra-)?index-url='([^']+)'", text)
    if not any("extra-" not in line and "index-url" in line for line in text.splitlines()):
        urls += _pip_default()
    return [
        _named("pip", url, f"{url.rstrip('/')}/{_PIP_PROBE}/")
        for word in urls
        for url in word.split()
    ]


def _pip_default() -> list[str]:
    """The index pip uses unless told otherwise, as pip itself says."""
    says = run.run(
        ["python3", "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"],
        check=False, timeout=SECONDS,
    )  # fmt: skip
    return says.out.split()


def _go() -> list[Registry]:
    """Go's module proxies: GOPROXY, else what Go said when the image was built."""
    words = os.environ.get("GOPROXY") or (_GO_DEFAULT.read_text() if _GO_DEFAULT.exists() else "")
    urls = [url for url in re.split(r"[,|\s]+", words) if url.startswith("http")]
    return [_named("go", url, f"{url.rstrip('/')}/{_GO_PROBE}") for url in urls]


def _containers(containerfile: Path) -> list[Registry]:
    """Hosts and mirrors of registries.conf, and where the default base image lies."""
    bases = re.findall(r"^ARG BASE=(\S+)", _text(containerfile), re.MULTILINE)
    # Without a slash it is a short name, whatever its tag looks like.
    hosts = set(_hosts(base for base in bases if "/" in base))
    folder = Path("/etc/containers")
    for path in [folder / "registries.conf", *sorted(folder.glob("registries.conf.d/*.conf"))]:
        try:
            conf = tomllib.loads(_text(path))
        except tomllib.TOMLDecodeError:
            continue
        hosts |= set(_hosts(conf.get("unqualified-search-registries", [])))
        aliases = conf.get("aliases", {})
        hosts |= set(_hosts(str(aliases.get(base.partition(":")[0], "")) for base in bases))
        for entry in conf.get("registry", []):
            places = [entry, *entry.get("mirror", [])]
            hosts |= set(_hosts(str(place.get("location", "")) for place in places))
    return [Registry("container", host, f"https://{host}/v2/") for host in sorted(hosts)]


def _hosts(places: Iterable[str]) -> list[str]:
    return [host for place in places if "." in (host := place.partition("/")[0]) or ":" in host]


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
