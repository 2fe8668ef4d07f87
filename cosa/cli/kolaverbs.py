"""The verbs of `cosa kola` beside run and list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cosa.cli.kolawords import Asked
from cosa.cli.parse import usage_error
from cosa.core.errors import CosaError, ExitClass


def http_server(words: Sequence[str]) -> int:
    """`http-server [-P 8000]`: serve the current folder until interrupted."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    rest = list(words)
    port = 8000
    while rest:
        word = rest.pop(0)
        found = re.fullmatch(r"(?:-P|--port)(?:=?(\d+))?", word)
        value = (found[1] or (rest.pop(0) if rest else "")) if found else ""
        if not value.isdecimal() or int(value) > 65535:
            raise usage_error("option-value", f"http-server takes -P PORT, not '{word}'")
        port = int(value)
    handler = partial(SimpleHTTPRequestHandler, directory=str(Path.cwd()))
    try:
        server = ThreadingHTTPServer(("", port), handler)
    except OSError as err:
        raise CosaError(
            "kola/port", f"port {port} cannot be listened on", why=str(err),
            fix="name another one with -P", exit_class=ExitClass.ENVIRONMENT,
        ) from err  # fmt: skip
    with server:
        print(f"http://0.0.0.0:{server.server_address[1]}/", flush=True)
        server.serve_forever()
    return 0


def check_console(words: Sequence[str]) -> int:
    """`check-console [FILE...]`: what the judges say of consoles; stdin without a file."""
    import sys

    from cosa.kola.judges import Bench

    bad = 0
    for name in words or ["-"]:
        if name.startswith("-") and name != "-":
            raise usage_error("option-value", f"check-console takes files, not '{name}'")
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as err:
            raise CosaError("kola/no-file", f"{name} cannot be read", why=str(err)) from err
        for finding in Bench().hear_all(data.decode("utf-8", "replace")):
            bad += 1
            print(f"{name}: {finding.judge.severity}: {finding}")
    return int(ExitClass.TESTS) if bad else 0


def run_upgrade(asked: Asked) -> int:
    """`run-upgrade`: boot an older image, update it to the build, and go back.

    The older image is --qemu-image, else that of the build before.
    """
    from dataclasses import replace

    from cosa.cli import kola, kolawords, machines
    from cosa.cli.settings import settings
    from cosa.model.builds import Builds
    from cosa.pipeline.workdir import Workdir

    workdir = Workdir(settings().workdir)
    target = machines.image_of("", asked.values["build"]).parent
    start = asked.values["qemu_image"]
    if not start:
        ids = [build.id for build in Builds.read(workdir.builds_json).builds]
        older = ids[ids.index(target.parent.name) + 1 :]
        if not older:
            raise CosaError(
                "kola/no-older-build", f"there is no build before {target.parent.name}",
                fix="build twice, or name an older image with --qemu-image",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
        start = str(machines.image_of("", older[0]))
    values = {
        **asked.values, "qemu_image": start, "exttest": [],
        "tests": str(kolawords.own_tests() / "upgrades"),
    }  # fmt: skip
    if not values["output"]:
        values["output"] = str(machines.output_of("", "kola-upgrade"))
    return kola.run_tests(replace(asked, values=values), build=target.absolute())


def spawn(words: Sequence[str]) -> int:
    """`spawn -c N`: machines that see each other, from one config."""
    from cosa.cli import kolaspawn

    return kolaspawn.spawn(words)


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "spawn": spawn,
    "http-server": http_server,
    "check-console": check_console,
}
