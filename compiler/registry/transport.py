"""One HTTP exchange at a time: sessions, TLS and proxies, and bodies that cannot run away.

The session is the one of the ORAS SDK, which takes no cookies. Below it goes straight to the
adapter: `Session.send` reads the body of a redirect to its end, however long, and decodes it.
"""

import io
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import oras.provider
import requests
import urllib3
from requests.adapters import HTTPAdapter

from compiler import __version__
from compiler.registry.failure import Doubtful, Passing, broken
from compiler.registry.headers import PlainPool, SecurePool
from compiler.registry.settings import RegistrySettings

Body = Callable[[], "Slice"]
"""Makes what is sent, anew for each attempt."""

Clock = Callable[[], float]

_BLOCK = 1 << 18
_UPLOAD_BLOCK = 1 << 20
_CONNECTIONS = 16
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_POOLS = {"http": PlainPool, "https": SecurePool}
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"cos/{__version__}"}


class Slice:
    """Some bytes of a file or of memory, as they are sent: `requests` asks for the length first."""

    def __init__(self, source: Path | bytes, start: int, length: int) -> None:
        self._file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        self._file.seek(start)
        self._left = length
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_UPLOAD_BLOCK):
            yield block

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, none at the end of the part."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Stream:
    """An answer whose body is still to come."""

    def __init__(
        self, response: requests.Response, settings: RegistrySettings, clock: Clock
    ) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = response.url or ""
        self._response = response
        self._settings = settings
        self._clock = clock

    @property
    def host(self) -> str:
        """The host that answered."""
        return urlsplit(self.url).netloc

    def length(self) -> int | None:
        """Return the length that the answer claims to have."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004  (digits of 2**63)

    def read(self, limit: int) -> bytes:
        """Read the whole body, of at most `limit` bytes."""
        claimed = self.length()
        if claimed is not None and claimed > limit:
            raise Doubtful(f"{self.host} claims to send {claimed} bytes, {limit} are allowed")
        blocks, size = [], 0
        for block in self.blocks():
            size += len(block)
            if size > limit:
                raise Doubtful(f"{self.host} sends more than the {limit} bytes that are allowed")
            blocks.append(block)
        return b"".join(blocks)

    def skim(self, limit: int) -> bytes:
        """Read the beginning of a body that only explains something; whatever fails, it is over."""
        data = b""
        with suppress(Passing):
            for block in self.blocks():
                data += block
                if len(data) > limit:
                    return b""
        return data

    def blocks(self) -> Iterator[bytes]:
        """Read the body as it comes; raises `Passing` when it breaks off or trickles."""
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise Doubtful(f"{self.host} packs its answer as {encoding[:20]!r}, unasked")
        since, heard = self._clock(), 0
        while True:
            try:
                block = self._response.raw.read1(_BLOCK, decode_content=False)
            except _FAILURES as error:
                raise broken(error, self.host) from error
            if not block:
                return
            yield block
            heard += len(block)
            spent = self._clock() - since
            if spent >= self._settings.timeout:
                if heard < spent * self._settings.slowest:
                    reason = f"{self.host} sends only {heard / spent:.0f} bytes a second"
                    raise Passing(reason, hint="the network, or a proxy on the way, is too slow")
                since, heard = self._clock(), 0


class _Adapter(HTTPAdapter):
    """Connects with our own certificates, and uploads in large blocks."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  (passed through)
        """Make the pool of connections."""
        options |= {"ssl_context": self._context, "blocksize": _UPLOAD_BLOCK}
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401  (passed through)
        """Make the pool of connections through a proxy."""
        options |= {"ssl_context": self._context, "blocksize": _UPLOAD_BLOCK}
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: str, verify: object, cert: object) -> None:  # noqa: ANN401, ARG002  (as it is called)
        """Have certificates checked, by the context that the pool was made with."""
        conn.cert_reqs = "CERT_REQUIRED"


class Transport:
    """Sends requests to any host; every thread may use it."""

    def __init__(self, settings: RegistrySettings, clock: Clock = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, requests.Session] = {}

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    @contextmanager
    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Iterator[Stream]:
        """Send a request; no redirect is followed, no failure is tried again.

        Raises `Passing` when no answer comes.
        """
        host = urlsplit(url).netloc
        try:
            response = self._send(requests.Request(method, url, {**_HEADERS, **headers}), body)
        except _FAILURES as error:
            raise broken(error, host) from error
        try:
            yield Stream(response, self._settings, self._clock)
        finally:
            response.close()

    def _send(self, request: requests.Request, body: Body | None) -> requests.Response:
        """Hand a request to the adapter of its host."""
        session = self._session(request.url)
        proxy = self._settings.proxy_for(request.url)
        with closing(body() if body is not None else Slice(b"", 0, 0)) as data:
            request.data = data if len(data) else b""
            return session.get_adapter(request.url).send(
                session.prepare_request(request),
                stream=True,
                timeout=self._settings.timeout,
                verify=True,
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )

    def _session(self, url: str) -> requests.Session:
        """Return the session for a host, which has its certificates."""
        parts = urlsplit(url)
        key = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if key not in self._sessions:
                session: requests.Session = oras.provider.Registry(parts.netloc).session
                session.trust_env = False
                tls = make_context(self._settings, parts.netloc) if parts.scheme != "http" else None
                session.mount(f"{parts.scheme}://", _Adapter(tls))
                self._sessions[key] = session
            return self._sessions[key]


def make_context(settings: RegistrySettings, host: str) -> ssl.SSLContext:
    """Make the TLS settings for a host: the system's authorities, or ours, and the host's own."""
    context = ssl.create_default_context()
    if settings.authorities:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in (*settings.authorities, *_own_authorities(settings, host)):
        try:
            context.load_verify_locations(file)
        except OSError as error:  # an SSLError is one too
            reason = error.strerror or "no certificate in it"
            hint = "SSL_CERT_FILE, REQUESTS_CA_BUNDLE or a folder of certificates names it"
            raise Passing(f"{file}: cannot be read: {reason}", tries=1, hint=hint) from error
    if not settings.authorities and not _has_authorities():
        context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    return context


def _own_authorities(settings: RegistrySettings, host: str) -> list[Path]:
    """Find the certificates that are meant for one host, as Docker and Podman lay them out."""
    folders = [folder / host for folder in settings.certificate_folders]
    return [file for folder in folders for file in sorted(folder.glob("*.crt"))]


def _has_authorities() -> bool:
    """Tell whether the system brings certificates; a small container may have none."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or any(Path(paths.capath or "/nonexistent").glob("*.0"))
