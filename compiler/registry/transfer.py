"""Runs several transfers at the same time: a few threads, one progress; the first error ends all.

transfer([partial(registry.fetch_blob, here, blob, target) for blob, target in wanted])
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from compiler.errors import Interrupted
from compiler.registry import Progress

_T = TypeVar("_T")

THREADS = 4
"""How many transfers run at the same time: more gain nothing, and annoy registries."""


def transfer(
    jobs: Sequence[Callable[[Progress], _T]],
    *,
    progress: Progress | None = None,
    threads: int = THREADS,
) -> Sequence[_T]:
    """Run jobs, each with a progress to report to; returns what they return, in their order.

    When one fails, those that wait do not begin, those that run end at their next report, and its
    error is raised; of several that fail, the first in the order of `jobs`.
    """
    run = _Run(progress)
    with ThreadPoolExecutor(max(1, threads), "transfer") as pool:
        futures = [pool.submit(run.job, job) for job in jobs]
        try:
            wait(futures)
        finally:
            run.stop.set()
    for future in futures:
        error = future.exception()
        if error is not None and not isinstance(error, Interrupted):
            raise error
    return [future.result() for future in futures]


class _Run:
    """What the jobs of one call share."""

    def __init__(self, progress: Progress | None) -> None:
        self.stop = threading.Event()
        self._progress = progress
        self._lock = threading.Lock()

    def job(self, job: Callable[[Progress], _T]) -> _T:
        """Run one job, unless another one failed."""
        self._check()
        try:
            return job(self._tell)
        except BaseException:
            self.stop.set()
            raise

    def _tell(self, count: int) -> None:
        """Pass a report on; ends the job that reports once another one failed."""
        self._check()
        if self._progress is not None:
            with self._lock:
                self._progress(count)

    def _check(self) -> None:
        if self.stop.is_set():
            raise Interrupted("another transfer failed")
