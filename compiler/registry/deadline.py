"""Answers whose head does not come byte by byte for ever.

The timeout of a socket is for one silence; `http.client` would wait through any number of them.
"""

import http.client
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

_SILENCES = 2
"""How many times the timeout of its socket the whole head of an answer may take."""


class _Head:
    """Reads lines until a deadline."""

    def __init__(self, file: io.BufferedReader, deadline: float) -> None:
        self._file = file
        self._deadline = deadline

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line, or as much of it as `limit` allows."""
        line = b""
        while limit < 0 or len(line) < limit:
            there = self._file.peek(1)
            if not there:
                break
            if time.monotonic() > self._deadline:
                raise TimeoutError("the head of the answer does not end")
            end = there.find(b"\n") + 1 or len(there)
            line += self._file.read(min(end, limit - len(line)) if limit >= 0 else end)
            if line.endswith(b"\n"):
                break
        return line

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class TimedResponse(http.client.HTTPResponse):
    """An answer whose head has a deadline."""

    fp: io.BufferedReader

    def begin(self) -> None:
        """Read the status line and the headers."""
        with self._deadline():
            super().begin()

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Read through a `_Head` for a while."""
        file = self.fp
        timeout = getattr(getattr(file.raw, "_sock", None), "gettimeout", lambda: None)()
        if timeout is None:
            yield
            return
        self.fp = cast("io.BufferedReader", _Head(file, time.monotonic() + _SILENCES * timeout))
        try:
            yield
        finally:
            if self.fp is not None:
                self.fp = file
