"""Options that several commands share, with luet's names, and what they mean together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler.archive import Compression
from compiler.cli.settings import Settings
from compiler.engine import Network
from compiler.errors import UsageError
from compiler.graph import Layering
from compiler.store.local import LocalStore, default_store_path

HERE = Path()
"""The default tree: the current folder, as luet has it."""

Packages = Annotated[
    list[str] | None, typer.Argument(help="What to build: category/name, with @VERSION if needed.")
]
Trees = Annotated[
    list[str] | None,
    typer.Option("-t", "--tree", help="A tree; later ones overlay earlier ones. [default: .]"),
]
Values = Annotated[
    list[str] | None, typer.Option("--values", help="A values file; the last one wins.")
]
Destination = Annotated[
    Path, typer.Option("--destination", help="The folder that artifacts are written to.")
]
CompressionOption = Annotated[
    str, typer.Option("--compression", help="How archives are compressed: none, gzip or zstd.")
]
All = Annotated[bool, typer.Option("--all", help="Every package of the tree.")]
Full = Annotated[bool, typer.Option("--full", help="Every package that no other one requires.")]
Revdeps = Annotated[bool, typer.Option("--revdeps", help="And what requires the named ones.")]
NoDeps = Annotated[
    bool, typer.Option("--nodeps", help="Build no requirement; their layers must be there.")
]
OnlyDeps = Annotated[bool, typer.Option("--onlydeps", help="Build the requirements only.")]
OnlyTarget = Annotated[
    bool, typer.Option("--only-target-package", help="Write no artifacts of requirements.")
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Build the named packages although they are there.")
]
Dockerfiles = Annotated[
    bool, typer.Option("--dockerfiles", help="Take every Dockerfile of the tree as a package.")
]
LayeringOption = Annotated[
    Layering,
    typer.Option("--layering", help="Stack layers, and chain them where they clash (auto)."),
]
NetworkOption = Annotated[Network, typer.Option("--network", help="The network that steps have.")]
Output = Annotated[
    str, typer.Option("-o", "--output", help="The form of the result: terminal, json or yaml.")
]


def paths(given: Sequence[str] | None, default: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Read a list that may be repeated and comma separated, as luet's flags are."""
    named = tuple(Path(each) for text in given or () for each in text.split(",") if each)
    return named or tuple(default)


def values_files(given: Sequence[str] | None, settings: Settings) -> tuple[Path, ...]:
    """List the values files in the order in which they override: the environment's come first."""
    return (*settings.values, *paths(given))


def compression_of(text: str) -> Compression:
    """Read `--compression`; raises `UsageError`."""
    try:
        return Compression(text)
    except ValueError:
        allowed = ", ".join(each.value for each in Compression)
        raise UsageError(f"--compression is one of {allowed}, not {text!r}") from None


def open_store(settings: Settings, trees: Sequence[Path] = ()) -> LocalStore:
    """Open the store that the command line, the environment or the tree's place names."""
    return LocalStore(settings.store or default_store_path(trees[0] if trees else None))


def project_folder(trees: Sequence[Path]) -> Path:
    """Return the folder of the project that a tree belongs to: where its store and lock are."""
    return default_store_path(trees[0] if trees else None).parent.parent
