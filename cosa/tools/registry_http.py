"""HTTP to registries: kept connections, logins, retries, redirects, bounded answers."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode, urljoin, urlsplit

from cosa.core.errors import CosaError, ExitClass
from cosa.model.imageref import ImageRef
from cosa.tools.registry_auth import AuthFile, challenge

SECONDS = 30.0
TRIES = 4
_REDIRECTS = 5
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 10.0


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Part:
    """Bytes to send: `size` of them in a file, from `offset` on."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class _Call:
    """One request: what is asked of which repository, and the rights it needs."""

    ref: ImageRef
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | Path | Part | None = None
    push: bool = False
    pull_from: str = ""

    @property
    def scope(self) -> str:
        """The rights, as token services name them."""
        mine = f"repository:{self.ref.repository}:{'pull,push' if self.push else 'pull'}"
        return f"{mine} repository:{self.pull_from}:pull" if self.pull_from else mine


@dataclass
class _Host:
    """What is known of one registry: its scheme, idle connections, and our logins."""

    scheme: str = ""
    idle: list[http.client.HTTPConnection] = field(default_factory=list)
    logins: dict[str, str] = field(default_factory=dict)  # scope -> Authorization
    lock: threading.Lock = field(default_factory=threading.Lock)


class Connections:
    """Connections to registries, shared by threads.

    `insecure` takes any certificate and falls back to plain HTTP; a registry on
    loopback is reached that way without being asked.
    """

    def __init__(
        self, auth: AuthFile | None = None, *, insecure: bool = False, cafile: Path | None = None
    ) -> None:
        self.auth = auth or AuthFile()
        self.insecure = insecure
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()
        self._cafile = cafile
        self._trust: dict[bool, ssl.SSLContext] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of idle connections."""
        for host in self._hosts.values():
            with host.lock:
                for connection in host.idle:
                    connection.close()
                host.idle.clear()

    def ask(
        self,
        ref: ImageRef,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Path | Part | None = None,
        limit: int = 1 << 20,
        push: bool = False,
        pull_from: str = "",
    ) -> Answer:
        """Ask a registry; transient failures are tried again. Raises `registry/unreachable`,
        `registry/too-big`.
        """
        call = _Call(ref, method, path, headers or {}, body, push, pull_from)
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._once(call, limit)
            except (OSError, http.client.HTTPException) as err:
                if attempt == TRIES:
                    raise _unreachable(ref.host, err) from None
                time.sleep(0.2 * 2**attempt)
                continue
            if answer.status not in _TRANSIENT or attempt == TRIES:
                return answer
            time.sleep(_wait_of(answer, attempt))
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def stream(
        self, ref: ImageRef, path: str, chunk: int
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """GET something large: the answer without body, and its pieces."""
        try:
            with self._opened(_Call(ref, "GET", path, {})) as response:
                head = Answer(response.status, _headers(response))
                if response.status != 200:
                    head = Answer(head.status, head.headers, response.read(1 << 16))
                yield head, iter(lambda: response.read(chunk), b"")
        except (OSError, http.client.HTTPException) as err:
            raise _unreachable(ref.host, err) from None

    def _once(self, call: _Call, limit: int) -> Answer:
        with self._opened(call) as response:
            data = response.read(limit + 1)
            if len(data) > limit:
                raise CosaError(
                    "registry/too-big",
                    f"{call.ref.host}{call.path} is larger than {limit} bytes",
                    exit_class=ExitClass.UNTRUSTED,
                )
            length = response.headers.get("Content-Length")
            if call.method != "HEAD" and length is not None and len(data) != int(length):
                raise http.client.IncompleteRead(data, int(length) - len(data))
            return Answer(response.status, _headers(response), data)

    @contextmanager
    def _opened(self, call: _Call) -> Iterator[http.client.HTTPResponse]:
        """One exchange, logins and redirects included; the connection is kept when read out."""
        ref, method, scope = call.ref, call.method, call.scope
        headers = dict(call.headers)
        host = self._host(ref.host)
        url = urljoin(f"{self._scheme(ref.host, host)}://{ref.host}/", call.path)
        for _ in range(_REDIRECTS):
            own = urlsplit(url).netloc == ref.host
            # What is for the registry is for nobody else.
            headers.pop("Authorization", None)
            if own and scope in host.logins:
                headers["Authorization"] = host.logins[scope]
            connection, response = self._exchange(url, method, headers, call.body)
            if response.status == 401 and own and scope not in host.logins:
                asked = response.headers.get("WWW-Authenticate", "")
                response.read()
                self._keep(url, connection)
                host.logins[scope] = self._log_in(ref, asked, scope)
                continue
            if response.status == 401 and own:
                host.logins.pop(scope, None)  # a token that ran out; the next try gets another
            if response.status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD"):
                url = urljoin(url, response.headers.get("Location", ""))
                response.read()
                connection.close()
                continue
            break
        else:
            raise http.client.HTTPException(f"too many redirects from {ref.host}{call.path}")
        try:
            yield response
        except BaseException:
            connection.close()
            raise
        if response.isclosed():
            self._keep(url, connection)
        else:
            connection.close()

    def _exchange(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | Path | Part | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise http.client.HTTPException(f"{url} is neither http nor https")
        place = quote(parts.path, safe="/:%+@") + (f"?{parts.query}" if parts.query else "")
        while True:
            connection, fresh = self._connection(parts.scheme, parts.netloc)
            try:
                _send(connection, method, place, headers, body)
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException):
                connection.close()
                if fresh:
                    raise
                # The other side had closed a kept connection: take another.

    def _connection(self, scheme: str, netloc: str) -> tuple[http.client.HTTPConnection, bool]:
        host = self._host(f"{scheme}://{netloc}")
        with host.lock:
            if host.idle:
                return host.idle.pop(), False
        if scheme == "https":
            lax = self.insecure or is_loopback(netloc)
            return http.client.HTTPSConnection(
                netloc, timeout=SECONDS, context=self._context(lax=lax)
            ), True
        return http.client.HTTPConnection(netloc, timeout=SECONDS), True

    def _keep(self, url: str, connection: http.client.HTTPConnection) -> None:
        parts = urlsplit(url)
        host = self._host(f"{parts.scheme}://{parts.netloc}")
        with host.lock:
            host.idle.append(connection)

    def _context(self, *, lax: bool) -> ssl.SSLContext:
        with self._lock:
            if lax not in self._trust:
                context = ssl.create_default_context(
                    cafile=str(self._cafile) if self._cafile else None
                )
                if lax:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                self._trust[lax] = context
            return self._trust[lax]

    def _host(self, name: str) -> _Host:
        with self._lock:
            return self._hosts.setdefault(name, _Host())

    def _scheme(self, name: str, host: _Host) -> str:
        """https; where plain HTTP is allowed, what the registry speaks."""
        with host.lock:
            if not host.scheme:
                host.scheme = "https"
                if (self.insecure or is_loopback(name)) and not self._speaks_tls(name):
                    host.scheme = "http"
            return host.scheme

    def _speaks_tls(self, netloc: str) -> bool:
        connection = http.client.HTTPSConnection(
            netloc, timeout=SECONDS, context=self._context(lax=True)
        )
        try:
            connection.connect()
        except ssl.SSLError:
            return False
        except OSError:
            # Port 443 closed where no port was named: plain HTTP may be there.
            return ":" in netloc
        finally:
            connection.close()
        return True

    def _log_in(self, ref: ImageRef, asked: str, scope: str) -> str:
        scheme, words = challenge(asked)
        basic = self.auth.basic(ref.host, ref.repository)
        if scheme == "basic":
            if not basic:
                raise CosaError(
                    "registry/no-login", f"{ref.host} wants a login for {ref.repository}",
                    fix="log in with `podman login --authfile FILE HOST` and name the file with -a",
                    exit_class=ExitClass.NETWORK,
                )  # fmt: skip
            return f"Basic {basic}"
        if scheme != "bearer" or "realm" not in words:
            raise http.client.HTTPException(f"{ref.host} asks for an unknown login: {asked!r}")
        query = {"service": words.get("service", ""), "scope": scope}
        url = f"{words['realm']}?{urlencode(query)}"
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        connection, response = self._exchange(url, "GET", headers, None)
        body = response.read(1 << 20)
        connection.close()
        with suppress(ValueError, AttributeError):
            data = json.loads(body)
            token = data.get("token") or data.get("access_token")
            if response.status == 200 and token:
                return f"Bearer {token}"
        raise CosaError(
            "registry/no-login", f"{ref.host} gives no token for {ref.repository}",
            why=f"its token service answered {response.status}",
            fix="check the user and password in the auth file",
            exit_class=ExitClass.NETWORK,
        )  # fmt: skip


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    place: str,
    headers: Mapping[str, str],
    body: bytes | Path | Part | None,
) -> None:
    headers = {"User-Agent": "cosa", **headers}
    if isinstance(body, Path):
        body = Part(body, 0, body.stat().st_size)
    if isinstance(body, Part):
        headers["Content-Length"] = str(body.size)
        connection.request(method, place, _pieces(body), headers)
        return
    connection.request(method, place, body, headers)


def _pieces(part: Part) -> Iterator[bytes]:
    with part.path.open("rb") as file:
        file.seek(part.offset)
        left = part.size
        while left and (data := file.read(min(left, 1 << 20))):
            left -= len(data)
            yield data


def is_loopback(netloc: str) -> bool:
    """Whether a registry is on this machine: it is then reached without TLS, too."""
    name = urlsplit(f"//{netloc}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {key.lower(): value for key, value in response.headers.items()}


def _wait_of(answer: Answer, attempt: int) -> float:
    """Seconds to wait: what the registry asks for, within reason."""
    with suppress(ValueError):
        return min(_LONGEST_WAIT, float(answer.headers.get("retry-after", "")))
    return 0.2 * 2.0**attempt


def _unreachable(host: str, err: Exception) -> CosaError:
    return CosaError(
        "registry/unreachable", f"{host} does not answer as a registry does", why=str(err),
        fix="check its name and the network; a registry without TLS needs --insecure",
        exit_class=ExitClass.NETWORK,
    )  # fmt: skip


def basic_auth(user: str, password: str) -> str:
    """base64 of USER:PASSWORD, as auth files and headers have it."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()
