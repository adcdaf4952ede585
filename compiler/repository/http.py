"""Serves the folder of a repository over HTTP: whole files and ranges of them, nothing else."""

import os
import re
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from compiler.errors import OutsideError, UsageError
from compiler.marks import is_mark

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds that a client may be silent


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes of a file that are sent: from `start`, `length` many."""

    start: int
    length: int


class RepositoryServer(ThreadingHTTPServer):
    """Serves `folder`; every request has its own thread."""

    daemon_threads = True

    def __init__(self, folder: Path, address: str, port: int) -> None:
        self.folder = folder.resolve()
        super().__init__((address, port), _Handler)


def make_server(folder: Path, *, address: str, port: int) -> RepositoryServer:
    """Open the port for `folder`; port 0 takes any that is free.

    Raises `UsageError` for a folder or address that cannot be, `OutsideError` for a port that is
    taken.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder")
    try:
        return RepositoryServer(folder, address, port)
    except OverflowError as error:
        raise UsageError(f"{port} is no port") from error
    except OSError as error:
        raise OutsideError(f"cannot listen on {address}:{port}: {error.strerror}") from error


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the regular files of the folder."""

    server: RepositoryServer
    protocol_version = "HTTP/1.1"
    server_version = "cos"
    sys_version = ""
    timeout = _TIMEOUT

    def do_GET(self) -> None:
        """Send a file."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send what is known of a file."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name that the library calls it by)
        """Say nothing: whoever wants a log puts a web server before it."""

    def _answer(self, *, body: bool) -> None:
        """Find the file, decide how much of it to send, send it."""
        path = urlsplit(self.path).path
        hidden = "%2f" in path.lower()  # no slash of a path: most web servers refuse it as well
        file = None if hidden else _open(self.server.folder, unquote(path))
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            status = os.fstat(file.fileno())
            tag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
            if tag in self.headers.get("If-None-Match", ""):
                self._head(HTTPStatus.NOT_MODIFIED, tag, status, {})
                return
            span = self._span(status.st_size, tag)
            if span is None:
                limits = {"Content-Range": f"bytes */{status.st_size}", "Content-Length": "0"}
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, tag, status, limits)
                return
            self._send(file, span, tag, status, body=body)

    def _send(
        self, file: BinaryIO, span: _Span, tag: str, status: os.stat_result, *, body: bool
    ) -> None:
        """Send the headers, and the bytes of `span` unless only the head was asked for."""
        headers = {"Content-Length": str(span.length), "Content-Type": "application/octet-stream"}
        code = HTTPStatus.OK
        if span.length != status.st_size:
            code = HTTPStatus.PARTIAL_CONTENT
            last = span.start + span.length - 1
            headers["Content-Range"] = f"bytes {span.start}-{last}/{status.st_size}"
        self._head(code, tag, status, headers)
        if body:
            self.wfile.flush()
            self._copy(file, span)

    def _copy(self, file: BinaryIO, span: _Span) -> None:
        """Copy the bytes of `span`; a client that went away ends its own connection only."""
        try:
            self.connection.settimeout(_TIMEOUT)
            sent = self.connection.sendfile(file, span.start, span.length) if span.length else 0
            if sent != span.length:  # the file became shorter meanwhile: the client must notice
                self.close_connection = True
        except OSError:
            self.close_connection = True

    def _head(
        self, code: HTTPStatus, tag: str, status: os.stat_result, headers: dict[str, str]
    ) -> None:
        """Send the status line and headers."""
        self.send_response(code)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        self.send_header("Last-Modified", formatdate(status.st_mtime, usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _span(self, size: int, tag: str) -> _Span | None:
        """Read the Range header (RFC 9110, section 14); None if no byte of it is there."""
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if match is None or self.headers.get("If-Range", tag) != tag or match[0] == "bytes=-":
            return _Span(0, size)
        if not match[1]:
            length = min(int(match[2]), size)
            return _Span(size - length, length) if length else None
        start, end = int(match[1]), int(match[2]) if match[2] else size - 1
        if start >= size or end < start:
            return None if start >= size else _Span(0, size)
        return _Span(start, min(end, size - 1) - start + 1)


def _open(folder: Path, path: str) -> BinaryIO | None:
    """Open a regular file below `folder`: none hidden, no mark, no link that leads out of it."""
    parts = [part for part in path.split("/") if part]
    if not parts or "\0" in path or any(part.startswith(".") for part in parts):
        return None
    try:
        target = folder.joinpath(*parts).resolve(strict=True)
        if not target.is_relative_to(folder) or not target.is_file() or is_mark(target):
            return None
        file = target.open("rb")
    except (OSError, RuntimeError, ValueError):  # not there, a ring of links, a name too long
        return None
    return file
