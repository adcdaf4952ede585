"""`cos tree images` and `cos tree graph`: what packages stand on, as names and as drawings."""

import importlib
from collections.abc import Sequence
from typing import Annotated

import typer

from compiler.cli import options
from compiler.cli.output import dump
from compiler.cli.settings import Settings
from compiler.errors import UsageError
from compiler.graph import NodeId
from compiler.request import Planned, Request, plan_request
from compiler.resolver import resolve_each
from compiler.spec.flavour import load_values
from compiler.spec.package import PackageId
from compiler.tree import Tree, load_tree

app = typer.Typer(add_completion=False)

_FORMS = ("dot", "mermaid", "json")


@app.command("images")
def images(  # noqa: PLR0913  (one parameter for each option of the command)
    context: typer.Context,
    packages: options.Packages = None,
    *,
    tree: options.Trees = None,
    values: options.Values = None,
    image_repository: Annotated[
        str, typer.Option("--image-repository", help="The name in front of layer keys.")
    ] = "luet/cache",
    _pull_repository: Annotated[
        list[str] | None, typer.Option("-p", "--pull-repository", help="Accepted for luet's sake.")
    ] = None,
    output: options.Output = "terminal",
) -> None:
    """List the images of a package and all it stands on, by layer key, in build order."""
    settings: Settings = context.obj
    trees = options.paths(tree, [options.HERE])
    loaded = load_tree(trees, values=load_values(options.values_files(values, settings)))
    listed = _chain(loaded, packages or ())
    request = Request(packages=tuple(f"{each.title}@{each.version}" for each in listed))
    with options.open_store(settings, trees) as store:
        planned = plan_request(loaded, request, store)
    rows = [
        {
            "category": package.category,
            "image": f"{image_repository}:{planned.keys[NodeId(package)].layer}",
            "name": package.name,
            "path": "",
            "version": package.version,
        }
        for package in listed
    ]
    if output == "terminal":
        for row in rows:
            typer.echo(row["image"])
    else:
        typer.echo(dump({"packages": rows or None}, output))


@app.command("graph")
def graph(
    context: typer.Context,
    packages: options.Packages = None,
    *,
    tree: options.Trees = None,
    values: options.Values = None,
    form: Annotated[
        str, typer.Option("--format", help="The language of the drawing: dot, mermaid or json.")
    ] = "dot",
) -> None:
    """Draw which packages stand on which; without a package, the whole tree."""
    if form not in _FORMS:
        raise UsageError(f"--format is one of {', '.join(_FORMS)}, not {form!r}")
    request = Request(packages=tuple(packages or ()), everything=not packages)
    planned = _planned(context.obj, request, tree, values)
    network = importlib.import_module("compiler.graph.network")  # start-up time: networkx
    typer.echo(network.draw(planned.graph, form))


def _chain(tree: Tree, arguments: Sequence[str]) -> tuple[PackageId, ...]:
    """List what luet has in the chain of a package: all that it requires, unless it joins them."""
    found: dict[PackageId, None] = {}
    for argument in arguments:
        target = tree.find(argument)
        build = tree.packages[target].build
        if build is None or not build.requires_final_images:
            answers = resolve_each([target], tree.buildtime)
            found.update(dict.fromkeys(answers.of(target).packages))
        found[target] = None
    return tuple(found)


def _planned(
    settings: Settings, request: Request, tree: list[str] | None, values: list[str] | None
) -> Planned:
    """Load a tree and place its packages; nothing is built."""
    trees = options.paths(tree, [options.HERE])
    loaded = load_tree(trees, values=load_values(options.values_files(values, settings)))
    with options.open_store(settings, trees) as store:
        return plan_request(loaded, request, store)
