"""Asks metadata services: short answers, from the one address that has them, within seconds."""

import http.client
import json
import random
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from compiler.agent import web
from compiler.agent.cloudconfig.datasource import NothingError
from compiler.errors import OutsideError

SMALL = 64 << 10
"""Bytes of one answer about the machine."""

LARGE = 16 << 20
"""Bytes of user data."""

_TIMEOUT = 2.0
_WHOLE = 10.0
_MOST_KEYS = 100
_PRIVILEGED = range(1, 1024)
_TRIES = 20


@dataclass(frozen=True)
class Service:
    """A metadata service at an address."""

    base: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def get(self, path: str, limit: int = SMALL) -> bytes:
        """Return an answer; raises `OutsideError`."""
        return web.ask(self._request(f"{self.base}{path}"), limit)

    def text(self, path: str) -> str:
        """Return an answer of one line or more, without the white space around it."""
        return printable(self.get(path).decode("utf-8", "replace"))

    def optional(self, path: str) -> str:
        """Return an answer, or nothing if there is none."""
        try:
            return self.text(path)
        except OutsideError:
            return ""

    def userdata(self, path: str) -> bytes:
        """Return user data, or nothing if there is none."""
        try:
            return self.get(path, LARGE)
        except OutsideError:
            return b""

    def object(self, path: str) -> Mapping[str, object]:
        """Return an answer in JSON; raises `NothingError` if it is no object."""
        value = parsed(self.get(path, LARGE))
        if not isinstance(value, dict):
            raise NothingError(f"{self.base}{path}: answers no JSON object")
        return value

    def send(self, path: str, method: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Send something; returns the answer."""
        request = web.Request(
            url=f"{self.base}{path}",
            headers={**self.headers, **headers},
            method=method,
            body=body,
            timeout=_TIMEOUT,
            whole=_WHOLE,
            direct=True,
        )
        return web.ask(request, SMALL).decode("utf-8", "replace")

    def facts(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Ask for several things, by the names of the files that they go to."""
        answers = ((name, self.optional(path)) for name, path in paths.items())
        return {name: answer for name, answer in answers if answer}

    def privileged(self, path: str) -> bytes:
        """Ask from a port that only root can have, and by that prove to be root."""
        address = urllib.parse.urlsplit(self.base)
        for port in random.sample(_PRIVILEGED, _TRIES):
            try:
                return _ask_from(port, address, path)
            except (OSError, http.client.HTTPException):
                continue
        return b""

    def _request(self, url: str) -> web.Request:
        return web.Request(
            url=url, headers=self.headers, timeout=_TIMEOUT, whole=_WHOLE, direct=True
        )


def _ask_from(port: int, address: urllib.parse.SplitResult, path: str) -> bytes:
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=_TIMEOUT, source_address=("", port)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read(LARGE + 1)
    finally:
        connection.close()
    return data if answer.status == http.HTTPStatus.OK and len(data) <= LARGE else b""


def parsed(data: bytes) -> object:
    """Read JSON; None for what is none."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value


def printable(text: str) -> str:
    """Strip a text, and make it fit for a file and a message."""
    return "".join(each for each in text.strip() if each.isprintable() or each in "\n\t")


def lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text that say something, as keys are listed."""
    found = (each.strip() for each in printable(text).splitlines())
    return tuple(each for each in found if each)[:_MOST_KEYS]


def texts(value: object) -> Iterator[str]:
    """Go through a list of JSON for its texts."""
    for each in (value if isinstance(value, list) else [])[:_MOST_KEYS]:
        if isinstance(each, str):
            yield printable(each)


def at(value: object, *path: str | int) -> object:
    """Walk into JSON; None where there is nothing."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def text_at(value: object, *path: str | int) -> str:
    """Walk into JSON for a text; nothing if it is no text there."""
    found = at(value, *path)
    return printable(found) if isinstance(found, str) else ""
