"""Fetches over HTTP: bounded in size and time, whatever the other side does."""

import contextlib
import http
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from compiler.agent.cloudconfig.actions import Fetch
from compiler.agent.root import Root
from compiler.errors import OutsideError

_PIECE = 1 << 16
_TIMEOUT = 30.0
_LARGEST_DOWNLOAD = 64 << 30
SLOWEST = 6 * 3600.0
"""Seconds that a large transfer may take."""

_AGENT = "cos-agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked: seconds for each answer of the network, and for the whole."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: bytes | None = None
    timeout: float = _TIMEOUT
    whole: float = 4 * _TIMEOUT
    direct: bool = False
    """Whether only the named server may answer: no proxy, and none that it refers to."""


class Refused(OutsideError):  # noqa: N818  (what the server did)
    """The server wants to know who asks; `challenge` says how to tell it."""

    challenge = ""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


def fetch(url: str, limit: int) -> bytes:
    """Fetch a small file; raises `OutsideError`."""
    return ask(Request(url=url), limit)


def ask(request: Request, limit: int) -> bytes:
    """Return the answer to a request, of at most `limit` bytes; raises `OutsideError`."""
    return b"".join(stream(request, limit))


def stream(request: Request, limit: int) -> Iterator[bytes]:
    """Give the answer to a request piece by piece; raises `OutsideError`."""
    with _answer(request) as answer:
        yield from _pieces(answer, request, limit)


def download(action: Fetch, root: Root) -> None:
    """Fetch a file straight to its place, which it gets when it is complete."""
    request = Request(url=action.url, timeout=action.timeout, whole=SLOWEST)
    with (
        _answer(request) as answer,
        root.spot(action.path, parents=action.parents) as spot,
        root.replacing(spot, mode=action.mode, owner=action.owner) as handle,
    ):
        for piece in _pieces(answer, request, _LARGEST_DOWNLOAD):
            view = memoryview(piece)
            while view:
                view = view[os.write(handle, view) :]


@contextlib.contextmanager
def _answer(request: Request) -> Iterator[http.client.HTTPResponse]:
    if not request.url.startswith(("http://", "https://")):
        raise OutsideError(f"{request.url}: only http and https are fetched")
    handlers: list[urllib.request.BaseHandler] = []
    if request.direct:
        handlers = [urllib.request.ProxyHandler({}), _Stay()]
    opener = urllib.request.build_opener(*handlers)
    try:
        sent = urllib.request.Request(  # noqa: S310  (the scheme was checked)
            request.url,
            data=request.body,
            headers={"User-Agent": _AGENT, **request.headers},
            method=request.method,
        )
        with opener.open(sent, timeout=request.timeout) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        kind = Refused if error.code == http.HTTPStatus.UNAUTHORIZED else OutsideError
        failure = kind(f"{request.url}: answers {error.code} {error.reason}")
        if isinstance(failure, Refused):
            failure.challenge = error.headers.get("WWW-Authenticate", "")
        raise failure from error
    except (urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise OutsideError(f"{request.url}: {reason}") from error
    except TimeoutError as error:
        raise OutsideError(f"{request.url}: no answer for {request.timeout:g} seconds") from error
    except ConnectionError as error:
        raise OutsideError(f"{request.url}: {error.strerror or error}") from error


def _pieces(answer: http.client.HTTPResponse, request: Request, limit: int) -> Iterator[bytes]:
    """Read an answer to its end, within bounds of size and time."""
    started = time.monotonic()
    size = 0
    while piece := answer.read1(_PIECE):
        size += len(piece)
        if size > limit:
            raise OutsideError(f"{request.url}: is larger than {limit} bytes")
        if time.monotonic() - started > request.whole:
            raise OutsideError(f"{request.url}: took longer than {request.whole:g} seconds")
        yield piece
    if answer.length:
        raise OutsideError(f"{request.url}: ends {answer.length} bytes too early")
