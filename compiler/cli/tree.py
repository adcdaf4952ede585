"""`cos tree`: lists, checks, renders and bumps the packages of a tree."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.listing import Listed, listed, yaml_listing
from compiler.cli.settings import Settings
from compiler.cli.validate import Finding, check_view, own_findings
from compiler.errors import UsageError
from compiler.spec.bump import bump_definition
from compiler.spec.load import read_text
from compiler.spec.package import PackageId, PackageSpec, Requirement
from compiler.tree import Tree, View, load_tree

app = typer.Typer(
    help="List, check, render and bump the packages of a tree.",
    no_args_is_help=True,
    add_completion=False,
)

Trees = Annotated[
    list[str] | None,
    typer.Option("-t", "--tree", help="A tree; later ones overlay earlier ones. [default: .]"),
]
Values = Annotated[
    list[str] | None, typer.Option("--values", help="A values file; the last one wins.")
]
Matches = Annotated[
    list[str] | None, typer.Option("-m", "--matches", help="Only what this expression finds.")
]
Excludes = Annotated[
    list[str] | None, typer.Option("-e", "--exclude", help="Not what this expression finds.")
]
Output = Annotated[str, typer.Option("-o", "--output", help="terminal, json or yaml.")]
Dockerfiles = Annotated[
    bool, typer.Option("--dockerfiles", help="Take every Dockerfile of the tree as a package.")
]


@app.command()
def pkglist(  # noqa: PLR0913, PLR0917  (one parameter for each option of the command)
    context: typer.Context,
    tree: Trees = None,
    values: Values = None,
    buildtime: Annotated[
        bool, typer.Option("-b", "--buildtime", help="What is needed to build, not to run.")
    ] = False,
    deps: Annotated[bool, typer.Option("--deps", help="What the packages need.")] = False,
    revdeps: Annotated[bool, typer.Option("--revdeps", help="What needs the packages.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="With versions.")] = False,
    full: Annotated[bool, typer.Option("-f", "--full", help="With descriptions.")] = False,
    matches: Matches = None,
    excludes: Excludes = None,
    dockerfiles: Dockerfiles = False,
    output: Output = "terminal",
) -> None:
    """List the packages of a tree, or what they need, or what needs them."""
    if deps and revdeps:
        raise UsageError("--deps and --revdeps exclude each other")
    _check_output(output)
    loaded = _load(context, _roots(tree), values, dockerfiles=dockerfiles)
    view = loaded.buildtime if buildtime else loaded.runtime
    kept = _Filter(matches, excludes)
    chosen = [id_ for id_ in view.packages if kept.keeps(str(id_) if verbose else id_.title)]
    found = listed(view, chosen, deps=deps, revdeps=revdeps)
    _warn_of_doubts(view.packages[id_] for id_ in chosen)
    if output == "json":
        typer.echo(json.dumps({"packages": [each.row() for each in found]}, separators=(",", ":")))
    elif output == "yaml":
        typer.echo(yaml_listing(found))
    else:
        for line in sorted(_line(each, verbose=verbose, full=full) for each in found):
            typer.echo(line)


@app.command()
def validate(  # noqa: PLR0913, PLR0917  (one parameter for each option of the command)
    context: typer.Context,
    tree: Trees = None,
    values: Values = None,
    only_runtime: Annotated[
        bool, typer.Option("--only-runtime", help="Only what packages need to run.")
    ] = False,
    only_buildtime: Annotated[
        bool, typer.Option("--only-buildtime", help="Only what packages need to be built.")
    ] = False,
    with_solver: Annotated[
        bool, typer.Option("-s", "--with-solver", help="Find versions that go together, too.")
    ] = False,
    matches: Matches = None,
    excludes: Excludes = None,
) -> None:
    """Check a tree: unknown keys, selectors, requirements nobody meets, templates without values.

    Ends with 1 when something is wrong; warnings alone do not count.
    """
    if only_runtime and only_buildtime:
        raise UsageError("--only-runtime and --only-buildtime exclude each other")
    loaded = _load(context, _roots(tree, commas=True), values)
    kept = _Filter(matches, excludes)
    chosen = [id_ for id_ in loaded.packages if kept.keeps(str(id_))]
    findings = list(own_findings(loaded.packages[id_] for id_ in chosen))
    for view in _views(loaded, runtime=not only_buildtime, buildtime=not only_runtime):
        findings += check_view(view, chosen, solve=with_solver)
    for finding in findings:
        typer.echo(str(finding))
    _summarise(len(chosen), findings)


@app.command()
def bump(
    definition_file: Annotated[
        Path, typer.Option("-f", "--definition-file", help="The definition to change.")
    ] = Path("definition.yaml"),
    version: Annotated[
        str, typer.Option("-p", "--pkg-version", help="The version to set. [default: the next]")
    ] = "",
    to_stdout: Annotated[
        bool, typer.Option("-o", "--to-stdout", help="Print the file instead of writing it.")
    ] = False,
) -> None:
    """Count the build number of a package up, leaving all else in the file as it is."""
    text = read_text(definition_file)
    bumped = bump_definition(text, str(definition_file), version=version)
    if to_stdout:
        typer.echo(bumped.text, nl=False)
        return
    bumped.write(definition_file)
    typer.echo(f"{bumped.before} -> {bumped.after}")


@app.command()
def render(
    context: typer.Context,
    packages: Annotated[list[str] | None, typer.Argument(help="category/name[@version]")] = None,
    tree: Trees = None,
    values: Values = None,
    everything: Annotated[bool, typer.Option("--all", help="Every package.")] = False,
    dockerfiles: Dockerfiles = False,
    output: Output = "yaml",
) -> None:
    """Print the specs of packages after templates, each field with its final text."""
    _check_output(output)
    if everything == bool(packages):
        raise UsageError("name packages, or give --all")
    loaded = _load(context, _roots(tree, commas=True), values, dockerfiles=dockerfiles)
    found = [loaded.find(argument) for argument in packages or ()]
    chosen = found or list(loaded.buildtime.packages)
    specs = [loaded.packages[id_] for id_ in chosen]
    _warn_of_doubts(specs)
    rows = {"specs": [_spec_row(spec) for spec in specs]}
    if output == "json":
        typer.echo(json.dumps(rows, separators=(",", ":")))
    else:
        typer.echo(yaml_listing(rows), nl=False)
