"""What a registry wants to see before it answers: a password, or a token from its token server.

RFC 9110 section 11.6.1 and Docker's token authentication: a registry answers 401 with where tokens
are to be had; they are fetched with the user's credentials or anonymously, kept until they expire,
and shown from then on.
"""

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compiler.errors import DeniedError, RegistryError
from compiler.oci import Reference
from compiler.registry.auth import CredentialFiles, Credentials
from compiler.registry.failure import LOGIN

LARGEST_ANSWER = 1 << 20
_PARAMETER = re.compile(
    r"(?:(?P<scheme>[A-Za-z][\w-]*)\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s,"]+))'
)
_UNKNOWN = "passwords and tokens are known; a proxy before the registry may ask for others"
_SHORTEST_LIFE = 60.0
_LONGEST_LIFE = 86400.0
_USED_UP = 0.9


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a registry wants to be convinced: `Basic`, or `Bearer` with where tokens come from."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to a token server: a GET, or a POST where there is a form."""

    url: str
    authorization: str = ""
    form: str = ""


class _Token(BaseModel):
    """What a token server answers."""

    model_config = ConfigDict(extra="ignore")

    token: str = Field(default="", max_length=1 << 16)
    access_token: str = Field(default="", max_length=1 << 16)
    expires_in: float | None = None


Fetch = Callable[[Reference, TokenRequest], bytes]
"""Asks a token server; raises `DeniedError` where it refuses."""


class Gate:
    """Knows for one registry which header opens it; every thread may use it."""

    def __init__(
        self, credentials: CredentialFiles, fetch: Fetch, clock: Callable[[], float]
    ) -> None:
        self._credentials = credentials
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self._known: dict[str, Credentials | None] = {}

    def header(self, repository: Reference, scope: str) -> str:
        """Return the value of the Authorization header, "" as long as none was asked for."""
        with self._lock:
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                return self._basic(repository)
            return f"Bearer {self._token(repository, merge_scopes(scope))}"

    def challenged(self, repository: Reference, scope: str, *, asked: str, shown: str) -> str:
        """Return the header to try next, after the registry did not accept `shown`.

        Raises `DeniedError` when there is nothing else to try.
        """
        challenge = parse_challenges(asked)
        with self._lock:
            if challenge is None:
                what = "the registry wants credentials of no known kind"
                raise DeniedError(f"{repository}: {what}", hint=_UNKNOWN)
            self._challenge = challenge
            if challenge.scheme == "basic":
                header = self._basic(repository)
                if header == shown:
                    raise self._refused(repository)
                return header
            wanted = merge_scopes(scope, challenge.scope)
            old = self._tokens.get((repository.repository, wanted))
            if old is not None and f"Bearer {old[0]}" == shown:
                del self._tokens[repository.repository, wanted]
            token = self._token(repository, wanted)
            self._tokens[repository.repository, merge_scopes(scope)] = self._tokens[
                repository.repository, wanted
            ]
            return f"Bearer {token}"

    def denied(self, repository: Reference) -> DeniedError:
        """Make the error for a registry that does not accept a fresh header either."""
        with self._lock:
            return self._refused(repository)

    def _basic(self, repository: Reference) -> str:
        """Return the header with user and password."""
        found = self._find(repository)
        if found is None or not found.user:
            raise self._refused(repository)
        return found.basic

    def _token(self, repository: Reference, scope: str) -> str:
        """Return a token that is good for a while, from memory or from the token server."""
        found = self._find(repository)
        if found is not None and found.token:
            return found.token
        key = (repository.repository, scope)
        kept = self._tokens.get(key)
        if kept is None or kept[1] <= self._clock():
            kept = self._tokens[key] = self._fetch_token(repository, scope, found)
        return kept[0]

    def _fetch_token(
        self, repository: Reference, scope: str, credentials: Credentials | None
    ) -> tuple[str, float]:
        """Ask the token server; returns the token, and until when it is used."""
        if self._challenge is None:
            raise AssertionError
        since = self._clock()
        data = self._fetch(repository, token_request(self._challenge, scope, credentials))
        try:
            answer = _Token.model_validate_json(data)
        except ValidationError as error:
            raise _no_token(repository) from error
        token = answer.token or answer.access_token
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise _no_token(repository)
        life = min(max(answer.expires_in or 0.0, _SHORTEST_LIFE), _LONGEST_LIFE)
        return token, since + life * _USED_UP

    def _find(self, repository: Reference) -> Credentials | None:
        """Look up the credentials for a repository, once."""
        if repository.repository not in self._known:
            self._known[repository.repository] = self._credentials.find(repository)
        return self._known[repository.repository]

    def _refused(self, repository: Reference) -> DeniedError:
        """Say that credentials are missing, or which were refused."""
        found = self._find(repository)
        if found is None:
            what = "the registry wants credentials, or has no such repository"
            return DeniedError(f"{repository}: {what}", hint=LOGIN)
        whose = f"of {found.user!r}" if found.user else "that were found"
        what = f"the registry does not accept the credentials {whose} for this"
        return DeniedError(f"{repository}: {what}", hint=LOGIN)


