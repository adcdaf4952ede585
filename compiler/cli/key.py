"""`cos key`: makes key pairs to sign with; and how commands are told which keys to use."""

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from compiler.errors import TrustError, UsageError
from compiler.signing.keys import (
    PrivateKey,
    PublicKey,
    generate,
    parse_private_key,
    parse_public_key,
    read_private_key,
    read_public_key,
    write_key_pair,
)

_Key = TypeVar("_Key", PrivateKey, PublicKey)

_PASSWORD = "COSIGN_PASSWORD"  # noqa: S105  (the name of a variable)
_ENVIRONMENT = "env://"

app = typer.Typer(
    add_completion=False, help="Key pairs to sign and verify with.", no_args_is_help=True
)

_Output = Annotated[Path, typer.Option("--output", help="What the two files are called.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace a key that is there.")]
_Source = Annotated[str, typer.Option("--key", help="A private key: a file, or env://NAME.")]


@app.command("generate")
def make(*, output: _Output = Path("cosign"), force: _Force = False) -> None:
    """Make a key pair as the cosign program does: PREFIX.key, under a password, and PREFIX.pub.

    The password is asked for, or taken from COSIGN_PASSWORD.
    """
    write_key_pair(generate(), output, password=_new_password(), force=force)
    for end in ("key", "pub"):
        typer.echo(f"{output}.{end}")


@app.command("public")
def public(*, key: _Source) -> None:
    """Print the public half of a private key."""
    typer.echo(signing_key(key).public.pem.decode(), nl=False)


def signing_key(source: str) -> PrivateKey:
    """Read the private key that an option names, asking for its password if it has one."""
    ask = partial(_password, source)
    return _key(
        source, lambda path: read_private_key(path, ask), lambda text: parse_private_key(text, ask)
    )


def public_keys(sources: Sequence[str]) -> tuple[PublicKey, ...]:
    """Read the public keys that an option names."""
    return tuple(_key(source, read_public_key, parse_public_key) for source in sources)


def _key(source: str, read: Callable[[Path], _Key], parse: Callable[[bytes], _Key]) -> _Key:
    """Read a key from a file, or from the variable that `env://NAME` names, as cosign has it."""
    if not source.startswith(_ENVIRONMENT):
        return read(Path(source))
    name = source.removeprefix(_ENVIRONMENT)
    text = os.environ.get(name)
    if not text:
        raise UsageError(f"--key {source}: the variable {name} is not set")
    try:
        return parse(text.encode())
    except TrustError as error:
        raise TrustError(f"{source}: {error.message}", hint=error.hint) from error


def _password(source: str) -> bytes:
    """Ask for the password of a key."""
    given = os.environ.get(_PASSWORD)
    return given.encode() if given is not None else _typed(f"Password of {source}: ")


def _new_password() -> bytes:
    """Ask for the password that a new key gets, twice."""
    given = os.environ.get(_PASSWORD)
    if given is not None:
        return given.encode()
    first = _typed("Password for the private key (empty: none): ")
    if _typed("The same again: ") != first:
        raise UsageError("the two passwords differ, no key was made")
    return first


def _typed(prompt: str) -> bytes:
    """Let a person type a password, unseen."""
    if not sys.stdin.isatty():
        hint = f"{_PASSWORD} holds it where there is no terminal; it may be empty"
        raise UsageError("the password of the key cannot be asked for", hint=hint)
    return getpass.getpass(prompt).encode()
