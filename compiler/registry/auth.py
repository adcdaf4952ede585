"""Credentials for registries, from the files and helper programs of Docker and Podman.

The files are Docker's `config.json` and containers-auth.json(5). They are read, and helpers asked,
only once a registry wants credentials.
"""

import base64
import binascii
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compiler.errors import DeniedError, OutsideError
from compiler.oci import Reference
from compiler.process import Command, ask
from compiler.registry.settings import is_hub

HUB_KEY = "https://index.docker.io/v1/"
"""How Docker Hub is called in files with credentials."""

_LARGEST_FILE = 4 << 20
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HELPER_TIMEOUT = 60.0
"""Seconds that a helper program gets."""

HELPERS = "`credHelpers` and `credsStore` in the file with credentials name such programs"
"""What helps where a helper program fails."""

_TOKEN_USER = "<token>"  # noqa: S105  (how helpers mark that the secret is an identity token)
_NONE_THERE = ("credentials not found", "no credentials")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves who we are: a user with a secret, an identity token, or a token as it is."""

    user: str = ""
    secret: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """Return the value of the header for basic authentication."""
        text = f"{self.user}:{self.secret}".encode()
        return f"Basic {base64.b64encode(text).decode()}"


class _Auth(BaseModel):
    """One entry below `auths`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _AuthFile(BaseModel):
    """A file with credentials, as far as it is about them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    auths: dict[str, _Auth] = Field(default_factory=dict)
    helpers: dict[str, str] = Field(default_factory=dict, alias="credHelpers")
    store: str = Field(default="", alias="credsStore")


class _Answer(BaseModel):
    """What a helper prints."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: str = Field(alias="Username")
    secret: str = Field(alias="Secret")


class CredentialFiles:
    """Finds credentials in files, in their order; remembers what helpers said."""

    def __init__(self, files: Sequence[Path], environ: Mapping[str, str] | None = None) -> None:
        self._files = files
        self._environ = environ
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], Credentials | None] = {}

    def find(self, repository: Reference) -> Credentials | None:
        """Return the credentials for a repository: those for its longest prefix, if any.

        Raises `DeniedError` for a file that cannot be read or a helper that fails.
        """
        with self._lock:
            for path in self._files:
                found = self._in_file(_read(path), repository)
                if found is not None:
                    return found
        return None

    def _in_file(self, file: _AuthFile, repository: Reference) -> Credentials | None:
        """Look in one file: helpers and entries for each prefix, then the common helper."""
        helpers = {plain_key(key): helper for key, helper in file.helpers.items()}
        entries = {plain_key(key): entry for key, entry in file.auths.items()}
        for key in _keys(repository):
            helper = helpers.get(key)
            if helper:
                said = self._ask(helper, key)
                if said is not None:
                    return said
            entry = entries.get(key)
            found = None if entry is None else _decode(entry, key)
            if found is not None:
                return found
        host = HUB_KEY if is_hub(repository.registry) else repository.registry
        return self._ask(file.store, host) if file.store else None

    def _ask(self, helper: str, host: str) -> Credentials | None:
        """Ask a helper program, once for each host."""
        server = HUB_KEY if is_hub(host) else host
        if (helper, server) not in self._said:
            self._said[helper, server] = ask_helper(helper, server, self._environ)
        return self._said[helper, server]


def is_helper(name: str) -> bool:
    """Whether something can be the name of a helper program, and nothing else besides."""
    return _HELPER.fullmatch(name) is not None


def ask_helper(
    helper: str, server: str, environ: Mapping[str, str] | None = None
) -> Credentials | None:
    """Ask `docker-credential-HELPER` for the credentials of a server, None if it has none."""
    if not is_helper(helper):
        message = f"{server}: {helper!r} is no name of a credential helper"
        raise DeniedError(message, hint=HELPERS)
    program = f"docker-credential-{helper}"
    path = shutil.which(program, path=None if environ is None else environ.get("PATH"))
    command = Command(argv=(path or program, "get"), env=environ, timeout=HELPER_TIMEOUT)
    try:
        finished, said = ask(command, server.encode())
    except OutsideError as error:
        raise DeniedError(f"{server}: {error.message}", hint=error.hint) from error
    if finished.code:
        text = " ".join((said.decode(errors="replace"), *finished.tail)).strip()
        if any(sign in text.lower() for sign in _NONE_THERE):
            return None
        message = f"{server}: {program} failed with exit code {finished.code}: {text}"
        raise DeniedError(message, hint=HELPERS)
    try:
        answer = _Answer.model_validate_json(said)
    except ValidationError as error:
        raise DeniedError(f"{server}: {program} printed no credentials", hint=HELPERS) from error
    if answer.user == _TOKEN_USER:
        return Credentials(identity=answer.secret)
    return Credentials(answer.user, answer.secret)


def _read(path: Path) -> _AuthFile:
    """Read a file with credentials; one that is missing has none."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return _AuthFile()
    except OSError as error:
        hint = "check its rights, or name another file with REGISTRY_AUTH_FILE"
        raise DeniedError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    try:
        return _AuthFile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = f"{path}: no file with credentials: {place} {first['msg']}"
        raise DeniedError(message, hint="move it away: `cos login` writes one") from error


def _keys(repository: Reference) -> Iterator[str]:
    """Name the prefixes of a repository, longest first, down to its host."""
    parts = repository.repository.split("/")
    host = plain_key(repository.registry)
    for count in range(len(parts), 0, -1):
        yield "/".join((host, *parts[:count]))
    yield host


def plain_key(key: str) -> str:
    """Return what a key means: people write `HOST`, `https://HOST` or `https://HOST/v1/`."""
    name = re.sub(r"^https?://", "", key).rstrip("/")
    name = re.sub(r"/v[12]$", "", name)
    host, slash, rest = name.partition("/")
    return f"docker.io{slash}{rest}" if is_hub(host) else name


def _decode(entry: _Auth, key: str) -> Credentials | None:
    """Return what an entry holds; an empty one, as helpers leave them, holds nothing."""
    if entry.registrytoken:
        return Credentials(token=entry.registrytoken)
    if entry.identitytoken:
        return Credentials(identity=entry.identitytoken)
    if not entry.auth:
        return Credentials(entry.username, entry.password) if entry.username else None
    try:
        text = base64.b64decode(entry.auth, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        message = f"{key}: its entry in the file with credentials is damaged"
        raise DeniedError(message, hint="`cos login` writes it anew") from error
    user, _, secret = text.partition(":")
    return Credentials(user, secret.rstrip("\0"))
