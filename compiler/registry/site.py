"""One registry host: where it listens, what opens it, and requests that follow redirects."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from compiler.errors import DeniedError, NotFoundError, RegistryError, SilentError
from compiler.oci import Reference
from compiler.registry.auth import CredentialFiles
from compiler.registry.failure import (
    Doubtful,
    Passing,
    Pause,
    Retries,
    Silent,
    Untrusted,
    is_registry_error,
    refused,
)
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
_OK, _BAD, _UNAUTHORISED, _NOT_FOUND, _FAILED = 200, 400, 401, 404, 500
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
    """A registry host; every thread may use it.

    One that is `replaceable`, since somebody else is asked instead, is asked for everything once,
    and for nothing more once it was silent.
    """

    def __init__(self, host: str, tools: Tools, *, replaceable: bool = False) -> None:
        self.host = host
        self._tools = tools
        self._replaceable = replaceable
        self._silence: Silent | None = None
        self._lock = threading.Lock()
        self._base = ""
        self._confirmed = False
        self._gate = Gate(tools.credentials, self._fetch_token, tools.clock)

    def retries(self, call: Call) -> Retries:
        """Begin to count the attempts at something; raises `SilentError` for what is given up."""
        if self._silence is not None:
            message = f"{call.subject}: {self._silence.reason}"
            raise SilentError(message, hint=self._silence.hint)
        tools = self._tools
        attempts = 1 if self._replaceable else tools.settings.attempts
        return Retries(tools.settings, tools.pause, call.subject, attempts=attempts)

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
                if isinstance(fault, Doubtful):
                    self.suspect(call)
                retries.again(fault)

    def confirm(self, call: Call) -> None:
        """Make a request that only a registry answers, and look at nothing else."""
        self.ask(call)
        self._confirm(call)

    def greet(self, call: Call) -> None:
        """Raise `RegistryError` unless this is a registry."""
        retries = self.retries(call)
        while not self._confirmed:
            try:
                self._confirm(call)
            except Passing as fault:
                retries.again(fault)

    def suspect(self, call: Call) -> None:
        """Raise `RegistryError` if pages for people are all that comes, after an odd answer."""
        with suppress(Passing):
            status, kind, said = (0, "", b"") if self._confirmed else self._greeting(call)
            if status == _OK and _is_page(kind, said):
                raise self._not_a_registry(call, status, kind)

    @contextmanager
    def once(self, call: Call) -> Iterator[Stream]:
        """Make a request once; yields an answer that is wanted, whose body is still to come.

        Raises `Passing` for what may be tried again, and `RegistryError` for the rest.
        """
        with ExitStack() as stack, self._hearing():
            stream = self._admitted(call, stack)
            said = b"" if stream.status in call.wanted else stream.skim(_LARGEST_ERROR)
            if not (self._confirmed or _is_answer(stream, said, call.wanted)):
                self._confirm(call)
            if stream.status not in call.wanted:
                raise refused(call.subject, stream.status, stream.headers, said)
            yield stream

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        """Remember that a host which can be replaced was silent."""
        try:
            yield
        except Silent as fault:
            if self._replaceable:
                self._silence = fault
            raise

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
            if self._silence is not None:  # while this thread waited for its turn
                raise Silent(self._silence.reason, hint=self._silence.hint)
            if not self._base:
                with self._hearing():
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
        hint = "what stands before the registry, or its storage, is set up to lead in a circle"
        raise Doubtful(f"{self.host} redirects more than {_MOST_REDIRECTS} times", hint)

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
            hint = f"--insecure {parts.netloc} would allow it"
            raise Doubtful(f"{self.host} leads to {parts.netloc} without TLS", hint)
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
            hint = "check the port, and that a registry listens there"
            raise Passing(f"{address} speaks neither HTTP nor TLS", tries=1, hint=hint)
        raise max(faults, key=_weight)

    def _confirm(self, call: Call) -> None:
        """Raise `RegistryError` unless this is a registry (Distribution Specification, end-1)."""
        status, kind, said = self._greeting(call)
        if status not in _SPEAKS or (status == _OK and _is_page(kind, said)):
            raise self._not_a_registry(call, status, kind)
        self._confirmed = True

    def _greeting(self, call: Call) -> tuple[int, str, bytes]:
        """Ask what every registry answers; returns status, type and body."""
        with self._tools.transport.send("GET", f"{self.base()}/v2/", {}) as stream:
            said = stream.skim(_LARGEST_ERROR)
            if stream.status not in _SPEAKS:
                fault = refused(call.subject, stream.status, stream.headers, said)
                if isinstance(fault, Passing):
                    raise fault
            kind = stream.headers.get("Content-Type", "").partition(";")[0].strip()
            return stream.status, kind[:80], said

    def _not_a_registry(self, call: Call, status: int, kind: str) -> RegistryError:
        """Make the error for a server of something else."""
        message = f"{call.subject}: {self.host} is not an OCI registry"
        what = f"it answers GET /v2/ with {status} {kind}".rstrip()
        hint = f"{what}: check its name and port; a network may want a login in a browser first"
        return RegistryError(message, hint=hint)

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
            hint = "the registry names a wrong token server, or one that something stands before"
            raise DeniedError(error.message, hint=hint) from error
        raise error


def _is_answer(stream: Stream, said: bytes, wanted: frozenset[int]) -> bool:
    """Tell whether an answer can be one of a registry, rather than of any web server."""
    if _API_HEADER in stream.headers or is_registry_error(said):
        return True
    if stream.status >= _FAILED:
        return True
    if stream.status == _NOT_FOUND or "html" in stream.headers.get("Content-Type", ""):
        return False
    return stream.status in wanted or stream.status >= _BAD


def _is_page(kind: str, said: bytes) -> bool:
    """Tell whether a body is one that people are shown."""
    return "html" in kind or said.lstrip().startswith(b"<")


def _weight(fault: Passing) -> tuple[bool, int]:
    """Order what both ways of speaking to a host failed with; the last one tells most."""
    return isinstance(fault, Untrusted), fault.tries


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
