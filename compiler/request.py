"""What a person asks for, made into a plan: asks the tree, the store and the destination."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.archive import Compression
from compiler.base_images import ImageLookup, find_images, further_images, image_names
from compiler.choices import choose
from compiler.context import ContextFile, context_files
from compiler.engine import Network
from compiler.errors import (
    CompilerError,
    Faults,
    ResolutionError,
    SpecError,
    UsageError,
)
from compiler.fingerprint import NodeKeys, Sources, clash_key, fingerprints, stack_key
from compiler.graph import BuildGraph, Choices, Clash, Layering, NodeId, build_graph
from compiler.keys import LayerKey
from compiler.oci import Image
from compiler.packed import ArtifactForm, artifact_fault
from compiler.plan import Action, PlanNode, Present, make_plan
from compiler.resolver import dependents, resolve, resolve_each
from compiler.retrieve import retrieved_files
from compiler.spec.package import PackageId, PackageSpec, Requirement
from compiler.store import Cache, Store
from compiler.store.images import host_platform
from compiler.tree import Tree
from compiler.version import parse_argument


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which packages are wanted, and how: the command line of a build, in the tree's words."""

    packages: tuple[str, ...] = ()
    everything: bool = False
    top: bool = False
    dependents: bool = False
    only_requirements: bool = False
    no_requirements: bool = False
    only_targets: bool = False
    rebuild: bool = False
    layering: Layering = Layering.AUTO
    destination: Path = Path("build")
    compression: Compression = Compression.NONE
    network: Network = Network.HOST
    source_date_epoch: int | None = None
    documents: bool = False
    mtree: bool = False
    verified: bool = False
    """Whether what came from others, with no signature checked, is as good as not there."""
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def form(self) -> ArtifactForm:
        """How artifacts are wanted."""
        return ArtifactForm(self.compression, self.documents, self.mtree, self.verified)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, with all that running it takes."""

    targets: tuple[PackageId, ...]
    choices: Choices
    graph: BuildGraph
    keys: Mapping[NodeId, NodeKeys]
    nodes: tuple[PlanNode, ...]
    images: Mapping[str, Image] = field(default_factory=dict)
    contexts: Mapping[PackageId, Sequence[ContextFile]] = field(default_factory=dict)
    further: Mapping[PackageId, Sequence[str]] = field(default_factory=dict)
    """The images that instructions of a package name, besides the one that it starts from."""


def targets_of(tree: Tree, request: Request) -> tuple[PackageId, ...]:
    """Find the packages that a request names, sorted; raises `Faults` for unknown ones."""
    if request.everything or request.top:
        targets = {id_ for id_, spec in tree.buildtime.packages.items() if not spec.is_published}
        if request.top:
            targets = _top(tree, targets)
    else:
        targets = set(_named(tree, request.packages))
    if request.dependents:
        targets |= _dependents(tree, targets)
    return tuple(sorted(targets, key=lambda package: package.fingerprint))


def _dependents(tree: Tree, targets: set[PackageId]) -> set[PackageId]:
    """Find all packages that require one of `targets`, directly or not, selectors followed."""
    answers = resolve_each(tree.buildtime.packages, tree.buildtime)
    edges = {**answers.edges, **{p: r.edges[p] for p, r in answers.special.items()}}
    users = dependents(edges)
    found: set[PackageId] = set()
    pending = list(targets)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in found:
                found.add(user)
                pending.append(user)
    return found


def _named(tree: Tree, arguments: Iterable[str]) -> Iterator[PackageId]:
    """Look up the packages named on the command line."""
    faults: list[CompilerError] = []
    for argument in arguments:
        try:
            yield _find(tree, argument)
        except CompilerError as error:
            faults.append(error)
    if faults:
        raise Faults.of(faults)


def _find(tree: Tree, argument: str) -> PackageId:
    """Find a package by its own name, or else one that provides what is named."""
    try:
        return tree.find(argument)
    except ResolutionError:
        category, name, version = parse_argument(argument)
        if not tree.buildtime.providers(category, name):
            raise
        wanted = Requirement(category=category, name=name, version=version)
        return resolve([wanted], tree.buildtime).targets[0]


def _top(tree: Tree, packages: set[PackageId]) -> set[PackageId]:
    """Keep the packages that no other one requires."""
    choices = choose(tree, packages)
    needed = {need for wires in choices.wiring.values() for need in wires.requires}
    return packages - needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Where a plan looks besides the store: for what was built, and for base images.

    `admit` hears of the names of all images before the first of them is looked up, and raises what
    keeps them from being used.
    """

    cache: Cache | None = None
    image: ImageLookup | None = None
    admit: Callable[[Sequence[str]], None] = lambda _names: None


