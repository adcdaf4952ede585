"""What building and `cos create-repo` take from the repositories of the configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from compiler.cli.client import client_config, open_client, tell
from compiler.cli.repo import Title
from compiler.cli.repositories import repository_of
from compiler.cli.settings import Settings
from compiler.errors import UsageError
from compiler.repository.compilertree import PublishedTree, published_tree
from compiler.repository.synced import Available, Synced
from compiler.spec.package import PackageId, PackageSpec
from compiler.system.client import Client

_PARAMETERS = {"name": "name", "description": "description", "type": "kind", "urls": "urls"}
"""The fields of a title by the parameters of the command that give them."""


def title(context: typer.Context, name: str, given: Title) -> Title:
    """Take what the command line does not say from the configuration, as luet's --repo does."""
    found = repository_of(client_config(context.obj or Settings()), name)
    fields = {
        field: getattr(found, field)
        for field, parameter in _PARAMETERS.items()
        if not _is_given(context, parameter)
    }
    if found.treepath and not _is_given(context, "tree"):
        fields["trees"] = (found.treepath,)
    return replace(given, priority=found.priority, **fields)


def specs(context: typer.Context, folder: Path) -> dict[PackageId, PackageSpec]:
    """Give the packages that repositories define, those of preferred ones first of all.

    Their finalizers are written into `folder`.
    """
    with open_client(context) as client:
        packages = {
            id_: found for each in _preferred_last(client) for id_, found in each.packages.items()
        }
    return {
        id_: _spec(found, folder / str(number))
        for number, (id_, found) in enumerate(packages.items())
    }


@contextmanager
def trees(context: typer.Context) -> Iterator[tuple[PublishedTree, ...]]:
    """Lend the trees that repositories were made of, those of preferred ones last."""
    with open_client(context) as client:
        found = []
        for each in _preferred_last(client):
            folder = client.shelf.folder(each.config)
            tree = published_tree(each, client.source(each.config), folder)
            if tree is not None:
                found.append(tree)
            else:
                tell(client, f"{each.name}: has no trees to build from; left out", warning=True)
        yield tuple(found)


def _preferred_last(client: Client) -> list[Synced]:
    """List what repositories have, so that the later wins; raises `UsageError` without any."""
    if not client.used:
        hint = "`cos repo add` adds one, and --config FILE names the configuration"
        raise UsageError("--from-repositories: no repository is configured", hint=hint)
    return sorted(client.repositories, key=lambda each: each.config.priority)[::-1]


def _spec(package: Available, folder: Path) -> PackageSpec:
    """Show a package of a repository as one of a tree that has no more than its definition."""
    finalize = None
    if package.finalizer is not None:
        folder.mkdir()
        finalize = folder / "finalize.yaml"
        finalize.write_text(package.finalizer, encoding="utf-8", errors="surrogateescape")
    return PackageSpec(
        definition=package.definition,
        build=None,
        folder=folder,
        definition_file=folder,
        finalize_file=finalize,
    )


def _is_given(context: typer.Context, parameter: str) -> bool:
    """Tell whether the command line has an option."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"
