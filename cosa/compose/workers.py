"""Helper processes for work that Python's threads cannot share out.

Reading payloads and hashing thousands of small files is bound by the
interpreter. Each worker is a Python process that takes one task per line of
JSON on stdin and answers with one line. Tasks are named `module:function`
within cosa.compose; state kept between tasks lives in that module.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from subprocess import PIPE, Popen
from typing import Any

from cosa.core import events, parallel, run
from cosa.core.errors import CosaError, ExitClass, Where
from cosa.core.store import Json


class Worker:
    """One helper process. Not for two threads at once."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._log = os.memfd_create("cosa-worker-log", os.MFD_CLOEXEC)
        self._process: Popen[bytes] = run.start(
            [sys.executable, "-m", "cosa.compose.workers"],
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
            stdin=PIPE, stdout=PIPE, stderr=self._log,
        )  # fmt: skip

    def call(self, task: str, **arguments: Json) -> Any:
        """Run a task and return its result. Raises what it raised, if that was a CosaError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps([task, arguments]).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise self._died(task)
        answer = json.loads(line)
        if "error" in answer:
            raise _error(answer["error"])
        return answer["result"]

    def _died(self, task: str) -> CosaError:
        size = os.fstat(self._log).st_size
        tail = os.pread(self._log, 4000, max(0, size - 4000)).decode("utf-8", "replace")
        return CosaError(
            "compose/worker",
            f"a helper process ended in the middle of {task.partition(':')[2]}",
            why=tail.strip() or "it said nothing; perhaps the kernel ended it for lack of memory",
            exit_class=ExitClass.STEP,
        )

    def close(self) -> None:
        """End the process."""
        run.end(self._process)
        os.close(self._log)


class Pool:
    """Workers, started together and shared by all who have tasks."""

    def __init__(self, count: int, env: Mapping[str, str] | None = None) -> None:
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        self._workers = [Worker(env or {}) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)

    def call(self, task: str, **arguments: Json) -> Any:
        """Run a task on whichever worker is free next."""
        worker = self._idle.get()
        try:
            return worker.call(task, **arguments)
        finally:
            self._idle.put(worker)

    def each(
        self,
        task: str,
        items: Sequence[Mapping[str, Json]],
        done: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Run a task for every item, side by side; results in order. Put the largest first."""
        count = 0
        lock = threading.Lock()

        def one(item: Mapping[str, Json]) -> Any:
            nonlocal count
            result = self.call(task, **item)
            with lock:
                count += 1
                if done:
                    done(count)
            return result

        return parallel.each(one, items, len(self._workers))

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close()


@contextmanager
def pool(count: int = 0, env: Mapping[str, str] | None = None) -> Iterator[Pool]:
    """Workers for the length of a block; call from the thread that outlives them all."""
    made = Pool(count or parallel.jobs(), env)
    try:
        yield made
    finally:
        made.close()


def _error(body: Mapping[str, Any]) -> CosaError:
    where = Where(*body["where"]) if body["where"] else None
    return CosaError(
        body["code"], body["what"], where, body["why"], body["fix"], ExitClass(body["exit_class"])
    )


def serve() -> None:
    """What a worker does until its stdin ends."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        task, arguments = json.loads(line)
        module, _, function = task.partition(":")
        answer: dict[str, object]
        try:
            work = getattr(importlib.import_module(f"cosa.compose.{module}"), function)
            answer = {"result": work(**arguments)}
        except CosaError as err:
            answer = {"error": {
                "code": err.code, "what": err.what, "why": err.why, "fix": err.fix,
                "exit_class": int(err.exit_class),
                "where": [err.where.path, err.where.line, err.where.column] if err.where else None,
            }}  # fmt: skip
        except OSError as err:
            answer = {"error": _system(err)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _system(err: OSError) -> dict[str, object]:
    import errno

    full = err.errno in {errno.ENOSPC, errno.EDQUOT}
    return {
        "code": "env/disk-full" if full else "env/io",
        "what": "the disk is full" if full else f"a file cannot be read or written: {err}",
        "why": str(err),
        "fix": "free some space, or choose another place with --workdir" if full else "",
        "exit_class": int(ExitClass.ENVIRONMENT),
        "where": None,
    }


def note_reuse(step: events.Step, reused: int, total: int, unit: str) -> None:
    """Say how many of a step's items came from the cache."""
    step.summary = f"{total} {unit}, {reused} reused"
    if reused == total:
        step.reuse(step.summary)


if __name__ == "__main__":
    serve()
