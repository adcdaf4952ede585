"""`cos build`: builds packages of a tree into artifacts."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import typer

from compiler.archive.compress import remove_stale
from compiler.artifact import archive_name
from compiler.cli import options
from compiler.cli.output import dump
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.userns import enter_user_namespace
from compiler.engine import Network
from compiler.errors import Faults, UsageError
from compiler.events import Noted, Reporter
from compiler.graph import BuildGraph, Layering
from compiler.plan import Action, PlanNode
from compiler.preflight import faults_of, warnings_of
from compiler.request import Planned, Request, plan_request, targets_of
from compiler.resolver import resolve_each
from compiler.spec.flavour import load_values
from compiler.store.local import LocalStore
from compiler.tree import Tree, load_tree

app = typer.Typer(add_completion=False)

_NAMED = 3
"""How many clashing paths a warning names before it only counts the rest."""

_NOT_YET = "needs a registry, which this version does not talk to yet"


@app.command("build")
def build(  # noqa: PLR0913  (one parameter for each option of the command)
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
    pretend: Annotated[
        bool, typer.Option("--pretend", help="Only list which requirements the targets have.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Build the targets a second time and compare.")
    ] = False,
    output: options.Output = "terminal",
    backend: Annotated[str, typer.Option("--backend", help="The engine: overlay.")] = "overlay",
    backend_args: Annotated[
        list[str] | None, typer.Option("-a", "--backend-args", help="Accepted for luet's sake.")
    ] = None,
    _image_repository: Annotated[
        str, typer.Option("--image-repository", help="The name in front of layer keys.")
    ] = "luet/cache",
    pull_repository: Annotated[
        list[str] | None, typer.Option("-p", "--pull-repository", help="Needs a registry.")
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Needs a registry.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Needs a registry.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Needs a registry.")] = False,
    _keep_images: Annotated[
        bool, typer.Option("--keep-images/--no-keep-images", help="Accepted for luet's sake.")
    ] = True,
    generate_final: Annotated[
        bool, typer.Option("--generate-final-images", help="Needs a registry.")
    ] = False,
    push_final: Annotated[
        bool, typer.Option("--push-final-images", help="Needs a registry.")
    ] = False,
    push_final_force: Annotated[
        bool, typer.Option("--push-final-images-force", help="Needs a registry.")
    ] = False,
    push_final_repository: Annotated[
        str, typer.Option("--push-final-images-repository", help="Needs a registry.")
    ] = "",
    from_repositories: Annotated[
        bool, typer.Option("--from-repositories", help="Needs configured repositories.")
    ] = False,
) -> None:
    """Build packages of a tree into artifacts.

    Each package is built once, on what it requires; what is built already and unchanged is reused.
    Without a package, --all or --full, nothing is done.
    """
    settings: Settings = context.obj
    report = reporter(settings)
    _refuse(
        {
            "--push": push,
            "--wait": wait,
            "--generate-final-images": generate_final,
            "--push-final-images": push_final or push_final_force or bool(push_final_repository),
            "--from-repositories": from_repositories,
        }
    )
    _note(report, backend=backend, pulls=pull or bool(pull_repository), args=backend_args)
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
    if pretend:
        _pretend(loaded, request, output)
        return
    enter_user_namespace()
    with options.open_store(settings, trees) as store:
        files = options.values_files(values, settings)
        name = "\n".join([*(str(each.resolve()) for each in (*trees, *files)), _what(request)])
        call = _Call(loaded, request, store, report, settings.concurrency, name)
        planned = call.build()
        if check:
            call.building().check(planned)
            report(Noted(f"{len(planned.targets)} packages built again: the same bytes"))
    if output != "terminal":
        typer.echo(dump({"packages": [_row(each, request) for each in planned.nodes]}, output))


def _row(node: PlanNode, request: Request) -> dict[str, object]:
    """Describe for a program what became of one node."""
    package = node.id.package
    archive = request.destination / archive_name(package, request.compression)
    return {
        "name": package.name,
        "category": package.category,
        "version": package.version,
        "action": node.action.value,
        "reason": node.reason,
        "key": node.keys.layer,
        "artifact": str(archive) if archive.exists() and not node.id.variant else "",
    }


def _refuse(asked: Mapping[str, bool]) -> None:
    """Refuse what would otherwise look done and is not."""
    for name, given in asked.items():
        if given:
            raise UsageError(f"{name} {_NOT_YET}", hint=f"leave out {name}")


def _note(report: Reporter, *, backend: str, pulls: bool, args: Sequence[str] | None) -> None:
    """Say which of luet's options change nothing here."""
    if backend not in {"overlay", "docker", "img", "buildah"}:
        raise UsageError(f"there is no backend {backend!r}", hint="leave out --backend")
    if backend != "overlay":
        message = f"the {backend} backend is not there yet: building with the embedded engine"
        report(Noted(message, warning=True))
    if pulls:
        report(Noted(f"--pull {_NOT_YET}: building what is missing here", warning=True))
    if args:
        report(Noted("--backend-args have no meaning for the embedded engine", warning=True))


