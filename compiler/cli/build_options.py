"""What `cos build` and `cos plan` are both told, declared once."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from compiler.cli import options
from compiler.cli.settings import Settings
from compiler.cli.tree_options import FromRepositories
from compiler.cli.trees import open_tree
from compiler.engine import Network
from compiler.graph import Layering
from compiler.request import Request
from compiler.spec.flavour import load_values
from compiler.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Which packages of which trees are asked for, and how they are built, as it was given."""

    packages: options.Packages = None
    tree: options.Trees = None
    values: options.Values = None
    destination: options.Destination = Path("build")
    compression: options.CompressionOption = "none"
    everything: options.All = False
    full: options.Full = False
    revdeps: options.Revdeps = False
    nodeps: options.NoDeps = False
    onlydeps: options.OnlyDeps = False
    only_target: options.OnlyTarget = False
    rebuild: options.Rebuild = False
    dockerfiles: options.Dockerfiles = False
    layering: options.LayeringOption = Layering.AUTO
    network: options.NetworkOption = Network.HOST
    from_repositories: FromRepositories = False

    @property
    def trees(self) -> tuple[Path, ...]:
        """The trees, the later over the earlier."""
        return options.paths(self.tree, [options.HERE])

    def open_tree(self, context: typer.Context, values: Mapping[str, object]) -> Tree:
        """Load the trees with the values of a request."""
        return open_tree(
            context,
            self.trees,
            values,
            dockerfiles=self.dockerfiles,
            from_repositories=self.from_repositories,
        )

    def values_files(self, settings: Settings) -> tuple[Path, ...]:
        """The values files, the last of which wins."""
        return options.values_files(self.values, settings)

    def request(
        self,
        settings: Settings,
        *,
        documents: bool = False,
        mtree: bool = False,
        verified: bool = False,
    ) -> Request:
        """Put into one value what is asked for; raises `Faults` for values that cannot be read."""
        return Request(
            packages=tuple(self.packages or ()),
            everything=self.everything,
            top=self.full,
            dependents=self.revdeps,
            only_requirements=self.onlydeps,
            no_requirements=self.nodeps,
            only_targets=self.only_target,
            rebuild=self.rebuild,
            layering=self.layering,
            destination=self.destination,
            compression=options.compression_of(self.compression),
            documents=documents,
            mtree=mtree,
            verified=verified,
            network=self.network,
            source_date_epoch=settings.source_date_epoch,
            values=load_values(self.values_files(settings)),
        )


def with_build_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take each of `BuildOptions` as an option, before those it has itself.

    The command is called with its context, the `BuildOptions`, and its own options.
    """
    written = inspect.signature(command, eval_str=True)
    context, _, *own = written.parameters.values()
    shared = inspect.signature(BuildOptions).parameters

    @wraps(command)
    def called(**given: Any) -> None:  # noqa: ANN401  (what typer has read, by the names of options)
        asked_for = BuildOptions(**{name: given.pop(name) for name in shared})
        command(given.pop(context.name), asked_for, **given)

    # typer makes options out of the signature that a function shows
    called.__dict__["__signature__"] = written.replace(
        parameters=[
            context.replace(kind=inspect.Parameter.KEYWORD_ONLY),
            *shared.values(),
            *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own),
        ]
    )
    return called
