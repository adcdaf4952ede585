"""`cos reclaim`, `oscheck` and `cleanup`: keep a system and its cache in order."""

from contextlib import nullcontext
from typing import Annotated

import typer

from compiler.cli.client import DownloadOnly, FinalizerEnv, Force, Yes, open_client, tell
from compiler.cli.install import how_of, repair
from compiler.cli.settings import Settings
from compiler.system.audit import Missing, as_installed, claims

app = typer.Typer(help="Care for a system.", no_args_is_help=True)


@app.command("reclaim")
def reclaim(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be entered.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Of no effect; luet has it.")] = False,
) -> None:
    """Enter packages whose files are in the system already, after a migration, say.

    Of each name the version counts that has the largest part of its files there. One file is
    enough, so look at the list of --dry-run first.
    """
    del force
    with open_client(context) as client, nullcontext() if dry_run else client.changing():
        found = claims(client.system, client.repositories, client.installed)
        for each in found:
            if not dry_run:
                client.system.database.register(as_installed(each), each.files)
            typer.echo(f"{each.package} ({each.found} of {len(each.files)} files)")
        tell(client, f"{len(found)} {'would be reclaimed' if dry_run else 'reclaimed'}")


@app.command("oscheck")
def oscheck(  # noqa: PLR0913  (one parameter for each of luet's options)
    context: typer.Context,
    *,
    reinstall: Annotated[
        bool, typer.Option("--reinstall", help="Install those packages anew.")
    ] = False,
    contents: Annotated[
        bool, typer.Option("--contents", help="Also find files whose content was changed.")
    ] = False,
    onlydeps: Annotated[bool, typer.Option("--onlydeps", help="Of no effect.")] = False,
    force: Force = False,
    yes: Yes = False,
    download_only: DownloadOnly = False,
    finalizer_env: FinalizerEnv = [],  # noqa: B006  (read only, and how typer is told a default)
) -> None:
    """List packages that have files missing; with -q all of them on one line.

    Protected files may be changed, and are not compared. Of packages that need what is not
    installed there is a warning.
    """
    del onlydeps
    how = how_of(finalizer_env, force=force)
    settings: Settings = context.obj or Settings()
    with open_client(context) as client:
        found = client.damaged(contents=contents)
        if settings.quiet and found:
            typer.echo(" ".join(str(each.package) for each in found))
        for each in () if settings.quiet else found:
            _print(each)
        unmet = list(client.local_solver.unmet())
        for package, need in unmet:
            words = f"{package} requires {need}, and nothing that is installed is that"
            tell(client, words, warning=True)
        if not (found or unmet):
            tell(client, "nothing is missing or changed" if contents else "nothing is missing")
        elif found and reinstall:
            with client.changing(how):
                repair(client, how, yes=yes, download_only=download_only, contents=contents)


def _print(found: Missing) -> None:
    """Print what is wrong with a package, and where."""
    counts = [(len(found.paths), "missing"), (len(found.changed), "changed")]
    typer.echo(f"{found.package}: {', '.join(f'{n} {what}' for n, what in counts if n)}")
    for path in found.paths:
        typer.echo(f"  /{path}")
    for path in found.changed:
        typer.echo(f"  /{path} (changed)")


@app.command("cleanup")
def cleanup(context: typer.Context) -> None:
    """Remove all archives that were fetched."""
    with open_client(context) as client:
        count, size = client.cache.clear()
        tell(client, f"{count} files removed, {size / 1e6:.1f} MB")
