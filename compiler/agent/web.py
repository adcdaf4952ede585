"""Fetches over HTTP: bounded in size and time, whatever the other side does."""

import contextlib
import http
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.agent.cloudconfig.actions import Fetch
from compiler.agent.deadline import Deadline, PlainHandler, SecureHandler
from compiler.agent.root import Root
from compiler.errors import OutsideError

_PIECE = 1 << 16
_TIMEOUT = 30.0
_LARGEST_DOWNLOAD = 64 << 30
SLOWEST = 6 * 3600.0
"""Seconds that a large transfer may take."""

_AGENT = "cos-agent"
_ERRORS = (http.client.HTTPException, ValueError, OSError)
_SCHEMES = ("http://", "https://")


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


class _Follow(urllib.request.HTTPRedirectHandler):
    """Follows redirections to other web servers, but tells those no secret."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        *answer: Any,  # noqa: ANN401  (as the library has it)
    ) -> urllib.request.Request | None:
        to: urllib.request.Request | None = super().redirect_request(req, *answer)
        if to is None or not to.full_url.startswith(_SCHEMES):
            return None
        if to.host != req.host:
            to.remove_header("Authorization")
        return to


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


def length(url: str) -> int | None:
    """Return how many bytes an address has, None if the server does not say; raises `OutsideError`.

    The answer is not read: not every server tells that without one.
    """
    with _answer(Request(url=url)) as (answer, _):
        return answer.length


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
def _answer(request: Request) -> Iterator[tuple[http.client.HTTPResponse, Deadline]]:
    if not request.url.startswith(_SCHEMES):
        raise OutsideError(f"{request.url}: only http and https are fetched")
    deadline = Deadline(request.whole)
    with deadline.running():
        try:
            answer = _opened(request, deadline)
        except _ERRORS as error:
            raise _failure(request, error, deadline) from error
        with answer:
            yield answer, deadline


def _opened(request: Request, deadline: Deadline) -> http.client.HTTPResponse:
    """Send a request; returns the answer when its headers are there."""
    handlers: list[urllib.request.BaseHandler] = [PlainHandler(deadline), _Follow()]
    if request.url.startswith("https:") or not request.direct:
        handlers.append(SecureHandler(deadline))
    if request.direct:
        handlers = [*handlers, urllib.request.ProxyHandler({}), _Stay()]
    sent = urllib.request.Request(  # noqa: S310  (the scheme was checked)
        request.url,
        data=request.body,
        headers={"User-Agent": _AGENT, **request.headers},
        method=request.method,
    )
    opener = urllib.request.build_opener(*handlers)
    answer: http.client.HTTPResponse = opener.open(sent, timeout=request.timeout)
    return answer


def _failure(request: Request, error: Exception, deadline: Deadline) -> OutsideError:
    """Say in one line why there is no answer."""
    if deadline.passed:
        return _late(request)
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        said = f"{request.url}: answers {error.code} {error.reason}"
        if error.code != http.HTTPStatus.UNAUTHORIZED:
            return OutsideError(said)
        refused = Refused(said)
        refused.challenge = error.headers.get("WWW-Authenticate", "")
        return refused
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return OutsideError(f"{request.url}: no answer for {request.timeout:g} seconds")
    return OutsideError(f"{request.url}: {getattr(reason, 'strerror', None) or reason}")


def _late(request: Request) -> OutsideError:
    return OutsideError(f"{request.url}: took longer than {request.whole:g} seconds")


def _pieces(
    opened: tuple[http.client.HTTPResponse, Deadline], request: Request, limit: int
) -> Iterator[bytes]:
    """Read an answer to its end, within bounds of size and time."""
    answer, deadline = opened
    size = 0
    while True:
        try:
            piece = answer.read1(_PIECE)
        except _ERRORS as error:
            raise _failure(request, error, deadline) from error
        if not piece:
            break
        size += len(piece)
        if size > limit:
            raise OutsideError(f"{request.url}: is larger than {limit} bytes")
        yield piece
    if deadline.passed:
        raise _late(request)
    if answer.length:
        raise OutsideError(f"{request.url}: ends {answer.length} bytes too early")
