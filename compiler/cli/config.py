"""`cos config`: the configuration as it counts, with everything that overrides it."""

import typer

from compiler.cli.client import Output, client_config, without_secrets
from compiler.cli.listing import shown
from compiler.cli.settings import Settings

app = typer.Typer(add_completion=False, help="The configuration of a client.")


@app.command("config")
def config(context: typer.Context, *, output: Output = "yaml") -> None:
    """Print the configuration as it counts; passwords and tokens are left out."""
    settings: Settings = context.obj or Settings()
    found = client_config(settings)
    repositories = tuple(map(without_secrets, found.repositories))
    value = found.model_copy(update={"repositories": repositories}).model_dump(mode="json")
    typer.echo(shown(value, output))
