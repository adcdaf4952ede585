"""`cos login` and `cos logout`: credentials for registries, kept where Docker keeps them."""

import getpass
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.registries import registry_settings, scratch_folder
from compiler.cli.settings import Settings
from compiler.errors import ImageError, UsageError
from compiler.oci import parse_repository
from compiler.registry.auth import Credentials
from compiler.registry.client import RegistryClient
from compiler.registry.login import forget_login, keep_login, login_file
from compiler.registry.settings import RegistrySettings

app = typer.Typer(add_completion=False, help="Credentials for registries.", no_args_is_help=True)

_Registry = Annotated[str, typer.Argument(help="HOST[:PORT]; docker.io is Docker Hub.")]


@app.command("login")
def login(
    context: typer.Context,
    registry: _Registry,
    *,
    user: Annotated[str, typer.Option("-u", "--username", help="Who logs in.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Try credentials, and keep them for `cos`, docker and others that read Docker's file.

    They are kept by the helper program that the file names for the registry, if it does.
    """
    host = _host(registry)
    known = registry_settings(context.obj or Settings())
    tried = Credentials(user, _password(user, host, from_stdin=password_stdin))
    with scratch_folder() as folder:
        settings = replace(known, auth_files=(login_file(folder, host, tried),))
        with RegistryClient(settings) as client:
            client.check_login(host)
    kept = keep_login(_file(known), host, tried, os.environ)
    where = f"docker-credential-{kept.helper}" if kept.helper else str(kept.path)
    typer.echo(f"{host}: logged in as {user}; kept in {where}")


@app.command("logout")
def logout(context: typer.Context, registry: _Registry) -> None:
    """Forget the credentials of a registry."""
    host = _host(registry)
    was_there = forget_login(_file(registry_settings(context.obj or Settings())), host, os.environ)
    typer.echo(f"{host}: logged out" if was_there else f"{host}: nobody was logged in")


def _host(text: str) -> str:
    """Read the name of a registry; an address that people copy from a browser is one, too."""
    name = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    try:
        found = parse_repository(f"{name}/any").registry
    except ImageError as error:
        raise UsageError(f"REGISTRY: {error.message}") from error
    if "/" in name or (found == "docker.io" and name != "docker.io"):
        raise UsageError(f"REGISTRY is HOST[:PORT], not {text[:100]!r}")
    return found


def _file(settings: RegistrySettings) -> Path:
    """Return the file in which credentials are kept: the first that is read."""
    if not settings.auth_files:
        hint = "REGISTRY_AUTH_FILE names a file"
        raise UsageError("there is no home folder to keep credentials in", hint=hint)
    return settings.auth_files[0]


def _password(user: str, host: str, *, from_stdin: bool) -> str:
    """Read the password, or ask for it; one line's end is no part of it."""
    if from_stdin:
        found = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        found = getpass.getpass(f"password of {user} at {host}: ")
    else:
        hint = "--password-stdin reads it from standard input"
        raise UsageError("the password cannot be asked for", hint=hint)
    if not found:
        raise UsageError("the password is empty")
    return found
