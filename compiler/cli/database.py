"""`cos database`: what is entered as installed, as it stands there."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.archive.compress import atomic_file
from compiler.artifact.metadata import ArtifactMetadata, index_entry, read_metadata
from compiler.cli.client import open_client, tell
from compiler.cli.listing import yaml_listing
from compiler.errors import CompilerError, ResolutionError, UsageError, unwritable
from compiler.spec.package import PackageId
from compiler.system.database import Installed
from compiler.system.solve import Solver
from compiler.version import parse_argument

app = typer.Typer(add_completion=False, help="The database of a system.", no_args_is_help=True)

_Package = Annotated[str, typer.Argument(metavar="PKG", help="category/name[@version]")]


@app.command("get")
def get(
    context: typer.Context,
    package: _Package,
    *,
    files: Annotated[bool, typer.Option("--files", help="And its list of files.")] = False,
) -> None:
    """Print an installed package as YAML; nothing, as luet does, for one that is not installed."""
    with open_client(context) as client:
        found = _found(client.local_solver, package)
        for there in client.installed:
            if there.id == found:
                typer.echo(yaml_listing(_fields(there)), nl=False)
        if files and found is not None:
            listed = list(client.system.database.files(found))
            typer.echo(yaml_listing({"files": listed}), nl=False)


@app.command("create")
def create(
    context: typer.Context,
    metadata: Annotated[
        list[Path], typer.Argument(metavar="FILE.metadata.yaml", help="Metadata of artifacts.")
    ],
) -> None:
    """Enter packages as installed, without touching their files."""
    described = [read_metadata(path) for path in metadata]
    with open_client(context, makes_root=True) as client, client.changing():
        for each in described:
            client.system.database.register(_as_installed(each), each.files)
            tell(client, f"{each.id} is entered")


@app.command("remove")
def remove(
    context: typer.Context,
    packages: Annotated[
        list[str], typer.Argument(metavar="PKG", help="category/name@version, exactly.")
    ],
) -> None:
    """Forget packages, without touching their files."""
    named = [_exactly(each) for each in packages]
    with open_client(context) as client, client.changing():
        for each in named:
            client.system.database.unregister(each)
            tell(client, f"{each} is forgotten")


@app.command("get-all-installed")
def get_all_installed(
    context: typer.Context,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", help="A file that gets the list as well.")
    ] = None,
) -> None:
    """Print everything that is installed as YAML."""
    with open_client(context) as client:
        text = yaml_listing([_fields(each) for each in client.installed])
    typer.echo(text, nl=False)
    if output is not None:
        try:
            with atomic_file(output) as file:
                file.write(text.encode())
        except OSError as error:
            raise unwritable(output, error) from error


def _found(solver: Solver, package: str) -> PackageId | None:
    """Find an installed package, None if it is not; raises for what could be several."""
    solver.named(package)
    try:
        return solver.installed_named(package)
    except ResolutionError:
        return None


def _fields(package: Installed) -> object:
    """Lay a package out with luet's JSON names."""
    metadata = ArtifactMetadata(
        runtime=package.definition,
        built=package.definition,
        archive="",
        sha256=package.sha256,
        compression="none",
    )
    fields = index_entry(metadata)["runtime"]
    if not isinstance(fields, dict):
        raise CompilerError(f"{package.id} cannot be laid out")
    return {**fields, "buildtimestamp": package.timestamp}


def _as_installed(metadata: ArtifactMetadata) -> Installed:
    return Installed(
        definition=metadata.runtime,
        timestamp=metadata.timestamp,
        sha256=metadata.sha256,
        requested=True,
    )


def _exactly(text: str) -> PackageId:
    """Read a package with its version; raises `UsageError` without one."""
    category, name, version = parse_argument(text)
    if not version:
        raise UsageError(f"{text}: needs its version: category/name@version")
    return PackageId(category, name, version)