def plan_request(
    tree: Tree, request: Request, store: Store, elsewhere: Elsewhere | None = None
) -> Planned:
    """Decide what has to be done for a request; reads, but changes nothing."""
    elsewhere = elsewhere or Elsewhere()
    _check_destination(request.destination)
    targets = targets_of(tree, request)
    choices = choose(tree, targets)
    built = _requirements(choices, targets) if request.only_requirements else targets
    specs = [choices.specs[package] for package in choices.wiring]
    further = {spec.id: names for spec in specs if (names := further_images(spec))}
    names = image_names(specs)
    elsewhere.admit(names)
    images = dict(find_images(names, elsewhere.image or store.image))
    contexts = {spec.id: _context(spec) for spec in specs}
    sources = replace(_sources(request, choices, images, contexts), sources=further)
    graph, keys = _settle(choices, built, request, sources, store)
    present = _present(graph, keys, request, store=store, cache=elsewhere.cache)
    alone = request.only_targets or request.no_requirements
    wanted = set(graph.targets) if alone else _own_nodes(graph)
    nodes = make_plan(
        graph,
        keys,
        present,
        wanted=wanted,
        again=set(graph.targets) if request.rebuild else frozenset(),
    )
    if request.no_requirements:
        _check_requirements(nodes, graph)
    return Planned(
        targets=targets,
        choices=choices,
        graph=graph,
        keys=keys,
        nodes=nodes,
        images=images,
        contexts=contexts,
        further=further,
    )


def _check_destination(destination: Path) -> None:
    """Refuse a destination that cannot be a folder, before anything is built for it."""
    for folder in (destination, *destination.parents):
        if folder.exists():
            if not folder.is_dir():
                raise UsageError(f"{folder}: is not a folder", hint="name another --destination")
            return


def _requirements(choices: Choices, targets: Sequence[PackageId]) -> tuple[PackageId, ...]:
    """Name what the targets stand on, join and copy from, but not themselves."""
    found: dict[PackageId, None] = {}
    for target in targets:
        wires = choices.wiring[target]
        copied = (each for each in wires.copies if each is not None)
        found.update(dict.fromkeys((*wires.requires, *wires.joined, *copied)))
    return tuple(each for each in found if each not in targets)


def _context(spec: PackageSpec) -> tuple[ContextFile, ...]:
    """List the files that the steps of a package may see."""
    if spec.build is None:
        return ()
    build = spec.build
    return context_files(spec.folder, texts=(*build.prelude, *build.steps, *build.env))


def _sources(
    request: Request,
    choices: Choices,
    images: Mapping[str, Image],
    contexts: Mapping[PackageId, Sequence[ContextFile]],
) -> Sources:
    """Collect what the keys are made of besides the specs."""
    retrieved = {
        package: _retrieved(choices.specs[package], wires.retrieved, request.destination)
        for package, wires in choices.wiring.items()
    }
    return Sources(
        platform=host_platform(),
        images={name: image.content for name, image in images.items()},
        contexts=contexts,
        retrieved={package: files for package, files in retrieved.items() if files},
        epoch=request.source_date_epoch,
        network=request.network.value,
        compression=request.compression.value,
        values=_hash_of(request.values),
        recorded={
            package: _hash_of(spec.given(request.values))
            for package in choices.wiring
            if (spec := choices.specs[package]).recorded
        },
    )


