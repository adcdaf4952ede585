"""What went wrong with a request, and whether to try again: decided here, acted on elsewhere."""

import errno
import random
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError

from compiler.errors import (
    DeniedError,
    NotFoundError,
    RegistryError,
    SilentError,
    UnansweredError,
)
from compiler.registry.settings import RegistrySettings

Pause = Callable[[float], object]
"""Waits some seconds."""

_LONGEST_SAID = 300
_OFTEN = 1000
_TWICE = 2
_FEW = 3
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RATE_LIMITED = 429
_SERVER_FAULT = 500
_DENIED = (401, 403)
_NOT_FOUND = 404
_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
"""Also said for a moment while somebody else stores the same content once more."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


SPOILED = "a proxy on the way may spoil what comes; else the registry is damaged: push it again"
"""What helps where what came is not what it should be."""


class Passing(Exception):  # noqa: N818  (it is caught, and becomes an error only when it stays)
    """Something failed that may succeed when it is tried again, at most `tries` times in all."""

    def __init__(
        self,
        reason: str,
        *,
        tries: int = _OFTEN,
        wait: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tries = tries
        self.wait = wait
        self.hint = hint


class Doubtful(Passing):
    """An answer that is wrong: asked for once more, in case that only the way damaged it."""

    def __init__(self, reason: str, hint: str = SPOILED) -> None:
        super().__init__(reason, tries=_TWICE, hint=hint)


class Silent(Passing):
    """Nobody was there who could be asked, or nobody said a word."""


class Untrusted(Passing):
    """A certificate that nobody vouches for: the host speaks TLS, and is perhaps another one."""


@dataclass(slots=True)
class Retries:
    """Counts the attempts at one thing, and waits between them: longer each time, with jitter."""

    settings: RegistrySettings
    pause: Pause
    subject: str
    attempts: int = 0
    """How many there are; 0 for as many as the settings allow."""
    failures: int = 0
    doubts: int = 0
    """How many of them were of a kind that is not tried often."""

    def again(self, fault: Passing) -> None:
        """Wait until the next attempt is due; raises `UnansweredError` when there is none."""
        self.failures += 1
        self.doubts += fault.tries < _OFTEN
        wait = self._wait(fault)
        over = self.failures >= (self.attempts or self.settings.attempts)
        if over or self.doubts >= fault.tries or wait > self.settings.longest_wait:
            tried = f" (tried {self.failures} times)" if self.failures > 1 else ""
            message = f"{self.subject}: {fault.reason}{tried}"
            kind = SilentError if isinstance(fault, Silent) else UnansweredError
            raise kind(message, hint=fault.hint) from fault
        self.pause(wait)

    def progressed(self) -> None:
        """Count from the beginning: something was achieved since the last failure."""
        self.failures = 0

    def _wait(self, fault: Passing) -> float:
        """Decide how long to wait: what the registry asks for, else twice as long as before."""
        if fault.wait is not None:
            return fault.wait
        longest: float = self.settings.first_wait * 2 ** (self.failures - 1)
        half = min(longest, self.settings.longest_wait) / 2
        return half + random.uniform(0, half)  # noqa: S311  (spreads clients, guards nothing)


class _Said(BaseModel):
    """One line of what a registry says is wrong (OCI Distribution Specification, Error Codes)."""

    model_config = ConfigDict(extra="ignore")

    code: str = ""
    message: str | None = ""


class _Errors(BaseModel):
    """The body of an error."""

    model_config = ConfigDict(extra="ignore")

    errors: list[_Said]


def is_registry_error(data: bytes) -> bool:
    """Tell whether a body is one that only registries send."""
    return bool(_errors(data))


def refused(subject: str, status: int, headers: Mapping[str, str], data: bytes) -> Exception:
    """Make the error for an answer that is none of those asked for; `Passing` to try again."""
    said = words(data)
    if status in _PASSING:
        wait = retry_after(headers.get("Retry-After", ""))
        if status == _RATE_LIMITED:
            later = f"; it asks to wait {wait:.0f} s" if wait else ""
            hint = "log in to be allowed more, or try again later"
            return Passing(f"the registry limits requests{later}{said}", wait=wait, hint=hint)
        hint = "try again later; if it stays, the registry's own log says why"
        return Passing(f"the registry failed with {status}{said}", wait=wait, hint=hint)
    if status in _DENIED:
        what = "wants credentials" if status == _DENIED[0] else "forbids it"
        return DeniedError(f"{subject}: the registry {what}{said}", hint=LOGIN)
    if any(each.code == _BLOB_UNKNOWN for each in _errors(data)):
        reason = f"the registry does not see all parts of it{said}"
        return Passing(reason, tries=_FEW, hint="its storage may lag behind: push it again")
    if status == _NOT_FOUND:
        return NotFoundError(f"{subject}: the registry does not have it{said}", hint=ABSENT)
    kind = "failed" if status >= _SERVER_FAULT else "answered"
    message = f"{subject}: the registry {kind} with {status}{said}"
    return RegistryError(message, hint=_REFUSALS.get(status, _REFUSED))


ABSENT = "check how it is written; what is private may look absent as long as nobody logs in"
"""What helps where a registry does not have something."""

_REFUSED = "the registry's own log, or what stands before it, says why"
_REFUSALS = {
    405: "the registry, or this repository, may be for reading only",
    413: "what stands before the registry limits the size of uploads: have it raised",
    507: "the registry has no room left: have it cleaned up",
    511: "this network wants a login first: open any page in a browser",
}

LOGIN = "`cos login`, `docker login` or a file named by REGISTRY_AUTH_FILE gives credentials"
"""What helps where credentials are missing or wrong."""


def retry_after(text: str) -> float | None:
    """Read how long a server wants to be left alone, in seconds (RFC 9110, section 10.2.3)."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        when = parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def broken(error: Exception, host: str) -> Passing:
    """Say what a failed connection means, and how often it is worth another attempt."""
    roots = tuple(_roots(error))
    for root in roots:
        known = _known(root, host)
        if known is not None:
            return known
    if any(isinstance(root, _TIMEOUTS) for root in roots):
        hint = "check that it runs, and that no firewall is in between"
        return Silent(f"{host} does not answer", hint=hint)
    if isinstance(error, requests.exceptions.ProxyError):
        return Passing("the proxy does not let us through", tries=_TWICE, hint="check HTTPS_PROXY")
    if isinstance(error, _BAD_ADDRESS):
        hint = "check how it is written: HOST[:PORT]/NAME"
        return Passing(f"{host} is no address that can be asked", tries=1, hint=hint)
    hint = "check the network, and what is in between: a proxy, or a firewall"
    return Passing(f"the connection to {host} broke", hint=hint)


