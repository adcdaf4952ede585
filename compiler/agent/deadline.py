"""Connections that end at a deadline, whatever the other side does to keep them open.

The timeout of a socket counts for each of its answers: a server that sends a byte every second
could hold us for days.
"""

import http.client
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Deadline:
    """Cuts the connections of one request when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time run for a block."""
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()
            with self._lock:
                for each in self._sockets:
                    each.close()
                self._sockets.clear()

    def connect(
        self, address: tuple[str, int], timeout: float | None, source: tuple[str, int] | None = None
    ) -> socket.socket:
        """Connect as `socket.create_connection`; what comes back is cut at the deadline."""
        made = socket.create_connection(address, timeout, source)
        with self._lock:
            # a second handle: TLS takes the first one over
            self._sockets.append(made.dup())
        return made

    def over(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        """Make a connection that is not open yet end at the deadline."""
        # the one place where http.client makes its socket, and neither public nor in the stubs
        connection._create_connection = self.connect  # type: ignore[attr-defined]  # noqa: SLF001
        return connection

    def _cut(self) -> None:
        self.passed = True
        with self._lock:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class PlainHandler(urllib.request.HTTPHandler):
    """Opens http: with a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an address; urllib calls it by this name."""

        def made(host: str, **given: float) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection(host, timeout=given.get("timeout"))
            return self._deadline.over(connection)

        return self.do_open(made, req)  # type: ignore[arg-type]  # it takes any maker of connections


class SecureHandler(urllib.request.HTTPSHandler):
    """Opens https: with a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._trusted = ssl.create_default_context()
        super().__init__(context=self._trusted)
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an address; urllib calls it by this name."""

        def made(host: str, **given: float) -> http.client.HTTPConnection:
            connection = http.client.HTTPSConnection(
                host, timeout=given.get("timeout"), context=self._trusted
            )
            return self._deadline.over(connection)

        return self.do_open(made, req)  # type: ignore[arg-type]  # it takes any maker of connections