def _retrieved(
    spec: PackageSpec, packed: Sequence[PackageId], destination: Path
) -> Mapping[str, str]:
    """List the files that a package retrieves; raises `SpecError` where a pattern is written.

    Archives of `packed` packages count by their keys: they may not have been written yet.
    """
    patterns = spec.build.retrieve if spec.build is not None else ()
    if not patterns:
        return {}
    own = tuple(f"{each.fingerprint}." for each in packed)
    try:
        found = retrieved_files(patterns, destination)
        return {name: digest for name, digest in found.items() if not name.startswith(own)}
    except SpecError as error:
        error.location = spec.places.get("retrieve")
        raise


def _hash_of(values: Mapping[str, object]) -> str:
    """Name the values of a run by what they hold."""
    text = json.dumps(values, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if values else ""


def _settle(
    choices: Choices,
    targets: Sequence[PackageId],
    request: Request,
    sources: Sources,
    store: Store,
) -> tuple[BuildGraph, dict[NodeId, NodeKeys]]:
    """Build the graph, again for as long as stacks turn up in it that are known to clash."""
    clashes: dict[NodeId, Clash] = {}
    while True:
        graph = build_graph(choices, targets, layering=request.layering, clashes=clashes)
        keys = fingerprints(graph, sources)
        known = {
            node.id: clash
            for node in graph.stacked()
            if (clash := _known_clash([keys[each].layer for each in node.parents], store))
        }
        if all(clash == clashes.get(node) for node, clash in known.items()):
            return graph, keys
        clashes.update(known)


def _known_clash(parents: Sequence[LayerKey], store: Store) -> Clash | None:
    """Return what is known to clash in the stack on top of which these nodes lie."""
    stack = stack_key(parents)
    paths = store.overlaps(stack)
    if not paths:
        return None
    packages = store.overlaps(clash_key(stack)) or ()
    return Clash(paths, tuple(PackageId(*each.split("\t")) for each in packages))


def _own_nodes(graph: BuildGraph) -> set[NodeId]:
    """Name the nodes that stand on their own closure: the ones that artifacts are packed from."""
    return {each for each in graph.nodes if not each.variant}


def _present(
    graph: BuildGraph,
    keys: Mapping[NodeId, NodeKeys],
    request: Request,
    *,
    store: Store,
    cache: Cache | None,
) -> Present:
    """Ask the store and the destination what is there, and the cache what else there is."""
    layers = store.present(each.layer for each in keys.values())
    doubted = _unverified(layers, store) if request.verified else frozenset()
    layers -= doubted
    faults = {
        keys[id_].artifact: artifact_fault(
            node.spec,
            keys[id_],
            store=store,
            destination=request.destination,
            form=request.form,
        )
        for id_, node in graph.nodes.items()
    }
    stale = {key: fault for key, fault in faults.items() if fault is not None}
    missing = {id_: own.layer for id_, own in keys.items() if own.layer not in layers}
    titles = {id_.package.title for id_ in missing}
    present = Present(
        layers=layers,
        artifacts=faults.keys() - stale.keys(),
        stale=stale,
        doubted=doubted,
        latest={title: record.inputs for title in titles if (record := store.latest(title))},
    )
    if cache is None:
        return present
    return replace(
        present,
        remote_layers=cache.nodes(missing.values()),
        remote_artifacts=cache.artifacts(stale),
    )


def _unverified(layers: Set[LayerKey], store: Store) -> Set[LayerKey]:
    """Pick the layers that came from others, or were built from such, with no signature checked."""
    return frozenset(
        key for key in layers if (record := store.node(key)) is not None and record.unverified
    )


def _check_requirements(nodes: Sequence[PlanNode], graph: BuildGraph) -> None:
    """Raise `UsageError` unless all that the targets stand on is there."""
    targets = set(graph.targets)
    missing = [each for each in nodes if each.id not in targets and each.action is Action.BUILD]
    if missing:
        raise UsageError(
            f"{missing[0].id} has not been built, and --nodeps forbids to build it",
            hint="leave out --nodeps",
        )
