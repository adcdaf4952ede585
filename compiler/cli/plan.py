"""`cos plan`: shows what a build would do, and why."""

from typing import Annotated

import typer

from compiler.cli import options
from compiler.cli.build_options import BuildOptions, with_build_options
from compiler.cli.call import chain_warnings
from compiler.cli.output import dump
from compiler.cli.settings import Settings
from compiler.plan import PlanNode
from compiler.preflight import faults_of, warnings_of
from compiler.request import Planned, plan_request

app = typer.Typer(add_completion=False)


@app.command("plan")
@with_build_options
def plan(
    context: typer.Context,
    asked: BuildOptions,
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", help="The form of the result: text, json or yaml.")
    ] = "text",
) -> None:
    """Show for every package what a build would do, in build order, and the reason.

    Nothing is built and no engine is needed. What would keep a package from being built is told
    as a warning.
    """
    settings: Settings = context.obj
    request = asked.request(settings)
    loaded = asked.open_tree(context, request.values)
    with options.open_store(settings, asked.trees) as store:
        planned = plan_request(loaded, request, store)
    notes = (*warnings_of(planned), *faults_of(planned))
    for message in (*chain_warnings(planned.graph), *map(str, notes)):
        typer.echo(f"warning: {message}", err=True)
    if output == "text":
        for node in planned.nodes:
            typer.echo(f"{node.action.value:<6} {node.id}  ({node.reason})")
    else:
        typer.echo(dump({"nodes": [_row(node, planned) for node in planned.nodes]}, output))


def _row(node: PlanNode, planned: Planned) -> dict[str, object]:
    """Describe one node of a plan for a program."""
    package = node.id.package
    row: dict[str, object] = {
        "name": package.name,
        "category": package.category,
        "version": package.version,
        "action": node.action.value,
        "reason": node.reason,
        "key": node.keys.layer,
        "artifact_key": node.keys.artifact,
        "needs": [planned.keys[each].layer for each in node.node.needs],
    }
    if node.id.variant:
        row["variant"] = node.id.variant
    if node.node.clash:
        row["clash"] = list(node.node.clash)
    return row