@dataclass(frozen=True)
class _Call:
    """One call of the command: what is asked for, and what it is done with."""

    tree: Tree
    request: Request
    store: LocalStore
    report: Reporter
    concurrency: int
    name: str
    """What this call's nodes are kept for; the next call of that name replaces them."""

    def build(self) -> Planned:
        """Plan and build until no clash of layers changes the plan any more."""
        told: set[str] = set()
        remove_stale(self.request.destination)
        while True:
            planned = plan_request(self.tree, self.request, self.store)
            notes = (*chain_warnings(planned.graph), *map(str, warnings_of(planned)))
            for message in notes:
                if message not in told:
                    told.add(message)
                    self.report(Noted(message, warning=True))
            faults = list(faults_of(planned))
            if faults:
                raise Faults.of(faults)
            keys = [each.layer for each in planned.keys.values()]
            if self._is_work_left(planned):
                # Until all is built, the nodes of the last good build are kept as well.
                self.store.keep(f"{self.name}\nunfinished", keys)
                if self.building().run(planned):
                    continue
                self.store.keep(f"{self.name}\nunfinished", ())
            self.store.keep(self.name, keys)
            return planned

    def building(self) -> "Building":
        """Load what runs plans only when there is something to run: start-up time."""
        module = importlib.import_module("compiler.cli.building")
        building: Building = module.Building(
            self.request, self.store, self.report, concurrency=self.concurrency
        )
        return building

    def _is_work_left(self, planned: Planned) -> bool:
        """Tell whether a plan does anything, and say so if not."""
        if any(each.action is not Action.REUSE for each in planned.nodes):
            return True
        if planned.nodes:
            message = f"nothing to do: {len(planned.nodes)} packages are built and unchanged"
        else:
            message = "nothing was asked for: name packages, or pass --all or --full"
        self.report(Noted(message))
        return False


class Building(Protocol):
    """What runs plans; see `compiler.cli.building`."""

    def run(self, planned: Planned) -> bool:
        """Build what a plan says; tells whether another plan is needed."""

    def check(self, planned: Planned) -> None:
        """Build the targets again and compare."""


def _what(request: Request) -> str:
    """Name what was asked for, so that asking again replaces what is kept for it."""
    flags = (
        ("all", request.everything),
        ("full", request.top),
        ("revdeps", request.dependents),
        ("onlydeps", request.only_requirements),
        ("nodeps", request.no_requirements),
    )
    return " ".join((*(name for name, given in flags if given), *sorted(request.packages)))


def chain_warnings(graph: BuildGraph) -> Iterator[str]:
    """Say which roots had to be chains, and what some packages therefore do not see."""
    for node in graph.nodes.values():
        if node.clash:
            rest = len(node.clash) - _NAMED
            more = f" and {rest} more" if rest > 0 else ""
            paths = ", ".join(f"/{path}" for path in node.clash[:_NAMED])
            yield f"{node.id}: its requirements are chained, since they change {paths}{more}"
        if node.unseen:
            unseen = ", ".join(map(str, node.unseen))
            yield f"{node.id} does not see {unseen}: they start from another image"


def _pretend(tree: Tree, request: Request, output: str) -> None:
    """List what each target requires, in build order, as luet does."""
    targets = targets_of(tree, request)
    answers = resolve_each(targets, tree.buildtime)
    if answers.failed:
        raise Faults.of(answers.failed.values())
    rows = [
        {
            "name": package.name,
            "category": package.category,
            "version": package.version,
            "repository": "",
            "target": str(target),
            "hidden": tree.packages[package].definition.hidden,
            "files": None,
            "installed": False,
        }
        for target in targets
        for package in answers.of(target).packages[:-1]
    ]
    if output == "terminal":
        for row in rows:
            package = f"{row['category']}/{row['name']}-{row['version']}"
            typer.echo(f"{package} required for {row['target']}")
    else:
        typer.echo(dump({"packages": rows or None}, output))
