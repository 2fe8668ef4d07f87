"""Kill a build at each of its operations on files in turn, and look at what it leaves.

Every attempt is a fork, killed by SIGKILL from an audit hook when it is about
to do its n-th operation below the working directory. Prints a JSON report.
"""

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path

from quick import Steps, make_workdir

from cosa.core import fs
from cosa.pipeline.build import Options, build

CHANGING = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
            "os.chmod", "os.truncate", "os.utime"}  # fmt: skip


def die_at(count, root):
    seen = 0

    def hook(event, args):
        nonlocal seen
        if event not in CHANGING or not args or root not in str(args[0]):
            return
        if event == "open" and not (
            isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    sys.addaudithook(hook)


def attempt(count, workdir, steps):
    """Build in a fork that dies at operation `count`; whether it died."""
    pid = os.fork()
    if pid == 0:
        die_at(count, str(workdir.root))
        with contextlib.suppress(Exception):
            build(workdir, Options())
            os._exit(0)
        os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"the build at {count} failed")
    return False


def look(workdir, expected):
    """What is wrong with the builds."""
    troubles = []
    listed = [entry.id for entry in workdir.read_builds().builds]
    if expected not in listed:
        troubles.append(f"{expected} is lost: {listed}")
    for name in [*listed, workdir.latest()]:
        meta = workdir.meta(name)
        for image in meta.images.values():
            path = workdir.build(name) / image.path
            if not path.is_file() or fs.sha256_file(path) != image.sha256:
                troubles.append(f"{path} is not what meta.json says")
    return troubles


def main(root):
    workdir = make_workdir(Path(root))
    steps = Steps().install(setattr)
    # A killed process loses nothing the kernel has; waiting for the disk would take most of the time.
    os.fsync = lambda _fd: None
    build(workdir, Options())
    troubles, count, versions = [], 0, 0
    while True:
        before = workdir.latest()
        steps.packages = [steps.package("bash", f"5.{count}")]
        died = attempt(count, workdir, steps)
        troubles += [f"{count}: {each}" for each in look(workdir, before)]
        if not died:
            break
        # The next run needs no help, and ends where the killed one would have.
        build(workdir, Options())
        versions += 1
        troubles += [f"{count}, again: {each}" for each in look(workdir, before)]
        newest = workdir.read_builds().builds[0].id
        if workdir.latest() != newest or newest != f"1.dev.{versions}":
            troubles.append(f"{count}: latest is {workdir.latest()}, newest {newest}")
        count += 1
    # A folder killed before it was locked is empty, and goes once it is a minute old.
    left = [str(p) for p in workdir.root.rglob(".cosa-tmp*")]
    left += [str(p) for p in workdir.root.rglob(".cosa-new*/*")]
    left += [p.name for p in workdir.builds.rglob(".*") if p.name != ".meta.json.lock"]
    print(json.dumps({"killed": count, "troubles": troubles, "left": left}))


if __name__ == "__main__":
    with contextlib.redirect_stderr(io.StringIO()):
        main(sys.argv[1])
