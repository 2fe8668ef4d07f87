"""A repository to spoil and a server to serve it badly."""

from __future__ import annotations

import http.server
import re
from dataclasses import dataclass, field
from pathlib import Path

from repomaker import Signer

from cosa.tools.repofile import RepoConfig


@dataclass
class Made:
    """`root` holds RPMs and repodata; `unsigned` the same RPMs before they were signed."""

    root: Path
    unsigned: Path
    signer: Signer
    stranger: Signer

    def config(self, url: str = "", **options) -> RepoConfig:
        options.setdefault("gpgkey", (str(self.signer.public),))
        return RepoConfig("test", baseurl=(url or self.root.as_uri(),), **options)

    def rpm(self, name: str) -> Path:
        return next(self.root.glob(f"{name}-*.rpm"))


@dataclass
class Web:
    """An HTTP server with a mood: `fail` answers 503 that often, `cut` sends half."""

    root: Path
    url: str = ""
    fail: int = 0
    cut: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, web: Web, *args) -> None:
        self.web = web
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.web.requests.append((self.path, wanted))
        if self.web.fail and self.path.endswith(".rpm"):
            self.web.fail -= 1
            return self.send_error(503)
        path = self.web.root / self.path.lstrip("/")
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        begin = re.match(r"bytes=(\d+)-$", wanted or "")
        start = int(begin.group(1)) if begin else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        data = data[start:]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = self.web.cut and self.path.endswith(".rpm")
        self.close_connection = half
        self.wfile.write(data[: len(data) // 2] if half else data)
        return None


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients hang up in these tests."""
