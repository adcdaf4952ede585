"""Keeps credentials for registries where Docker keeps them: in its `config.json`, or by a helper.

The other contents of the file stay. Helper programs read what docker-credential-helpers tells
(`store` a JSON object, `erase` the name of a server).
"""

import base64
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from compiler.errors import DeniedError, OutsideError, unwritable
from compiler.process import Command, ask
from compiler.registry.auth import (
    HELPER_TIMEOUT,
    HELPERS,
    HUB_KEY,
    Credentials,
    is_helper,
    plain_key,
)
from compiler.registry.settings import is_hub

_PRIVATE = 0o700
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """Where credentials were put: the file, and the helper program that has the secret, or ""."""

    path: Path
    helper: str = ""


def keep_login(
    path: Path, host: str, login: Credentials, environ: Mapping[str, str] | None = None
) -> Kept:
    """Keep the credentials of a registry for all who read the file; raises `OutsideError`.

    A helper that the file names for the registry gets them; the file then has an empty entry.
    """
    config = _read(path)
    key = _key(host)
    helper = _helper(config, host)
    entry: dict[str, object] = {}
    if helper:
        said = {"ServerURL": key, "Username": login.user, "Secret": login.secret}
        _tell(helper, "store", json.dumps(said).encode(), environ)
    else:
        entry["auth"] = login.basic.partition(" ")[2]
    _write(path, {**config, "auths": {**_without(config, host), key: entry}})
    return Kept(path, helper)


def forget_login(path: Path, host: str, environ: Mapping[str, str] | None = None) -> bool:
    """Remove the credentials of a registry; returns whether there were any in the file."""
    config = _read(path)
    helper = _helper(config, host)
    if helper:
        _tell(helper, "erase", _key(host).encode(), environ)
    left = _without(config, host)
    was_there = len(left) < len(_table(config, "auths"))
    if was_there:
        _write(path, {**config, "auths": left})
    return was_there


def login_file(folder: Path, host: str, login: Credentials) -> Path:
    """Write a file with the credentials of one registry alone, to try them."""
    path = folder / "config.json"
    secret = base64.b64encode(f"{login.user}:{login.secret}".encode()).decode()
    _write(path, {"auths": {_key(host): {"auth": secret}}})
    return path


def _key(host: str) -> str:
    """Name a registry as Docker does; only its own has another name."""
    return HUB_KEY if is_hub(host) else host


def _without(config: Mapping[str, object], host: str) -> dict[str, object]:
    """Return the entries of all other registries, in whatever way this one is written."""
    own = plain_key(_key(host))
    return {key: each for key, each in _table(config, "auths").items() if plain_key(key) != own}


def _helper(config: Mapping[str, object], host: str) -> str:
    """Find the helper of a registry: its own, or the one of all."""
    own = plain_key(_key(host))
    named = {plain_key(key): str(each) for key, each in _table(config, "credHelpers").items()}
    helper = named.get(own) or str(config.get("credsStore") or "")
    if helper and not is_helper(helper):
        message = f"{host}: {helper!r} is no name of a credential helper"
        raise DeniedError(message, hint=HELPERS)
    return helper


def _table(config: Mapping[str, object], name: str) -> dict[str, object]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _tell(helper: str, action: str, text: bytes, environ: Mapping[str, str] | None) -> None:
    """Let a helper store or erase something; raises `OutsideError` if it fails."""
    program = f"docker-credential-{helper}"
    path = shutil.which(program, path=None if environ is None else environ.get("PATH"))
    command = Command(argv=(path or program, action), env=environ, timeout=HELPER_TIMEOUT)
    finished, said = ask(command, text)
    if finished.code:
        told = " ".join((said.decode(errors="replace"), *finished.tail)).strip()
        message = f"{program} {action} failed with exit code {finished.code}: {told}"
        raise OutsideError(message, hint=HELPERS)


def _read(path: Path) -> dict[str, object]:
    """Read the file, all that is in it; a missing one is empty."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_LARGEST))
    except FileNotFoundError:
        return {}
    except OSError as error:
        hint = "check its rights, or name another file with REGISTRY_AUTH_FILE"
        raise OutsideError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise DeniedError(f"{path}: is no file with credentials", hint="it is not JSON") from error
    if not isinstance(value, dict):
        raise DeniedError(f"{path}: is no file with credentials", hint="it holds no object")
    return value


def _write(path: Path, config: Mapping[str, object]) -> None:
    """Write the file, whole or not at all, for its owner alone; a link to it stays one."""
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(_PRIVATE, parents=True, exist_ok=True)
        with NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                json.dump(config, file, indent="\t")
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise unwritable(path, error) from error
