"""`cos search`: packages of the repositories, or those that are installed."""

from collections.abc import Sequence
from typing import Annotated

import typer

from compiler.cli.client import Output, open_client, tell
from compiler.cli.listing import shown
from compiler.cli.settings import Settings
from compiler.errors import UsageError
from compiler.system.client import Client
from compiler.system.search import Found, Query, offered, present, search
from compiler.system.summary import columns

app = typer.Typer(add_completion=False, help="Packages of repositories and of the system.")

_Expression = Annotated[
    str, typer.Argument(metavar="RE", help="A regular expression, on category/name-version.")
]
_HEADS = ("Package", "Category", "Name", "Version", "Repository", "Description", "License", "URI")


@app.command("search")
def search_packages(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    expression: _Expression = "",
    *,
    installed: Annotated[
        bool, typer.Option("--installed", help="Only what is installed; asks no repository.")
    ] = False,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="RE is the name of a label.")
    ] = False,
    by_label_regex: Annotated[
        bool, typer.Option("--by-label-regex", help="RE is looked for in KEY=VALUE of labels.")
    ] = False,
    revdeps: Annotated[
        bool, typer.Option("--revdeps", help="What needs the packages, directly or not.")
    ] = False,
    hidden: Annotated[bool, typer.Option("--hidden", help="Also hidden packages.")] = False,
    table: Annotated[
        bool, typer.Option("--table", help="All there is to say, in columns.")
    ] = False,
    files: Annotated[
        bool, typer.Option("--files", help="RE is looked for in the paths of files.")
    ] = False,
    output: Output = "terminal",
) -> None:
    """Search packages; with -q one category/name-version on each line."""
    settings: Settings = context.obj or Settings()
    if output not in {"terminal", "json", "yaml"}:
        raise UsageError(f"--output is terminal, json or yaml, not {output!r}")
    query = Query(
        text=expression,
        label=by_label,
        label_expression=by_label_regex,
        files=files,
        revdeps=revdeps,
        hidden=hidden,
    )
    query.check()
    with open_client(context) as client:
        found = search(_all(client, installed=installed), query)
        if output == "terminal":
            _print(found, quiet=settings.quiet, table=table)
            return
        rows = {"packages": [each.row() for each in found] or None}
        typer.echo(shown(rows, output))


def _all(client: Client, *, installed: bool) -> list[Found]:
    """Give all packages there are to search."""
    if installed:
        return list(present(client.installed, client.system.database))
    if not client.used:
        tell(client, "there is no repository; `cos repo add` adds one", warning=True)
    return list(offered(client.repositories, client.installed))


def _print(found: Sequence[Found], *, quiet: bool, table: bool) -> None:
    """Print for people, or with `quiet` for scripts."""
    if quiet:
        lines = [str(each.id) for each in found]
    elif table:
        lines = columns([_HEADS, *map(_cells, found)]) if found else []
    else:
        marks = [(str(each.id), each.repository, _mark(each)) for each in found]
        lines = columns(marks) if marks else []
    for line in lines:
        typer.echo(line)


def _mark(found: Found) -> str:
    return "installed" if found.installed and found.repository != "system" else ""


def _cells(found: Found) -> tuple[str, ...]:
    about = found.definition
    title = " ".join(about.description.split())
    return (
        str(found.id), *found.id[:3], found.repository, title, about.license, " ".join(about.uri)
    )  # fmt: skip
