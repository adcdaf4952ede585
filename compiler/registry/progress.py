"""Tells how far a transfer is: nothing of what is short, and once a second of what is long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from compiler.events import Reporter, Transferred
from compiler.registry import Progress

_BETWEEN = 1.0


@contextmanager
def told(
    what: str, total: int, report: Reporter, clock: Callable[[], float], also: Progress | None
) -> Iterator[Progress]:
    """Lend a progress that reports events about `what`, of `total` bytes, and tells `also`.

    What was reported at all is reported as finished at the end, whether it came to its end or not.
    """
    teller = _Teller(what, total, report, clock, also)
    try:
        yield teller
    finally:
        teller.finish()


class _Teller:
    """One transfer."""

    def __init__(
        self,
        what: str,
        total: int,
        report: Reporter,
        clock: Callable[[], float],
        also: Progress | None,
    ) -> None:
        self._what, self._total = what, total
        self._report, self._clock, self._also = report, clock, also
        self._lock = threading.Lock()
        self._done = 0
        self._last = clock()
        self._is_known = False

    def __call__(self, count: int) -> None:
        """Count further bytes."""
        if self._also is not None:
            self._also(count)
        with self._lock:
            self._done += count
            now = self._clock()
            if now - self._last < _BETWEEN or self._done >= self._total:
                return
            self._last = now
            self._is_known = True
            self._report(Transferred(self._what, self._done, self._total))

    def finish(self) -> None:
        """Tell that it ended."""
        with self._lock:
            if self._is_known:
                self._report(Transferred(self._what, self._done, self._total, ended=True))
