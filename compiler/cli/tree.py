"""`cos tree`: lists, checks, renders and bumps the packages of a tree."""

import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli import tree_options as options
from compiler.cli.listing import Listed, yaml_listing
from compiler.cli.settings import Settings
from compiler.cli.trees import open_tree
from compiler.errors import SpecError, UsageError
from compiler.spec.bump import bump_definition
from compiler.spec.load import read_text
from compiler.spec.package import PackageId, PackageSpec, Requirement
from compiler.tree import Tree, View

app = typer.Typer(
    help="List, check, render and bump the packages of a tree.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def pkglist(  # noqa: PLR0913  (one parameter for each option of the command)
    context: typer.Context,
    *,
    tree: options.Trees = None,
    values: options.Values = None,
    buildtime: options.Buildtime = False,
    deps: options.Deps = False,
    revdeps: options.Revdeps = False,
    verbose: options.Verbose = False,
    full: options.Full = False,
    matches: options.Matches = None,
    excludes: options.Excludes = None,
    dockerfiles: options.Dockerfiles = False,
    from_repositories: options.FromRepositories = False,
    output: options.Output = "terminal",
) -> None:
    """List the packages of a tree, or what they need, or what needs them."""
    if deps and revdeps:
        raise UsageError("--deps and --revdeps exclude each other")
    _check_output(output)
    kept = _Filter(matches, excludes)
    loaded = _load(
        context, _roots(tree), values, dockerfiles=dockerfiles, from_repositories=from_repositories
    )
    view = loaded.buildtime if buildtime else loaded.runtime
    chosen = [id_ for id_ in view.packages if kept.keeps(str(id_) if verbose else id_.title)]
    related = _related(view, chosen, deps=deps) if deps or revdeps else chosen
    found = [Listed(id_, view.packages.get(id_)) for id_ in related]
    _warn_of_doubts(view.packages[id_] for id_ in chosen)
    if output == "json":
        typer.echo(json.dumps({"packages": [each.row() for each in found]}, separators=(",", ":")))
    elif output == "yaml":
        typer.echo(yaml_listing(found))
    else:
        for line in sorted(_line(each, verbose=verbose, full=full) for each in found):
            typer.echo(line)


def _related(view: View, chosen: Sequence[PackageId], *, deps: bool) -> Iterable[PackageId]:
    """List what the packages need, or what needs them; loads the resolver: start-up time."""
    relatives = importlib.import_module("compiler.cli.relatives")
    listed = relatives.dependencies if deps else relatives.dependents
    found: Iterable[PackageId] = listed(view, chosen)
    return found


@app.command()
def validate(  # noqa: PLR0913  (one parameter for each option of the command)
    context: typer.Context,
    *,
    tree: options.Trees = None,
    values: options.Values = None,
    only_runtime: options.OnlyRuntime = False,
    only_buildtime: options.OnlyBuildtime = False,
    with_solver: options.WithSolver = False,
    matches: options.Matches = None,
    excludes: options.Excludes = None,
    from_repositories: options.FromRepositories = False,
) -> None:
    """Check a tree: unknown keys, selectors, requirements nobody meets, templates without values.

    Ends with 1 when something is wrong; warnings alone do not count. Packages of repositories may
    be required, but are not checked.
    """
    if only_runtime and only_buildtime:
        raise UsageError("--only-runtime and --only-buildtime exclude each other")
    kept = _Filter(matches, excludes)
    roots = _roots(tree, commas=True)
    loaded = _load(context, roots, values, from_repositories=from_repositories)
    own = [id_ for id_, spec in loaded.packages.items() if not spec.is_published]
    chosen = [id_ for id_ in own if kept.keeps(str(id_))]
    checks = importlib.import_module("compiler.cli.validate")  # start-up: what plans comes with it
    findings = list(checks.stray_findings(roots))
    findings += checks.own_findings(loaded.packages[id_] for id_ in chosen)
    for view in _views(loaded, runtime=not only_buildtime, buildtime=not only_runtime):
        findings += checks.check_view(view, chosen, solve=with_solver)
    for finding in findings:
        typer.echo(str(finding))
    checks.summarise(len(chosen), findings)


_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASSED_ON, add_help_option=False)
def images(context: typer.Context) -> None:
    """List the images of a package and all it stands on, by layer key, in build order."""
    _pass_on(context, "images")


@app.command(context_settings=_PASSED_ON, add_help_option=False)
def graph(context: typer.Context) -> None:
    """Draw which packages stand on which."""
    _pass_on(context, "graph")


def _pass_on(context: typer.Context, name: str) -> None:
    """Run a command of the module that plans, which is loaded only for this: start-up time."""
    module = importlib.import_module("compiler.cli.graphs")
    module.app(args=[name, *context.args], prog_name="cos tree", obj=context.obj)


