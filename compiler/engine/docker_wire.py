"""A connection that the HTTP of Docker's API was left on, to talk to a process.

What comes is in frames: a byte for the stream, three of zero, four for the length, then the bytes
(Docker Engine API, ContainerAttach, Stream format).
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_HEADER = struct.Struct(">BxxxL")
_PIECE = 1 << 16


class Wire:
    """The two ends of a process; `raw` is what the SDK returns for such a connection."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401  (the SDK has four kinds and no name)
        self._raw = raw
        self._socket = getattr(raw, "_sock", raw)
        self._receive = getattr(raw, "recv", None) or raw.read

    def said(self) -> Iterator[bytes]:
        """Give what the process prints, both of its streams, until it ends or the wire is cut."""
        # The SDK's own reader polls the socket first, and under TLS waits for what it has already.
        while header := self._exactly(_HEADER.size):
            left = _HEADER.unpack(header)[1]
            while left and (data := self._some(min(left, _PIECE))):
                left -= len(data)
                yield data

    def tell(self, data: bytes) -> None:
        """Send `data` to the process."""
        self._socket.sendall(data)

    def cut(self) -> None:
        """End the connection; the engine then closes the input of the process."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        response = getattr(self._raw, "_response", None)  # the SDK hangs it there
        for each in (response, self._raw, self._socket):
            if each is not None:
                each.close()

    def _exactly(self, size: int) -> bytes:
        """Read so many bytes, none if the wire ends before."""
        data = b""
        while len(data) < size:
            more = self._some(size - len(data))
            if not more:
                return b""
            data += more
        return data

    def _some(self, size: int) -> bytes:
        try:
            return self._receive(size) or b""
        except (OSError, ValueError):
            return b""  # cut by another thread, or by the engine
