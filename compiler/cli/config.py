"""`cos config`: the configuration as it counts, with everything that overrides it."""

import typer

from compiler.cli.client import Output, client_config, printable
from compiler.cli.listing import shown
from compiler.cli.settings import Settings

app = typer.Typer(add_completion=False, help="The configuration of a client.")


@app.command("config")
def config(context: typer.Context, *, output: Output = "yaml") -> None:
    """Print the configuration as it counts; passwords and tokens are left out."""
    settings: Settings = context.obj or Settings()
    found = client_config(settings)
    value = found.model_dump(mode="json")
    value["repositories"] = [printable(each) for each in found.repositories]
    typer.echo(shown(value, output))