def _no_token(repository: Reference) -> RegistryError:
    """Say that a token server answered with something else."""
    hint = "something on the way may answer in its place: a proxy, or the login page of a network"
    return RegistryError(f"{repository}: the token server sent no token", hint=hint)


def parse_challenges(text: str) -> Challenge | None:
    """Choose among the challenges of a WWW-Authenticate header: tokens before passwords."""
    found: dict[str, dict[str, str]] = {}
    if re.match(r"\s*basic\b", text, re.IGNORECASE):
        found["basic"] = {}
    scheme = ""
    for match in _PARAMETER.finditer(text):
        scheme = (match["scheme"] or scheme).lower()
        value = re.sub(r"\\(.)", r"\1", match["quoted"] or "") or match["word"] or ""
        found.setdefault(scheme, {}).setdefault(match["name"].lower(), value)
    bearer = found.get("bearer", {})
    if bearer.get("realm"):
        return Challenge(
            "bearer", bearer["realm"], bearer.get("service", ""), bearer.get("scope", "")
        )
    return Challenge("basic") if "basic" in found else None


def token_request(
    challenge: Challenge, scope: str, credentials: Credentials | None
) -> TokenRequest:
    """Write the request to a token server (OAuth2 for identity tokens, else with a password)."""
    fields = [("service", challenge.service)] if challenge.service else []
    if credentials is not None and credentials.identity:
        form = [
            ("grant_type", "refresh_token"),
            *fields,
            ("client_id", "cos"),
            ("scope", scope),
            ("refresh_token", credentials.identity),
        ]
        return TokenRequest(challenge.realm, form=urlencode(form))
    fields += [("scope", each) for each in scope.split()]
    if credentials is not None and credentials.user:
        fields.append(("account", credentials.user))
    mark = "&" if "?" in challenge.realm else "?"
    url = f"{challenge.realm}{mark}{urlencode(fields)}" if fields else challenge.realm
    basic = credentials.basic if credentials is not None and credentials.user else ""
    return TokenRequest(url, authorization=basic)


def repository_scope(repository: Reference, actions: str) -> str:
    """Write what is to be done with a repository in the words of token servers."""
    return f"repository:{repository.repository}:{actions}"


def merge_scopes(*scopes: str) -> str:
    """Join scopes into one, sorted: each resource once, with all that is to be done with it."""
    actions: dict[str, set[str]] = {}
    for each in " ".join(scopes).split():
        resource, _, wanted = each.rpartition(":")
        actions.setdefault(resource, set()).update(_words(wanted.split(",")))
    return " ".join(f"{name}:{','.join(sorted(words))}" for name, words in sorted(actions.items()))


def _words(words: Iterable[str]) -> Iterable[str]:
    """Leave out what is empty."""
    return (word for word in words if word)
