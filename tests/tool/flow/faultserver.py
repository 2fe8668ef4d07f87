"""A mirror with faults: each is a function of a request that may answer it badly."""

from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

type Fault = Callable[[Handler, bytes], bool]


@dataclass
class Mirror:
    """Serves `root`; `fault` sees each request for a path that ends with `suffix`."""

    root: Path
    url: str = ""
    suffix: str = ".rpm"
    fault: Fault | None = None
    asked: list[str] = field(default_factory=list)


def read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, mirror: Mirror, *args) -> None:
        self.mirror = mirror
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        mirror = self.mirror
        mirror.asked.append(self.path)
        path = mirror.root / self.path.lstrip("/")
        if mirror.fault and self.path.endswith(mirror.suffix) and mirror.fault(self, read(path)):
            return
        data = read(path)  # now: a fault may have changed it
        if not data:
            self.send_error(404)
        else:
            self.head(len(data))
            self.wfile.write(data)

    def head(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients hang up in these tests."""


@contextmanager
def serving(root: Path) -> Iterator[Mirror]:
    mirror = Mirror(root)
    server = _Server(("127.0.0.1", 0), functools.partial(Handler, mirror))
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# What a mirror may do


def status(code: int) -> Fault:
    def fault(request: Handler, _data: bytes) -> bool:
        request.send_error(code)
        return True

    return fault


def cut(request: Handler, data: bytes) -> bool:
    request.head(len(data))
    request.wfile.write(data[: len(data) // 2])
    request.close_connection = True
    return True


def wrong_bytes(request: Handler, data: bytes) -> bool:
    request.head(len(data))
    request.wfile.write(bytes(len(data)))
    return True


def a_page(request: Handler, _data: bytes) -> bool:
    """A captive portal: everything is fine, and HTML."""
    page = b"<html>please log in</html>"
    request.head(len(page))
    request.wfile.write(page)
    return True


def slow(request: Handler, data: bytes) -> bool:
    """A few bytes a second, for longer than anybody should wait."""
    request.head(len(data))
    for at in range(0, min(len(data), 400), 10):
        request.wfile.write(data[at : at + 10])
        request.wfile.flush()
        time.sleep(0.5)
    return True


def nothing(request: Handler, _data: bytes) -> bool:
    """The connection is closed without a word."""
    request.close_connection = True
    return True
