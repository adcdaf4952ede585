"""`cos gc`: frees the room that layers, logs and records take which nothing needs any more."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.settings import Settings
from compiler.cli.userns import enter_user_namespace
from compiler.store import Removed
from compiler.store.local import LocalStore, default_store_path

_UNIT = 1000
_UNITS = ("B", "kB", "MB", "GB", "TB")

app = typer.Typer(add_completion=False, help="Remove from the store what nothing needs any more.")


@app.command("gc")
def collect(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be removed.")] = False,
    store: Annotated[Path | None, typer.Option(help="Which store to clean.")] = None,
) -> None:
    """Remove what neither an image nor the last builds of a tree need."""
    settings = context.find_object(Settings)
    given = store or (settings.store if settings is not None else None)
    enter_user_namespace()
    with LocalStore(given or default_store_path(None)) as opened:
        removed = opened.collect(dry_run=dry_run)
    for each in removed:
        typer.echo(line_of(each))
    typer.echo(total_of(removed, dry_run=dry_run))


def line_of(removed: Removed) -> str:
    """Describe one removed thing."""
    return f"{size_text(removed.size):>9}  {removed.what}: {removed.reason}"


def total_of(removed: Sequence[Removed], *, dry_run: bool) -> str:
    """Sum up what was removed, or would be."""
    size = size_text(sum(each.size for each in removed))
    verb = "would be removed" if dry_run else "removed"
    return f"{size:>9}  {verb} in all ({len(removed)} things)"


def size_text(size: int) -> str:
    """Print a number of bytes as people read it: `1.5 GB`."""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if value < _UNIT or unit == _UNITS[-1]:
            break
        value /= _UNIT
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
