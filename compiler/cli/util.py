"""`cos util`: the order of versions, and images as files, for scripts and people.

What is done with images is in `compiler.cli.images`, which is loaded when it is needed.
"""

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from compiler.cli.settings import Settings
from compiler.errors import UsageError
from compiler.oci import Platform
from compiler.version import Selector, Version, sort

_ANY_TEXT = {"ignore_unknown_options": True}
"""A version may begin with a dash."""

_Image = Annotated[
    str,
    typer.Argument(metavar="IMAGE", help="oci:, docker-archive:, tar: or dir:PATH, or a name."),
]
_User = Annotated[str, typer.Option("--auth-username", help="Who we are to the registry.")]
_Password = Annotated[str, typer.Option("--auth-password", help="The password that proves it.")]
_AuthType = Annotated[str, typer.Option("--auth-type", help="Of no effect; luet has it.")]
_Server = Annotated[str, typer.Option("--auth-server-address", help="Of no effect; luet has it.")]
_Identity = Annotated[str, typer.Option("--auth-identity-token", help="A token of a user.")]
_Token = Annotated[str, typer.Option("--auth-registry-token", help="A token of the registry.")]
_Keys = Annotated[
    list[str], typer.Option("--key", help="A public key: nothing that it did not sign counts.")
]

app = typer.Typer(help="Small tools.", no_args_is_help=True)
version_app = typer.Typer(help="Compare versions.", no_args_is_help=True)
app.add_typer(version_app, name="version")


@version_app.command("sort", context_settings=_ANY_TEXT)
def sort_versions(versions: Annotated[list[str], typer.Argument(metavar="V…")]) -> None:
    """Print the versions oldest first, one per line."""
    for version in sort(versions):
        typer.echo(version)


@version_app.command("match", context_settings=_ANY_TEXT)
def match_versions(
    selector: Annotated[str, typer.Argument(metavar="SELECTOR")],
    versions: Annotated[list[str], typer.Argument(metavar="V…")],
) -> None:
    """Print the versions that match the selector, in the order given, one per line."""
    wanted = Selector.parse(selector)
    if wanted.problem:
        hint = f" ({wanted.hint})" if wanted.hint else ""
        typer.echo(f"warning: {wanted.problem}: it matches no version{hint}", err=True)
    for version in versions:
        if wanted.matches(Version.parse(version)):
            typer.echo(version)


@app.command("unpack")
def unpack(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    image: _Image,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made if need be.")],
    *,
    local: Annotated[bool, typer.Option("--local", help="Only what the store has.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Insist on signatures: give --key.")] = (
        False
    ),
    key: _Keys = [],  # noqa: B006  (read only, and how typer is told a default)
    platform: Annotated[
        str, typer.Option("--platform", help="OS/ARCHITECTURE; [this machine's].")
    ] = "",
    username: _User = "",
    password: _Password = "",
    auth_type: _AuthType = "",
    server: _Server = "",
    identity: _Identity = "",
    token: _Token = "",
) -> None:
    """Unpack an image into a folder, over what that holds, as a machine would see it.

    The store's image of that name is taken, or else the registry's. Nothing is written before the
    whole of it has been checked.
    """
    del auth_type, server
    if verify and not key:
        raise UsageError("--verify needs to know who may sign", hint="--key PUBLIC-KEY says it")
    work = _work()
    auth = _auth(username, password, identity, token)
    how = work.Unpacking(local=local, platform=platform, keys=key, auth=auth)
    work.unpack(context.obj or Settings(), image, target, how)


@app.command("pack")
def pack(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The name that it gets.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The tar of a root.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file that is written.")],
    *,
    arch: Annotated[str, typer.Option("--arch", help="Its GOARCH; [this machine's].")] = "",
    system: Annotated[str, typer.Option("--os", help="Its operating system.")] = "linux",
) -> None:
    """Make an archive that `docker load` takes of the tar of a root."""
    work = _work()
    own = work.host_platform()
    work.pack_archive(image, source, target, Platform(system, arch) if arch else own)
    typer.echo(target)


@app.command("image-exist")
def image_exist(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A name in a registry.")],
    *,
    username: _User = "",
    password: _Password = "",
    auth_type: _AuthType = "",
    server: _Server = "",
    identity: _Identity = "",
    token: _Token = "",
) -> None:
    """Tell by the exit code whether a registry has an image: 0 if it has, 1 if not.

    If it does not answer the exit code is 3.
    """
    del auth_type, server
    settings = context.obj or Settings()
    if not _work().exists(settings, image, _auth(username, password, identity, token)):
        raise typer.Exit(1)


def _auth(username: str, password: str, identity: str, token: str) -> dict[str, str]:
    """Name credentials as registry clients keep them; those that are empty are none."""
    given = {"username": username, "password": password, "identitytoken": identity}
    return {name: text for name, text in {**given, "registrytoken": token}.items() if text}


def _work() -> Any:  # noqa: ANN401  (a module)
    """Load what does the work with images, and with it the libraries that take time."""
    return importlib.import_module("compiler.cli.images")
