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
    stop = threading.Event()
    lock = threading.Lock()

    def tell(count: int) -> None:
        if stop.is_set():
            raise Interrupted("another transfer failed")
        if progress is not None:
            with lock:
                progress(count)

    def run(job: Callable[[Progress], _T]) -> _T:
        if stop.is_set():
            raise Interrupted("another transfer failed")
        try:
            return job(tell)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(max(1, threads), "transfer") as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            wait(futures)
        finally:
            stop.set()
    for future in futures:
        error = future.exception()
        if error is not None and not isinstance(error, Interrupted):
            raise error
    return [future.result() for future in futures]