@app.command()
def bump(
    *,
    definition_file: Annotated[
        Path, typer.Option("-f", "--definition-file", help="The definition to change.")
    ] = Path("definition.yaml"),
    version: Annotated[
        str, typer.Option("-p", "--pkg-version", help="The version to set. [default: the next]")
    ] = "",
    to_stdout: options.ToStdout = False,
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
def render(  # noqa: PLR0913  (one parameter for each option of the command)
    context: typer.Context,
    *,
    packages: Annotated[list[str] | None, typer.Argument(help="category/name[@version]")] = None,
    tree: options.Trees = None,
    values: options.Values = None,
    everything: options.All = False,
    dockerfiles: options.Dockerfiles = False,
    output: options.Output = "yaml",
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


def _roots(given: Sequence[str] | None, *, commas: bool = False) -> list[Path]:
    """Read `--tree`; only where luet takes a comma list is a comma more than part of a name."""
    named = [each for text in given or () for each in (text.split(",") if commas else [text])]
    return [Path(each) for each in named if each] or [Path()]


def _load(
    context: typer.Context,
    roots: Sequence[Path],
    values: Sequence[str] | None,
    *,
    dockerfiles: bool = False,
    from_repositories: bool = False,
) -> Tree:
    """Load trees with the values files of the environment and of the command line."""
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    named = [Path(each) for text in values or () for each in text.split(",") if each]
    return open_tree(
        context,
        roots,
        (*settings.values, *named),
        dockerfiles=dockerfiles,
        from_repositories=from_repositories,
    )


class _Filter:
    """Which packages `--matches` and `--exclude` let through."""

    def __init__(self, matches: Iterable[str] | None, excludes: Iterable[str] | None) -> None:
        self._matches = _expressions(matches, "--matches")
        self._excludes = _expressions(excludes, "--exclude")

    def keeps(self, text: str) -> bool:
        """Tell whether a package, as it is printed, is wanted."""
        if any(each(text) for each in self._excludes):
            return False
        return not self._matches or any(each(text) for each in self._matches)


def _expressions(given: Iterable[str] | None, option: str) -> list[Callable[[str], bool]]:
    """Compile expressions in Go's syntax, with the library that never takes long."""
    texts = [each for text in given or () for each in text.split(",") if each]
    if not texts:
        return []
    filters = importlib.import_module("compiler.artifact.filters")
    try:
        return [filters.searcher(each) for each in texts]
    except SpecError as error:
        raise UsageError(f"{option}: {error.message}", hint=error.hint) from None


def _check_output(output: str) -> None:
    if output not in ("terminal", "json", "yaml"):
        raise UsageError(f"--output is one of terminal, json, yaml, not {output!r}")


def _line(each: Listed, *, verbose: bool, full: bool) -> str:
    if not full:
        return str(each.id) if verbose else each.id.title
    # luet's block, whose first URL stands on the line of the license
    about = each.spec.definition if each.spec else None
    lines = [
        f"\n  @@ Package: {each.id}",
        f"     Description: {about.description if about else ''}",
        f"     License:     {about.license if about else ''}",
    ]
    block = "\n".join(lines)
    for index, uri in enumerate(about.uri if about else ()):
        block += f"{'     URLs:        ' if index == 0 else '                  '}{uri}"
    return block


def _warn_of_doubts(specs: Iterable[PackageSpec]) -> None:
    for spec in specs:
        for doubt in spec.doubts:
            typer.echo(f"warning: {doubt}", err=True)


def _views(tree: Tree, *, runtime: bool, buildtime: bool) -> list[View]:
    return [
        view for view, wanted in ((tree.runtime, runtime), (tree.buildtime, buildtime)) if wanted
    ]


def _spec_row(spec: PackageSpec) -> dict[str, object]:
    """Give all fields of a package's build with their final text."""
    id_: PackageId = spec.id
    build = spec.build.model_dump(by_alias=True) if spec.build else {}
    row: dict[str, object] = {
        "category": id_.category,
        "name": id_.name,
        "version": id_.version,
        "path": str(spec.folder),
        "image": "",
        "prelude": [],
        "steps": [],
        "env": [],
    }
    row |= {key: list(value) if isinstance(value, tuple) else value for key, value in build.items()}
    row["requires"] = _stanzas(spec.build_requires)
    row["conflicts"] = _stanzas(spec.build_conflicts)
    row["provides"] = _stanzas(spec.build_provides)
    row["runtime_requires"] = _stanzas(spec.definition.requires)
    return row


def _stanzas(requirements: Iterable[Requirement]) -> list[dict[str, str]]:
    return [each.model_dump() for each in requirements]
