"""A proxy in front of a registry that does it wrong on purpose: each fault at the request it names.

    with run_proxy(server.host) as proxy:
        proxy.script(Fault(Status(503), method="PUT", skip=1))

Faults are used up in their order: the first one that fits a request and is not used up decides.
A proxy without a registry behind it answers 404 to what no fault answers.
"""

import gzip
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from tests.servers.registry import RegistryServer

ALWAYS = 1 << 30
_TIMEOUT = 20.0
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_TRICKLE = 0.02


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this, and do not ask the registry."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection: instead of an answer, or after a share of it."""

    share: float | None = None


@dataclass(frozen=True, slots=True)
class CutUpload:
    """Break the connection after a share of the request's body went on to the registry."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Lose:
    """Let the registry do what is asked, and lose its answer."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Never answer."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Send the answer's body byte by byte."""


@dataclass(frozen=True, slots=True)
class SlowHead:
    """Send headers without end, byte by byte."""


@dataclass(frozen=True, slots=True)
class WrongBytes:
    """Change a byte of the answer's body."""


@dataclass(frozen=True, slots=True)
class WrongLength:
    """Claim more or fewer bytes than the answer has."""

    by: int


@dataclass(frozen=True, slots=True)
class Endless:
    """Send an answer whose body never ends."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Send the body packed, though nobody asked for that."""


@dataclass(frozen=True, slots=True)
class Says:
    """Let the registry answer, and change the headers."""

    headers: Mapping[str, str]


Deed = (
    Status
    | Cut
    | CutUpload
    | Lose
    | Silent
    | Slow
    | SlowHead
    | WrongBytes
    | WrongLength
    | Endless
    | Packed
    | Says
)


