"""`cos config`: the configuration as it counts, with everything that overrides it."""

import typer

from compiler.cli.client import Output, client_config
from compiler.cli.listing import shown
from compiler.cli.settings import Settings

app = typer.Typer(add_completion=False, help="The configuration of a client.")


@app.command("config")
def config(context: typer.Context, *, output: Output = "yaml") -> None:
    """Print the configuration as it counts; what is in `auth` is left out."""
    settings: Settings = context.obj or Settings()
    value = client_config(settings).model_dump(mode="json")
    for repository in value["repositories"]:
        repository["auth"] = dict.fromkeys(repository["auth"], "***")
    typer.echo(shown(value, output))
