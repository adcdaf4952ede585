"""`cos util version`: the order of versions and what a selector matches, for scripts and people."""

from typing import Annotated

import typer

from compiler.version import Selector, Version, sort

_ANY_TEXT = {"ignore_unknown_options": True}
"""A version may begin with a dash."""

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