@dataclass(slots=True)
class Fault:
    """What is done to which requests: after `skip` that fit, to `times` of them."""

    deed: Deed
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1
    done: int = 0

    def fits(self, method: str, path: str) -> bool:
        """Tell whether a request is one that this is about."""
        return self.method in ("", method) and re.search(self.path, path) is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Demands tokens, each good for some requests.

    They are bought with the header `password`, or an identity token, or are free.
    """

    uses: int = ALWAYS
    password: str = ""
    identity: str = ""


class FaultyProxy(ThreadingHTTPServer):
    """The server; `seen` has all requests, in their order."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.host = f"127.0.0.1:{self.server_port}"
        self.seen: list[Seen] = []
        self.tokens: Tokens | None = None
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._faults: list[Fault] = []
        self._given: dict[str, int] = {}

    def script(self, *faults: Fault) -> None:
        """Replace what is to go wrong from now on, and forget what was seen."""
        with self.lock:
            self._faults = list(faults)
            self.seen.clear()

    def count(self, method: str, path: str = "") -> int:
        """Count the requests that were seen."""
        return sum(each.method == method and bool(re.search(path, each.path)) for each in self.seen)

    def deed(self, seen: Seen) -> Deed | None:
        """Note a request; returns what is done to it."""
        with self.lock:
            self.seen.append(seen)
            for fault in self._faults:
                if fault.fits(seen.method, seen.path) and fault.done < fault.skip + fault.times:
                    fault.done += 1
                    return fault.deed if fault.done > fault.skip else None
            return None

    def new_token(self) -> str:
        """Hand a token out."""
        with self.lock:
            token = f"token-{len(self._given)}"
            self._given[token] = 0
            return token

    def use_token(self, token: str) -> bool:
        """Tell whether a token is good, and count that it was used."""
        with self.lock:
            if self.tokens is None or token not in self._given:
                return False
            self._given[token] += 1
            return self._given[token] <= self.tokens.uses

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients go away, that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _TIMEOUT

    def do_GET(self) -> None:
        """Answer any request."""
        length = int(self.headers.get("Content-Length") or 0)
        deed = self.server.deed(Seen(self.command, self.path, dict(self.headers)))
        if isinstance(deed, CutUpload):
            self._cut_upload(length, deed.share)
            return
        body = self.rfile.read(length)
        if self.path.startswith("/token"):
            self._give_token(body)
            return
        if not self._has_token():
            return
        _DEEDS.get(type(deed), _Handler._pass_on)(self, deed, body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  (named by the library)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (named by the library)
        """Say nothing."""

    def _has_token(self) -> bool:
        """Refuse a request that shows no token, if tokens are demanded."""
        tokens = self.server.tokens
        if tokens is None:
            return True
        if self.server.use_token(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            return True
        scope = f"repository:{'/'.join(self.path.split('/')[2:4])}:pull"
        asked = f'Bearer realm="http://{self.server.host}/token",service="test",scope="{scope}"'
        self._reply(401, {"WWW-Authenticate": asked}, b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        return False

    def _give_token(self, body: bytes) -> None:
        """Answer as a token server."""
        tokens = self.server.tokens or Tokens()
        if tokens.identity:
            good = parse_qs(body.decode()).get("refresh_token") == [tokens.identity]
        else:
            good = not tokens.password or self.headers.get("Authorization") == tokens.password
        if good:
            self._reply(200, {}, f'{{"token":"{self.server.new_token()}"}}'.encode())
        else:
            self._reply(401, {}, b'{"errors":[{"code":"DENIED","message":"who are you"}]}')

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the registry."""
        if not self.server.upstream:
            return 404, {}, b""
        with closing(self._connect()) as upstream:
            upstream.request(self.command, self.path, body or None, self._forwarded())
            answer = upstream.getresponse()
            headers = {name: each for name, each in answer.getheaders() if name.lower() not in _HOP}
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            return answer.status, headers, answer.read()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.server.upstream, timeout=_TIMEOUT)

    def _forwarded(self) -> dict[str, str]:
        """Return the headers that go on; our own tokens do not."""
        drop = {"authorization"} if self.server.tokens is not None else set()
        return {name: each for name, each in self.headers.items() if name.lower() not in drop}

    def _cut_upload(self, length: int, share: float) -> None:
        """Send the registry a part of a body, and break both connections."""
        part = self.rfile.read(int(length * share))
        with closing(self._connect()) as upstream, suppress(OSError):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._forwarded().items():
                upstream.putheader(name, value)
            upstream.endheaders()
            upstream.send(part)
        self._break()

    def _pass_on(self, _deed: Deed | None, body: bytes) -> None:
        self._reply(*self._ask(body))

    def _status(self, deed: Status, _body: bytes) -> None:
        self._reply(deed.status, deed.headers, deed.body)

    def _cut(self, deed: Cut, body: bytes) -> None:
        if deed.share is None:
            self._break()
            return
        status, headers, data = self._ask(body)
        if not data:
            self.wfile.write(b"HTTP/1.1 2")
        else:
            self._head(status, {**headers, "Content-Length": str(len(data))})
            self.wfile.write(data[: int(len(data) * deed.share)])
        self._break()

    def _lose(self, _deed: Lose, body: bytes) -> None:
        self._ask(body)
        self._break()

    def _silent(self, _deed: Silent, _body: bytes) -> None:
        self.server.ended.wait(_TIMEOUT)
        self._break()

    def _slow(self, _deed: Slow, body: bytes) -> None:
        status, headers, data = self._ask(body)
        if not data:
            self._reply(status, headers, data)
            return
        self._head(status, {**headers, "Content-Length": str(len(data))})
        for byte in data:
            self.wfile.write(bytes([byte]))
            time.sleep(_TRICKLE)

    def _slow_head(self, _deed: SlowHead, _body: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self.server.ended.wait(_TRICKLE):
            self.wfile.write(b"x")

    def _wrong_bytes(self, _deed: WrongBytes, body: bytes) -> None:
        status, headers, data = self._ask(body)
        middle = len(data) // 2
        self._reply(status, headers, data[:middle] + b"\xff"[: len(data)] + data[middle + 1 :])

    def _wrong_length(self, deed: WrongLength, body: bytes) -> None:
        status, headers, data = self._ask(body)
        if not data:
            self._reply(status, headers, data)
            return
        self._head(status, {**headers, "Content-Length": str(max(0, len(data) + deed.by))})
        self.wfile.write(data)
        self._break()

    def _endless(self, _deed: Endless, body: bytes) -> None:
        status, headers, data = self._ask(body)
        if self.command == "HEAD" or not data:
            self._reply(status, headers, data)
            return
        self._head(status, {**headers, "Transfer-Encoding": "chunked"})
        chunk = data + bytes(max(0, 65536 - len(data)))
        while not self.server.ended.is_set():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def _packed(self, _deed: Packed, body: bytes) -> None:
        status, headers, data = self._ask(body)
        self._reply(status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(data))

    def _says(self, deed: Says, body: bytes) -> None:
        status, headers, data = self._ask(body)
        self._reply(status, {**headers, **deed.headers}, data)

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole answer."""
        length = {} if "Content-Length" in headers else {"Content-Length": str(len(body))}
        self._head(status, {**headers, **length})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and headers."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _break(self) -> None:
        """End the connection without a word."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


_DEEDS: Mapping[type, Callable[..., None]] = {
    Status: _Handler._status,
    Cut: _Handler._cut,
    Lose: _Handler._lose,
    Silent: _Handler._silent,
    Slow: _Handler._slow,
    SlowHead: _Handler._slow_head,
    WrongBytes: _Handler._wrong_bytes,
    WrongLength: _Handler._wrong_length,
    Endless: _Handler._endless,
    Packed: _Handler._packed,
    Says: _Handler._says,
}
"""How each deed is done; it is called with the handler, the deed and the request's body."""


@contextmanager
def run_proxy(upstream: str = "", tls: ssl.SSLContext | None = None) -> Iterator[FaultyProxy]:
    """Run a proxy in front of the host `upstream`, until the context ends."""
    with FaultyProxy(upstream) as proxy:
        if tls is not None:
            proxy.socket = tls.wrap_socket(proxy.socket, server_side=True)
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.ended.set()
            proxy.shutdown()
            thread.join()


@pytest.fixture
def proxy(registry_server: RegistryServer) -> Iterator[FaultyProxy]:
    """A proxy in front of the plain registry."""
    with run_proxy(registry_server.host) as running:
        yield running


@pytest.fixture
def fake_registry() -> Iterator[FaultyProxy]:
    """A server with no registry behind it, that answers what it is told."""
    with run_proxy() as running:
        yield running