_TIMEOUTS = (TimeoutError, urllib3.exceptions.TimeoutError, requests.exceptions.Timeout)
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_BAD_ADDRESS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError)


def _known(root: BaseException, host: str) -> Passing | None:
    """Explain the causes that a person can do something about."""
    if isinstance(root, ssl.SSLCertVerificationError):
        reason = f"the certificate of {host} is not trusted: {root.verify_message}"
        return Untrusted(reason, tries=1, hint=_certificate_hint(root, host))
    if isinstance(root, ssl.SSLError) and not isinstance(root, ssl.SSLEOFError):
        what = (root.reason or "failed").replace("_", " ").lower()
        hint = "a registry without TLS has to be named as insecure"
        return Passing(f"TLS with {host} failed: {what}", tries=1, hint=hint)
    if isinstance(root, socket.gaierror):
        tries = _TWICE if root.errno == socket.EAI_AGAIN else 1
        hint = "check the name, and that the network and its name servers work"
        return Silent(f"the host {host} is unknown", tries=tries, hint=hint)
    if isinstance(root, ConnectionRefusedError):
        hint = "check the port, and that the registry runs"
        return Silent(f"{host} refused the connection", tries=_FEW, hint=hint)
    if isinstance(root, OSError) and root.errno in _NO_WAY:
        hint = "check that this machine is on the network, and the way to that host"
        return Silent(f"there is no way to {host}: {root.strerror}", tries=_TWICE, hint=hint)
    return None


def _certificate_hint(error: ssl.SSLCertVerificationError, host: str) -> str:
    """Say what helps against a certificate that is not trusted (the codes of OpenSSL's X509_V)."""
    if error.verify_code in _TIMES:
        return "check the clock of this machine; if it is right, the registry needs a new one"
    if error.verify_code in _NAMES:
        return "ask for it by a name that its certificate has, or have its certificate made anew"
    return f"put its authority into /etc/docker/certs.d/{host}/ca.crt or SSL_CERT_FILE"


_TIMES = frozenset({9, 10})
_NAMES = frozenset({62, 64})


def _roots(error: BaseException) -> Iterator[BaseException]:
    """Walk through what an error wraps, as `requests` and `urllib3` do it; the outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]


def _errors(data: bytes) -> list[_Said]:
    """Read the errors in a body; none if it is not a registry's."""
    try:
        return [each for each in _Errors.model_validate_json(data).errors if each.code]
    except ValidationError:
        return []


def words(data: bytes) -> str:
    """Return what a registry says, fit for one line of a terminal."""
    said = "; ".join(each.message or each.code for each in _errors(data)[:3])
    said = _CONTROL.sub(" ", said).strip()[:_LONGEST_SAID]
    return f": {said}" if said else ""
