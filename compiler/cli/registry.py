"""`cos registry`: keeps repositories in registries in order."""

from collections.abc import Sequence
from typing import Annotated

import typer

from compiler.cli.output import dump
from compiler.cli.registries import open_registry, repository_named, scratch_folder
from compiler.cli.settings import Settings
from compiler.errors import CompilerError
from compiler.publish.front import recent_claims
from compiler.publish.gc import Line, decide, remove, survey

app = typer.Typer(add_completion=False, help="Repositories in registries.", no_args_is_help=True)


@app.callback()
def registry() -> None:
    """Keep repositories in registries in order."""


@app.command("gc")
def collect(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(help="The repository, without a tag.")],
    *,
    keep: Annotated[
        int, typer.Option(min=0, help="How many snapshots stay besides the current index.")
    ] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed, and why.")
    ] = False,
    output: Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml")] = (
        "terminal"
    ),
) -> None:
    """Remove from a repository what neither its index nor the last snapshots list."""
    settings: Settings = context.obj
    target = repository_named(repository, "REPOSITORY")
    with open_registry(settings) as client, scratch_folder() as folder:
        holdings = survey(client, target, folder)
        lines = decide(holdings, keep=keep, since=recent_claims())
        removed = 0 if dry_run else remove(client, target, holdings, lines)
    if output != "terminal":
        rows = [{"tag": each.tag, "removed": each.removed, "reason": each.reason} for each in lines]
        typer.echo(dump({"tags": rows}, output))
    else:
        _tell(lines, removed, dry_run=dry_run)
    if holdings.broken:
        raise _unreadable(repository, sorted(holdings.broken))


def _tell(lines: Sequence[Line], removed: int, *, dry_run: bool) -> None:
    """Print what went and what could not be read, or what would become of every tag."""
    for line in lines:
        if line.removed or dry_run:
            typer.echo(f"{'remove' if line.removed else 'keep':<6}  {line.tag}  ({line.reason})")
    gone = sum(line.removed for line in lines)
    verb = "would be removed" if dry_run else f"removed, {removed} images in all"
    typer.echo(f"{gone} of {len(lines)} tags {verb}")


def _unreadable(repository: str, tags: Sequence[str]) -> CompilerError:
    """Say that not all is removed that could be, and what to do."""
    words = "a tag" if len(tags) == 1 else f"{len(tags)} tags"
    hint = (
        "all that they may need was kept, see --dry-run; publish the snapshot again under its name "
        "(create-repo --snapshot-id) or delete the tag, then run this once more"
    )
    return CompilerError(f"{repository}: {words} cannot be read: {', '.join(tags)}", hint=hint)
