"""A repository on a web server (RFC 9110): whole files and, after a break, the rest of them."""

import base64
import errno
import hashlib
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from compiler import __version__
from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import NotFoundError, OutsideError, SilentError, TooLongError
from compiler.registry.deadline import TimedResponse
from compiler.repository.cache import Cache
from compiler.repository.sources import LARGEST_ARCHIVE
from compiler.repository.sources.checks import Checked, archive_of, check_name, saving

_PIECE = 1 << 18
_ATTEMPTS = 4
_FIRST_WAIT = 0.5
_SLOWEST = 1024  # bytes a second below which a transfer counts as broken
_WHOLE, _PARTIAL, _NOTHING_LEFT = 200, 206, 416
_IN_PATH = "/%+~@:=&!$,;'()*"
_LINE = 100
_TOO_LONG = "open it in a browser: is it the repository's file, or a page of something on the way?"
_LATER = "try again later; if it stays, the server's own log says why"
_ON_THE_WAY = "check the network, and what is in between: a proxy, or a firewall"
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_DENIED = frozenset({401, 403})
_NOT_THERE = frozenset({404, 410})


class _Broken(Exception):  # noqa: N818  (a reason to try again)
    """A transfer ended early, or the server could not answer just now."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class _Silent(_Broken):
    """Nobody was there who could be asked, or nobody said a word."""


class _Plain(http.client.HTTPConnection):
    """A connection without TLS."""

    response_class = TimedResponse


class _Secure(http.client.HTTPSConnection):
    """A connection with TLS."""

    response_class = TimedResponse


class _PlainHandler(urllib.request.HTTPHandler):
    """Asks without TLS."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(_Plain, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    """Asks with TLS."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(_Secure, req)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other addresses, but never from TLS to none.

    Credentials go on to the same scheme, host and port only (RFC 6454, Origin).
    """

    def redirect_request(  # noqa: PLR0913, PLR0917  (as the library calls it)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request."""
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(newurl, code, "leads away from TLS", headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        shown = req.unredirected_hdrs.get("Authorization")
        if following is not None and shown and _origin(newurl) == _origin(req.full_url):
            following.add_unredirected_header("Authorization", shown)
        return following


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How web servers are spoken to: seconds that one may be silent, and how to wait."""

    timeout: float = 360.0
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class HttpSource:
    """Reads from one address; `auth` is luet's: a `token`, `basic`, or a `username`.

    One that is `replaceable`, since another address is asked instead, is asked for everything once,
    and for nothing more once it was silent.
    """

    def __init__(
        self,
        url: str,
        auth: Mapping[str, str],
        settings: HttpSettings,
        *,
        replaceable: bool = False,
    ) -> None:
        parts = _split(url)
        self._parts = parts._replace(
            netloc=_host(parts),
            path=quote(parts.path, safe=_IN_PATH),
            query=quote(parts.query, safe=f"{_IN_PATH}?"),
            fragment="",
        )
        self._settings = settings
        self._attempts = 1 if replaceable else _ATTEMPTS
        self._silence: _Silent | None = None
        self._authorization = _authorization(auth) or _from_address(parts.username, parts.password)
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _PlainHandler(),
            _SecureHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            Redirects(),
        ):
            self._opener.add_handler(handler)

    @property
    def address(self) -> str:
        """The address, without what stands before its host and after its path."""
        return urlunsplit(self._parts._replace(query=""))

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Download a file of the repository, from its beginning at each try.

        Nothing tells its parts from those of the file that may have replaced it meanwhile.
        """
        self._download(check_name(name, self.address), target, limit, resume=False)

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Download an archive into the cache, going on where the last try stopped."""
        wanted = archive_of(artifact, self.address, limit)
        cache.expect([(wanted.sha256, limit if limit < LARGEST_ARCHIVE else 0)])
        known = cache.find(wanted.sha256)
        return (known or self._add(wanted, cache),)

    def _add(self, wanted: Checked, cache: Cache) -> Path:
        with cache.adding(wanted.sha256) as part:
            if not _is(part, wanted.sha256):  # or else it was stopped just before its end
                self._download(wanted.name, part, wanted.limit, resume=True)
            if not _is(part, wanted.sha256):  # its parts may be of different files
                self._download(wanted.name, part, wanted.limit, resume=False)
            wanted.check(_sha256(part), self.address, part)
            return cache.keep(part, wanted.sha256)

    def _download(self, name: str, target: Path, limit: int, *, resume: bool) -> None:
        """Bring a file in as many requests as it takes; with `resume` each goes on."""
        for attempt in range(self._attempts):
            if self._silence is not None:
                raise SilentError(f"{self._url(name)}: {self._silence}", hint=self._silence.hint)
            try:
                self._append(name, target, limit, _size(target) if resume else 0)
            except _Broken as error:
                if attempt == self._attempts - 1:
                    raise self._given_up(name, error, attempt + 1) from error
                self._settings.pause(_FIRST_WAIT * 2**attempt)
            else:
                return

    def _given_up(self, name: str, fault: _Broken, tries: int) -> OutsideError:
        """Make the error for what is not tried any more, and remember whom not to ask again."""
        if self._attempts == 1 and isinstance(fault, _Silent):
            self._silence = fault
        tried = f" (tried {tries} times)" if tries > 1 else ""
        kind = SilentError if isinstance(fault, _Silent) else OutsideError
        return kind(f"{self._url(name)}: {fault}{tried}", hint=fault.hint)

    def _append(self, name: str, target: Path, limit: int, start: int) -> None:
        """Ask once, for all from `start` on; raises `_Broken` where another try may help."""
        try:
            with self._open(name, start) as answer:
                self._check(name, answer, start)
                self._save(name, answer, target, limit)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _NOTHING_LEFT and start:
                target.unlink()
                raise _Broken("its length has changed") from error
            raise self._refusal(name, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from error

    def _check(self, name: str, answer: http.client.HTTPResponse, start: int) -> None:
        """Raise `OutsideError` for an answer that is not the file, or the part that was asked."""
        packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if packing != "identity":
            message = f"{self._url(name)}: the server packs its answer as {packing[:20]!r}"
            raise OutsideError(f"{message}, unasked", hint=_ON_THE_WAY)
        if answer.status != _WHOLE and not (answer.status == _PARTIAL and start):
            message = f"{self._url(name)}: the server answers {answer.status}"
            raise OutsideError(f"{message} {_shown(answer.reason)}", hint=_TOO_LONG)

    def _save(self, name: str, answer: http.client.HTTPResponse, target: Path, limit: int) -> None:
        """Write a body; what is too long is removed."""
        with saving(target, "ab" if answer.status == _PARTIAL else "wb") as file:
            for data in self._pieces(answer):
                file.write(data)
                if file.tell() > limit:
                    target.unlink()
                    message = f"{self._url(name)}: the server sends more than {limit} bytes"
                    raise TooLongError(message, hint=_TOO_LONG)

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """Read a body as it comes; raises `_Broken` when it breaks off or trickles."""
        clock, timeout = self._settings.clock, self._settings.timeout
        begun, count = clock(), 0
        while True:
            try:
                data = answer.read1(_PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise _broken(error) from error
            if not data:
                break
            yield data
            count += len(data)
            elapsed = clock() - begun
            if elapsed > timeout:
                if count < _SLOWEST * elapsed:
                    raise _Broken(f"sends less than {_SLOWEST} bytes a second", _ON_THE_WAY)
                begun, count = clock(), 0
        if answer.length:
            raise _Broken(f"ended {answer.length} bytes early", _ON_THE_WAY)

    def _open(self, name: str, start: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url(name, whole=True))  # noqa: S310  (http or https)
        request.add_header("User-Agent", f"cos/{__version__}")
        request.add_header("Accept-Encoding", "identity")
        if start:
            request.add_header("Range", f"bytes={start}-")
        if self._authorization:  # for this host only: `Redirects` decides where it is sent on to
            request.add_unredirected_header("Authorization", self._authorization)
        answer: http.client.HTTPResponse = self._opener.open(
            request, timeout=self._settings.timeout
        )
        return answer

    def _url(self, name: str, *, whole: bool = False) -> str:
        path = f"{self._parts.path.rstrip('/')}/{quote(name, safe='/+~@:')}"
        query = self._parts.query if whole else ""
        return urlunsplit(self._parts._replace(path=path, query=query))

    def _refusal(self, name: str, error: urllib.error.HTTPError) -> Exception:
        """Put an answer that is none into words."""
        url, answer = self._url(name), f"the server answers {error.code} {_shown(error.reason)}"
        if error.code in _PASSING:
            return _Broken(answer, _LATER)
        if error.code in _DENIED:
            hint = "give the repository 'auth' with a 'token', or 'username' and 'password'"
            return OutsideError(f"{url}: the server wants other credentials", hint=hint)
        if error.code in _NOT_THERE:
            return NotFoundError(f"{url}: there is no such file", hint="is this a repository?")
        return OutsideError(f"{url}: {answer}", hint="is it the right address of a repository?")


def _origin(url: str) -> tuple[str, str, int] | None:
    """Say whom an address asks: scheme, host and port (RFC 6454, section 4); None for no server."""
    try:
        parts = _split(url)
    except OutsideError:
        return None
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return parts.scheme, (parts.hostname or "").lower(), port


def _split(url: str) -> SplitResult:
    """Take an address apart; raises `OutsideError`, in which no password is."""
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError as error:
        raise OutsideError(f"{_safe(url)}: is no address of a web server") from error
    raise OutsideError(f"{_safe(url)}: is no address of a web server")


def _safe(url: str) -> str:
    """Leave out of an address what may be a name and a password."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"[:200]


def _host(parts: SplitResult) -> str:
    """Return the host and port; raises `OutsideError` for a name that cannot be one."""
    host = parts.netloc.rpartition("@")[2]
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError as error:
        raise OutsideError(f"{host[:200]}: is no name of a host") from error


def _authorization(auth: Mapping[str, str]) -> str:
    """Make the header out of luet's map; raises `OutsideError` for what no header can hold."""
    for key, scheme in (("token", "token"), ("basic", "Basic")):
        value = (auth.get(key) or "").strip()
        if not (value.isascii() and value.isprintable()):
            raise OutsideError(f"'auth': {key!r} has characters that cannot be sent")
        if value:
            return f"{scheme} {value}"
    return _basic(auth["username"], auth.get("password", "")) if auth.get("username") else ""


def _from_address(user: str | None, password: str | None) -> str:
    """Make the header out of `http://USER:PASSWORD@HOST`."""
    return "" if user is None else _basic(unquote(user), unquote(password or ""))


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is(path: Path, sha256: str) -> bool:
    return path.exists() and _sha256(path) == sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cause(error: Exception) -> object:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _broken(error: Exception) -> _Broken:
    """Say what a failed connection means."""
    cause = _cause(error)
    is_silent = isinstance(cause, _SILENCES) or getattr(cause, "errno", None) in _NO_WAY
    return (_Silent if is_silent else _Broken)(_reason(error), _hint(error))


_SILENCES = (TimeoutError, socket.gaierror, ConnectionRefusedError)
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def _hint(error: Exception) -> str | None:
    """Say what may help."""
    hints = (
        (ssl.SSLCertVerificationError, "SSL_CERT_FILE names the certificates that are trusted"),
        (socket.gaierror, "check the name, and that the network and its name servers work"),
        (ConnectionRefusedError, "check the port, and that the server runs"),
        (TimeoutError, "check that it runs, and that no firewall is in between"),
    )
    cause = _cause(error)
    return next((hint for kind, hint in hints if isinstance(cause, kind)), _ON_THE_WAY)


def _reason(error: Exception) -> str:
    """Say why a server cannot be reached."""
    cause = _cause(error)
    if isinstance(cause, TimeoutError):
        return "the server is silent"
    if isinstance(cause, OSError):
        return (cause.strerror or str(cause)).lower()
    return _shown(str(cause)) or type(cause).__name__


def _shown(text: object) -> str:
    """Return what a server says, on one line, without what would change a terminal."""
    line = str(text).strip().partition("\n")[0]
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:_LINE]
