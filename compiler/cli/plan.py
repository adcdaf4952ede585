"""`cos plan`: shows what a build would do, and why."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.cli import options
from compiler.cli.call import chain_warnings
from compiler.cli.output import dump
from compiler.cli.settings import Settings
from compiler.engine import Network
from compiler.graph import Layering
from compiler.plan import PlanNode
from compiler.preflight import faults_of, warnings_of
from compiler.request import Planned, Request, plan_request
from compiler.spec.flavour import load_values
from compiler.tree import load_tree

app = typer.Typer(add_completion=False)


@app.command("plan")
def plan(  # noqa: PLR0913  (one parameter for each option of the command)
    context: typer.Context,
    packages: options.Packages = None,
    *,
    tree: options.Trees = None,
    values: options.Values = None,
    destination: options.Destination = Path("build"),
    compression: options.CompressionOption = "none",
    everything: options.All = False,
    full: options.Full = False,
    revdeps: options.Revdeps = False,
    nodeps: options.NoDeps = False,
    onlydeps: options.OnlyDeps = False,
    only_target: options.OnlyTarget = False,
    rebuild: options.Rebuild = False,
    dockerfiles: options.Dockerfiles = False,
    layering: options.LayeringOption = Layering.AUTO,
    network: options.NetworkOption = Network.HOST,
    output: Annotated[
        str, typer.Option("-o", "--output", help="The form of the result: text, json or yaml.")
    ] = "text",
) -> None:
    """Show for every package what a build would do, in build order, and the reason.

    Nothing is built and no engine is needed. What would keep a package from being built is told
    as a warning.
    """
    settings: Settings = context.obj
    trees = options.paths(tree, [options.HERE])
    overrides = load_values(options.values_files(values, settings))
    request = Request(
        packages=tuple(packages or ()),
        everything=everything,
        top=full,
        dependents=revdeps,
        only_requirements=onlydeps,
        no_requirements=nodeps,
        only_targets=only_target,
        rebuild=rebuild,
        layering=layering,
        destination=destination,
        compression=options.compression_of(compression),
        network=network,
        source_date_epoch=settings.source_date_epoch,
        values=overrides,
    )
    loaded = load_tree(trees, values=overrides, dockerfiles=dockerfiles)
    with options.open_store(settings, trees) as store:
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
