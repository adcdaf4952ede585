"""A repository on a web server (RFC 9110): whole files and, after a break, the rest of them."""

import base64
import hashlib
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from compiler import __version__
from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import NotFoundError, OutsideError
from compiler.repository.cache import Cache
from compiler.repository.sources import LARGEST_ARCHIVE
from compiler.repository.sources.checks import Checked, archive_of, check_name

_PIECE = 1 << 18
_ATTEMPTS = 4
_FIRST_WAIT = 0.5
_SLOWEST = 1024  # bytes a second below which a transfer counts as broken
_PARTIAL, _NOTHING_LEFT = 206, 416
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_DENIED = frozenset({401, 403})
_NOT_THERE = frozenset({404, 410})


class _Broken(Exception):  # noqa: N818  (a reason to try again)
    """A transfer ended early, or the server could not answer just now."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other addresses, but never from TLS to none."""

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
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How web servers are spoken to: seconds that one may be silent, and how to wait."""

    timeout: float = 360.0
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class HttpSource:
    """Reads from one address; `auth` is luet's: a `token`, `basic`, or a `username`."""

    def __init__(self, url: str, auth: Mapping[str, str], settings: HttpSettings) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise OutsideError(f"{url}: is no address of a web server")
        host = parts.netloc.rpartition("@")[2]
        self._parts = parts._replace(netloc=host, fragment="")
        self._settings = settings
        self._authorization = _authorization(auth) or _from_address(parts.username, parts.password)
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            self._opener.add_handler(handler)

    @property
    def address(self) -> str:
        """The address, without what stands before its host and after its path."""
        return urlunsplit(self._parts._replace(query=""))

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Download a file of the repository."""
        target.unlink(missing_ok=True)
        self._download(check_name(name, self.address), target, limit)

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Download an archive into the cache, going on where the last try stopped."""
        wanted = archive_of(artifact, self.address, limit)
        known = cache.find(wanted.sha256)
        return (known or self._add(wanted, cache),)

    def _add(self, wanted: Checked, cache: Cache) -> Path:
        with cache.adding(wanted.sha256) as part:
            resumed = part.exists()
            self._download(wanted.name, part, wanted.limit)
            if resumed and _sha256(part) != wanted.sha256:  # its beginning may be of another file
                part.unlink()
                self._download(wanted.name, part, wanted.limit)
            wanted.check(_sha256(part), self.address, part)
            return cache.keep(part, wanted.sha256)

    def _download(self, name: str, target: Path, limit: int) -> None:
        """Append to `target` what it does not have yet, in as many requests as it takes."""
        for attempt in range(_ATTEMPTS):
            try:
                self._append(name, target, limit)
            except _Broken as error:
                if attempt == _ATTEMPTS - 1:
                    message = f"{self._url(name)}: {error} (tried {_ATTEMPTS} times)"
                    raise OutsideError(message, hint=error.hint) from error
                self._settings.pause(_FIRST_WAIT * 2**attempt)
            else:
                return

    def _append(self, name: str, target: Path, limit: int) -> None:
        """Ask once, for what is missing; raises `_Broken` where another try may help."""
        start = target.stat().st_size if target.exists() else 0
        try:
            with self._open(name, start) as answer:
                mode = "ab" if start and answer.status == _PARTIAL else "wb"
                with target.open(mode) as file:
                    self._copy(answer, file, limit)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _NOTHING_LEFT and start:
                target.unlink()
                raise _Broken("its length has changed") from error
            raise self._refusal(name, error) from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            raise _Broken(_reason(error), _hint(error)) from error
        except OSError as error:
            if isinstance(error, ConnectionError | socket.gaierror):
                raise _Broken(_reason(error), _hint(error)) from error
            raise OutsideError(f"{target}: {(error.strerror or str(error)).lower()}") from error

    def _copy(self, answer: http.client.HTTPResponse, file: IO[bytes], limit: int) -> None:
        clock, timeout = self._settings.clock, self._settings.timeout
        begun, count = clock(), 0
        while data := answer.read1(_PIECE):
            file.write(data)
            count += len(data)
            if file.tell() > limit:
                raise OutsideError(f"{self.address}: sends more than {limit} bytes")
            elapsed = clock() - begun
            if elapsed > timeout and count < _SLOWEST * elapsed:
                raise _Broken(f"sends less than {_SLOWEST} bytes a second")
        if answer.length:
            raise _Broken(f"ended {answer.length} bytes early")

    def _open(self, name: str, start: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url(name, whole=True))  # noqa: S310  (http or https)
        request.add_header("User-Agent", f"cos/{__version__}")
        request.add_header("Accept-Encoding", "identity")
        if start:
            request.add_header("Range", f"bytes={start}-")
        if self._authorization:  # for this host only: not sent on to where it redirects to
            request.add_unredirected_header("Authorization", self._authorization)
        answer: http.client.HTTPResponse = self._opener.open(
            request, timeout=self._settings.timeout
        )
        return answer

    def _url(self, name: str, *, whole: bool = False) -> str:
        path = f"{self._parts.path.rstrip('/')}/{quote(name, safe='+~@:')}"
        query = self._parts.query if whole else ""
        return urlunsplit(self._parts._replace(path=path, query=query))

    def _refusal(self, name: str, error: urllib.error.HTTPError) -> Exception:
        """Put an answer that is none into words."""
        url = self._url(name)
        if error.code in _PASSING:
            return _Broken(f"the server answers {error.code} {error.reason}")
        if error.code in _DENIED:
            hint = "give the repository 'auth' with a 'token', or 'username' and 'password'"
            return OutsideError(f"{url}: the server wants other credentials", hint=hint)
        if error.code in _NOT_THERE:
            return NotFoundError(f"{url}: there is no such file", hint="is this a repository?")
        return OutsideError(f"{url}: the server answers {error.code} {error.reason}")


def _authorization(auth: Mapping[str, str]) -> str:
    """Make the header out of luet's map."""
    if auth.get("token"):
        return f"token {auth['token']}"
    if auth.get("basic"):
        return f"Basic {auth['basic']}"
    return _basic(auth["username"], auth.get("password", "")) if auth.get("username") else ""


def _from_address(user: str | None, password: str | None) -> str:
    """Make the header out of `http://USER:PASSWORD@HOST`."""
    if user is None:
        return ""
    return _basic(unquote(user), unquote(password or ""))


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cause(error: Exception) -> object:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _hint(error: Exception) -> str | None:
    """Say what may help."""
    hints = (
        (ssl.SSLCertVerificationError, "SSL_CERT_FILE names the certificates that are trusted"),
        (socket.gaierror, "check the name, and that the network and its name servers work"),
        (ConnectionRefusedError, "check the port, and that the server runs"),
    )
    cause = _cause(error)
    return next((hint for kind, hint in hints if isinstance(cause, kind)), None)


def _reason(error: Exception) -> str:
    """Say why a server cannot be reached."""
    cause = _cause(error)
    if isinstance(cause, TimeoutError):
        return "the server is silent"
    if isinstance(cause, OSError):
        return (cause.strerror or str(cause)).lower()
    return str(cause) or type(cause).__name__
