"""One registry host: where it listens, what opens it, and requests that follow redirects."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from compiler.errors import DeniedError, NotFoundError, RegistryError
from compiler.oci import Reference
from compiler.registry.auth import CredentialFiles
from compiler.registry.failure import Doubtful, Passing, Pause, Retries, is_registry_error, refused
from compiler.registry.settings import RegistrySettings, address_of, is_loopback
from compiler.registry.tokens import (
    LARGEST_ANSWER,
    Gate,
    TokenRequest,
    merge_scopes,
    repository_scope,
)
from compiler.registry.transport import Body, Clock, Slice, Stream, Transport

_T = TypeVar("_T")

_MOST_REDIRECTS = 5
_LARGEST_ERROR = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPS_METHOD = frozenset({307, 308})
_OK, _BAD, _UNAUTHORISED, _NOT_FOUND = 200, 400, 401, 404
_SPEAKS = frozenset({200, 401, 403})
_API_HEADER = "Docker-Distribution-Api-Version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request in the words of the API; `path` is below `/v2/REPOSITORY/`, or an address."""

    repository: Reference
    what: str
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    actions: str = "pull"
    origin: Reference | None = None
    """Another repository that is read on the way."""
    wanted: frozenset[int] = frozenset({200})
    """The answers that are no errors."""
    limit: int = _LARGEST_ERROR
    """How many bytes may come back."""

    @property
    def subject(self) -> str:
        """Name what is done, for errors."""
        return f"{self.repository}: cannot {self.what}"

    @property
    def scope(self) -> str:
        """Name what is done, for token servers."""
        own = repository_scope(self.repository, self.actions) if self.actions else ""
        return merge_scopes(own, repository_scope(self.origin, "pull") if self.origin else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What all sites share."""

    settings: RegistrySettings
    transport: Transport
    credentials: CredentialFiles
    pause: Pause
    clock: Clock


class Site:
    """A registry host; every thread may use it."""

    def __init__(self, host: str, tools: Tools, *, attempts: int = 0, hasty: bool = False) -> None:
        self.host = host
        self._tools = tools
        self._attempts = attempts
        self._hasty = hasty
        self._lock = threading.Lock()
        self._base = ""
        self._confirmed = False
        self._gate = Gate(tools.credentials, self._fetch_token, tools.clock)

    def retries(self, call: Call) -> Retries:
        """Begin to count the attempts at something."""
        tools = self._tools
        return Retries(
            tools.settings, tools.pause, call.subject, attempts=self._attempts, hasty=self._hasty
        )

    def ask(self, call: Call) -> Answer:
        """Make a request as often as it takes, and read all of the answer."""
        return self.read(call, lambda answer: answer)

    def read(self, call: Call, check: Callable[[Answer], _T]) -> _T:
        """Make a request, and something of its answer; `check` may refuse it as `Doubtful`."""
        retries = self.retries(call)
        while True:
            try:
                with self.once(call) as stream:
                    data = b"" if call.method == "HEAD" else stream.read(call.limit)
                    return check(Answer(stream.status, stream.headers, data, stream.url))
            except Passing as fault:
                retries.again(fault)

    @contextmanager
    def once(self, call: Call) -> Iterator[Stream]:
        """Make a request once; yields an answer that is wanted, whose body is still to come.

        Raises `Passing` for what may be tried again, and `RegistryError` for the rest.
        """
        with ExitStack() as stack:
            stream = self._admitted(call, stack)
            said = b"" if stream.status in call.wanted else stream.skim(_LARGEST_ERROR)
            if stream.status == _NOT_FOUND and not self._is_answer(stream, said):
                self._confirm(call)
            if stream.status not in call.wanted:
                raise refused(call.subject, stream.status, stream.headers, said)
            yield stream

    def url(self, call: Call) -> str:
        """Return the address of a request."""
        if "://" in call.path:
            return call.path
        if call.path.startswith("/"):
            return f"{self.base()}{call.path}"
        return f"{self.base()}/v2/{call.repository.repository}/{call.path}"

    def base(self) -> str:
        """Return scheme and host; asks once whether a host that may do without TLS does."""
        with self._lock:
            if not self._base:
                self._base = self._probe()
            return self._base

    def _admitted(self, call: Call, stack: ExitStack) -> Stream:
        """Make a request, and once more with the credentials that the registry asks for."""
        url = self.url(call)
        shown = self._gate.header(call.repository, call.scope)
        stream = self._follow(call, url, shown, stack)
        if stream.status != _UNAUTHORISED or not self.is_own(stream.url):
            return stream
        asked = stream.headers.get("WWW-Authenticate", "")
        stack.close()
        header = self._gate.challenged(call.repository, call.scope, asked=asked, shown=shown)
        stream = self._follow(call, url, header, stack)
        if stream.status == _UNAUTHORISED and self.is_own(stream.url):
            raise self._gate.denied(call.repository)
        return stream

    def _follow(self, call: Call, url: str, authorization: str, stack: ExitStack) -> Stream:
        """Make a request and follow redirects; only the registry itself sees credentials."""
        for _ in range(_MOST_REDIRECTS + 1):
            headers = dict(call.headers)
            if authorization and self.is_own(url):
                headers["Authorization"] = authorization
            sending = self._tools.transport.send(call.method, url, headers, call.body)
            stream = stack.enter_context(sending)
            target = _redirect(call.method, stream)
            if not target:
                return stream
            stack.close()
            url = self.checked(url, target)
        raise Doubtful(f"{self.host} redirects more than {_MOST_REDIRECTS} times")

    def checked(self, url: str, target: str) -> str:
        """Return where an answer from `url` leads; raises `Passing` if that must not be asked."""
        try:
            url = urljoin(url, target)
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if not host or "@" in parts.netloc or parts.scheme not in ("http", "https"):
            raise Doubtful(f"{self.host} names an address that cannot be asked")
        if parts.scheme == "http" and not self._plain_target(parts.netloc):
            raise Doubtful(f"{self.host} leads to {parts.netloc} without TLS")
        return url

    def _plain_target(self, host: str) -> bool:
        """Tell whether we may be led to a host without TLS: never from a host that has it."""
        settings = self._tools.settings
        if host in settings.insecure:
            return True
        return settings.plain_allowed(host) and not self._base.startswith("https:")

    def is_own(self, url: str) -> bool:
        """Tell whether an address is the registry's own."""
        return url.startswith(f"{self._base}/")

    def _probe(self) -> str:
        """Find out whether the host speaks TLS, where it need not."""
        address = address_of(self.host)
        if not self._tools.settings.plain_allowed(self.host):
            return f"https://{address}"
        schemes = ("http", "https") if is_loopback(address) else ("https", "http")
        faults = []
        for scheme in schemes:
            try:
                url = f"{scheme}://{address}/v2/"
                with self._tools.transport.send("GET", url, {}) as stream:
                    if scheme == "https" or stream.status != _BAD:
                        return f"{scheme}://{address}"
            except Passing as fault:
                faults.append(fault)
        if not faults:
            raise Passing(f"{address} speaks neither HTTP nor TLS", tries=1)
        raise max(faults, key=lambda fault: fault.tries)

    def _is_answer(self, stream: Stream, said: bytes) -> bool:
        """Tell whether a 404 is one of a registry, rather than of any web server."""
        return self._confirmed or _API_HEADER in stream.headers or is_registry_error(said)

    def _confirm(self, call: Call) -> None:
        """Ask whether this is a registry at all (OCI Distribution Specification, end-1)."""
        with self._tools.transport.send("GET", f"{self.base()}/v2/", {}) as stream:
            status = stream.status
            kind = stream.headers.get("Content-Type", "")
            if status not in _SPEAKS:
                said = stream.skim(_LARGEST_ERROR)
                fault = refused(call.subject, status, stream.headers, said)
                if isinstance(fault, Passing):
                    raise fault
        if status not in _SPEAKS or (status == _OK and "html" in kind):
            message = f"{call.subject}: {self.host} is not an OCI registry"
            hint = f"it answers GET /v2/ with {status} {kind}".rstrip()
            raise RegistryError(message, hint=hint)
        self._confirmed = True

    def _fetch_token(self, repository: Reference, request: TokenRequest) -> bytes:
        """Ask the token server that the registry named."""
        url = self.checked(f"{self._base}/", request.url)
        headers = {"Authorization": request.authorization} if request.authorization else {}
        form = request.form.encode()
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        transport = self._tools.transport
        method, body = ("POST", lambda: Slice(form, 0, len(form))) if form else ("GET", None)
        with transport.send(method, url, headers, body) as stream:
            if stream.status == _OK:
                return stream.read(LARGEST_ANSWER)
            said = stream.skim(_LARGEST_ERROR)
            subject = f"{repository}: cannot fetch a token from {stream.host}"
            error = refused(subject, stream.status, stream.headers, said)
        if isinstance(error, NotFoundError):
            raise DeniedError(error.message) from error
        raise error


def tag_path(reference: Reference) -> str:
    """Return the path of a manifest, by its digest if the reference has one."""
    return f"manifests/{quote(reference.digest or reference.tag, safe=':')}"


def _redirect(method: str, stream: Stream) -> str:
    """Return where an answer leads, "" if nowhere that a request of this kind is sent on to."""
    if stream.status not in _REDIRECTS:
        return ""
    if method not in ("GET", "HEAD") and stream.status not in _KEEPS_METHOD:
        return ""
    return stream.headers.get("Location", "")
