"""Trees as commands read them: those that are named, over those that repositories were made of."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from compiler.tree import Tree, load_tree


def open_tree(
    context: typer.Context,
    roots: Sequence[Path],
    values: Mapping[str, object] | Sequence[Path],
    *,
    dockerfiles: bool = False,
    from_repositories: bool = False,
) -> Tree:
    """Load trees for as long as the command runs: what came from repositories may go with it.

    Raises `Faults` with all that is wrong with the trees, `UsageError` without any repository.
    """
    if not from_repositories:
        return load_tree(roots, values=values, dockerfiles=dockerfiles)
    configured = importlib.import_module("compiler.cli.configured")  # start-up time
    published = context.with_resource(configured.trees(context))
    return load_tree(
        (*(each.root for each in published), *roots),
        values=values,
        dockerfiles=dockerfiles,
        recorded={each.root: each.values for each in published},
    )
