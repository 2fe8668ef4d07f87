"""A process that converts packages, one line of JSON in and one out for each.

Decompressing is Python's least parallel side, hence processes; they are
started through `core.run` and so end with cosa, however it ends.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from subprocess import PIPE, Popen
from typing import Any

import cosa
from cosa.core import events, fs, parallel, run
from cosa.core.errors import CosaError, ExitClass, Problem, Problems
from cosa.standin import convert, metadata
from cosa.standin.openpgp import SigningKey

_MEMORY = 1 << 30  # address space of one worker: a bomb fails, the machine lives


@dataclass(frozen=True)
class Job:
    """One package to convert: `sha256` is what the .deb must have, `nevra` what it must be."""

    name: str
    nevra: str
    deb: Path
    sha256: str
    out: Path
    dropped: tuple[str, ...]
    size: int


def convert_all(jobs: list[Job], key: SigningKey, step: events.Step) -> None:
    """Convert all, biggest first, on as many processes as we may use.

    Every package that is refused is in the one error raised at the end, of
    class UNTRUSTED; the others are converted.
    """
    todo: SimpleQueue[Job] = SimpleQueue()
    for job in sorted(jobs, key=lambda job: -job.size):
        todo.put(job)
    refused: dict[str, Problem] = {}
    done: list[Job] = []

    def drive(_: int) -> None:
        process = _start(key)
        try:
            while True:
                try:
                    job = todo.get_nowait()
                except Empty:
                    return
                _one(process, job, refused)
                done.append(job)
                step.progress(len(done), len(jobs), "packages")
        finally:
            run.end(process)

    count = min(parallel.jobs(), len(jobs))
    parallel.each(drive, range(count), limit=max(count, 1))
    problems = Problems()
    problems.extend(refused[name] for name in sorted(refused))
    problems.raise_if_any("some packages are refused", ExitClass.UNTRUSTED)


def _start(key: SigningKey) -> Popen[bytes]:
    package = Path(cosa.__file__).parent.parent
    process = run.start(
        [sys.executable, "-m", "cosa.standin.worker"],
        env={"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    _send(process, {"secret": key.secret.hex(), "created": key.created})
    return process


def _send(process: Popen[bytes], message: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def _one(process: Popen[bytes], job: Job, refused: dict[str, Problem]) -> None:
    assert process.stdout is not None
    _send(
        process,
        {
            "deb": str(job.deb), "sha256": job.sha256, "out": str(job.out),
            "nevra": job.nevra, "dropped": list(job.dropped),
        },
    )  # fmt: skip
    line = process.stdout.readline()
    if not line:
        raise CosaError(
            "standin/worker",
            f"converting the package {job.name} killed the process that did it",
            fix="free some memory and run again; finished packages are kept",
            exit_class=ExitClass.STEP,
        )
    answer = json.loads(line)
    if "errno" in answer:
        raise OSError(answer["errno"], answer["what"], answer["why"])
    if answer:
        what = f"package {job.name}: {answer['what']}"
        refused[job.name] = Problem(answer["code"], what, why=answer["why"])


def work(message: dict[str, Any], key: SigningKey) -> dict[str, str | int]:
    """Convert one package; what is wrong with it, or nothing.

    An answer with `errno` is about this machine, not about the package.
    """
    deb, out = Path(message["deb"]), Path(message["out"])
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        if fs.sha256_file(deb) != message["sha256"]:
            return {
                "code": "standin/digest",
                "what": "the file's digest is not the one its repository signed",
                "why": str(deb),
            }
        spec = convert.convert(deb, temporary, key, message["dropped"])
        if spec.nevra != message["nevra"]:
            return {
                "code": "standin/identity",
                "what": f"the file says it is {spec.nevra}, not {message['nevra']}",
                "why": str(deb),
            }
        publish(temporary, out, spec.nevra)
    except CosaError as err:
        return {"code": err.code, "what": err.what, "why": err.why}
    except OSError as err:
        place = err.filename or str(out)
        return {"errno": err.errno or 0, "what": err.strerror or str(err), "why": str(place)}
    except MemoryError:
        return {"code": "standin/bad-archive", "what": "it takes too much memory", "why": ""}
    except Exception:
        # Odd input may trip over anything; one package must not take the others along.
        why = traceback.format_exc(limit=-4)
        return {"code": "standin/bad-archive", "what": "it cannot be converted", "why": why}
    finally:
        temporary.unlink(missing_ok=True)
    return {}


def publish(temporary: Path, out: Path, nevra: str) -> None:
    """Put an RPM in its place, its part of the repository's metadata (`.json`) before it."""
    pieces = metadata.describe(temporary, f"Packages/{nevra}.rpm")
    fs.atomic_write(out.with_suffix(".json"), json.dumps(pieces))
    temporary.rename(out)


def main() -> None:
    """Serve jobs from stdin until it closes."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    start = json.loads(sys.stdin.readline())
    key = SigningKey(bytes.fromhex(start["secret"]), start["created"])
    for line in sys.stdin:
        print(json.dumps(work(json.loads(line), key)), flush=True)


if __name__ == "__main__":
    main()
