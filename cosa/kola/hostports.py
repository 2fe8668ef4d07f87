"""Ports of this machine that a test needs for itself, while it runs."""

from __future__ import annotations

import errno
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cosa.core import store
from cosa.core.errors import CosaError, ExitClass


@contextmanager
def reserved(ports: Iterable[int]) -> Iterator[None]:
    """Hold the ports against other tests; waits for those that hold them now.

    Raises `kola/port` (class ENVIRONMENT) when something else listens there.
    """
    folder = Path(tempfile.gettempdir()) / "cosa-kola-ports"
    folder.mkdir(exist_ok=True)
    with ExitStack() as held:
        for port in sorted(set(ports)):  # one order for all, so that none waits in a circle
            held.enter_context(store.lock(folder / str(port), f"port {port}", wait=True))
            _check_free(port)
        yield


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  taken on any address is taken
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                raise
            raise CosaError(
                "kola/port", f"the test needs port {port} of this machine, which is taken",
                fix=f"see who has it: ss -ltnp sport = :{port}", exit_class=ExitClass.ENVIRONMENT,
            ) from err  # fmt: skip
