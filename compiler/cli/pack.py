"""`cos pack`: makes an artifact of a folder, as if a build had left it there."""

import time
from pathlib import Path
from typing import Annotated

import typer

from compiler.artifact.pack import describe, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import select
from compiler.build.inventory import remove_documents
from compiler.cli.options import compression_of
from compiler.cli.settings import Settings
from compiler.errors import InputError, UsageError
from compiler.marks import remove_mark
from compiler.spec.folder import DEFINITION, read_definition
from compiler.spec.package import BuildSpec, Definition, PackageId, PackageSpec
from compiler.version import Selector, parse_argument

app = typer.Typer(add_completion=False, help="Artifacts of folders.")


@app.command("pack")
def pack_folder(
    context: typer.Context,
    package: Annotated[str, typer.Argument(metavar="PKG", help="category/name@version")],
    *,
    source: Annotated[Path, typer.Option("--source", help="The folder that is packed.")] = Path(),
    destination: Annotated[
        Path, typer.Option("--destination", help="The folder that the artifact is written to.")
    ] = Path(),
    compression: Annotated[str, typer.Option("--compression", help="none, gzip or zstd.")] = "gzip",
) -> None:
    """Pack a folder into the artifact of a package, with its metadata beside it.

    A definition.yaml in the current folder says what else there is to know of the package, if it is
    this one's.
    """
    settings: Settings = context.obj or Settings()
    id_ = _named(package)
    how = compression_of(compression)
    if not source.is_dir():
        raise InputError(f"--source {source}: is not a folder")
    if destination.resolve().is_relative_to(source.resolve()):
        hint = "name another folder with --destination"
        raise UsageError(f"{destination} lies in the folder that is packed", hint=hint)
    spec = _described(id_)
    roots = MountedRoots(source, source)
    artifact = pack(
        select(spec.build, roots), source, destination=destination, package=id_, compression=how
    )
    stamp = settings.source_date_epoch
    epoch = int(time.time()) if stamp is None else stamp
    written = write_metadata(describe(spec, artifact, epoch=epoch), destination)
    remove_documents(destination, [id_])  # they are about the archive before, and so is a mark
    remove_mark(destination, id_.fingerprint, (artifact.path.name, written.name))
    for path in (artifact.path, written):
        typer.echo(path)


def _named(text: str) -> PackageId:
    """Read a package with one version; raises `UsageError`."""
    category, name, version = parse_argument(text)
    if not version or not Selector.of_requirement(version).is_literal:
        raise UsageError(f"{text}: needs one version: category/name@version")
    return PackageId(category, name, version)


def _described(package: PackageId) -> PackageSpec:
    """Take the definition that lies in the current folder, or one that has an identity only."""
    path = Path(DEFINITION)
    found = read_definition(path).definition if path.is_file() else None
    if found is None or found.id != package:
        category, name, version = package
        found = Definition(category=category, name=name, version=version)
    build = BuildSpec(unpack=True)
    return PackageSpec(definition=found, build=build, folder=Path(), definition_file=path)
