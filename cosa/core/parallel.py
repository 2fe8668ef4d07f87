"""Independent work side by side, with progress and errors kept whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from contextvars import copy_context


def jobs() -> int:
    """How many things to do at once: `COSA_JOBS`, else the processors we may use."""
    value = os.environ.get("COSA_JOBS")
    return max(1, int(value)) if value else len(os.sched_getaffinity(0))


def submit[T](pool: Executor, work: Callable[[], T]) -> Future[T]:
    """Start `work` in a thread pool as a child of the current step."""
    context = copy_context()
    return pool.submit(context.run, work)


def side_by_side[T](*works: Callable[[], T]) -> list[T]:
    """Run all in threads; results in order. The first failure is raised once all have stopped."""
    with ThreadPoolExecutor(max_workers=max(1, len(works))) as pool:
        futures = [submit(pool, work) for work in works]
        return _results(futures)


def each[A, T](work: Callable[[A], T], items: Iterable[A], limit: int = 0) -> list[T]:
    """Apply `work` to every item in up to `limit` threads (default `jobs()`), results in order."""
    with ThreadPoolExecutor(max_workers=limit or jobs()) as pool:
        futures = [submit(pool, lambda item=item: work(item)) for item in items]  # type: ignore[misc]
        return _results(futures)


def _results[T](futures: list[Future[T]]) -> list[T]:
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        # Also when the wait itself is interrupted: what has not begun shall not begin.
        for future in futures:
            future.cancel()
    # In submission order, so that two runs that fail twice name the same culprit.
    wait(futures)
    for future in futures:
        if not future.cancelled() and future.exception():
            raise future.exception()  # type: ignore[misc]
    return [future.result() for future in futures]
