"""BuildGraph: which node stands on which, so that every package is built once, on its own closure.

A node's root is made of the layers of its parents' roots and its parents, bottom first, in the
post-order of a depth-first walk. Where stacking would lose something (two siblings change the same
path, or start from different images) the node's root becomes a chain, in the order in which luet
builds: each package then stands on all before it, as a *variant* of its own node.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple, TypeVar

from compiler.errors import CompilerError, CycleError, SpecError
from compiler.spec.package import CopySource, PackageId, PackageSpec

T = TypeVar("T")

Context = Mapping[PackageId, tuple[PackageId, ...]]
"""The requirements of every package below one target, where that target chose its own."""


class Layering(Enum):
    """What happens when layers of a stack clash: chain that one target, fail, or always chain."""

    AUTO = "auto"
    STACK = "stack"
    CHAIN = "chain"


class NodeId(NamedTuple):
    """One package on one root; `variant` is empty when the root is the package's own closure."""

    package: PackageId
    variant: str = ""

    def __str__(self) -> str:
        """The package as people see it; a variant shows the first digits of what it stands on."""
        return f"{self.package} ({self.variant[:8]})" if self.variant else str(self.package)


class Clash(NamedTuple):
    """What would be lost in a stack: the paths, and the packages whose layers disagree on them."""

    paths: tuple[str, ...]
    packages: tuple[PackageId, ...] = ()


class CopyEdge(NamedTuple):
    """A `copy` entry, and the node whose root its files are taken from (None for an image)."""

    source: CopySource
    node: NodeId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the resolver chose for one package: the packages behind its words, in order.

    `requires` are sorted by fingerprint, `joined` are in the order of unpacking, `copies` runs
    parallel to the spec's `copy` entries.
    """

    requires: tuple[PackageId, ...] = ()
    joined: tuple[PackageId, ...] = ()
    copies: tuple[PackageId | None, ...] = ()
    retrieved: tuple[PackageId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Everything that was chosen for a build: each package's spec and the packages it stands on.

    `special` holds, for a target whose requirements had to back off to older versions, the
    requirements of every package below it as they are in that target's closure.
    """

    specs: Mapping[PackageId, PackageSpec]
    wiring: Mapping[PackageId, Wiring]
    special: Mapping[PackageId, Context] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildNode:
    """A package to build, and everything its root is made of."""

    id: NodeId
    spec: PackageSpec
    parents: tuple[NodeId, ...] = ()
    image: str = ""
    joined: tuple[NodeId, ...] = ()
    copies: tuple[CopyEdge, ...] = ()
    retrieved: tuple[NodeId, ...] = ()
    """The nodes whose archives are brought into the workspace."""
    clash: tuple[str, ...] = ()
    """The paths because of which the root is a chain."""
    unseen: tuple[PackageId, ...] = ()
    """Required packages that the root cannot hold, since they start from another image."""

    @property
    def needs(self) -> tuple[NodeId, ...]:
        """Every node that must be there before this one, each once, in order."""
        copied = (edge.node for edge in self.copies if edge.node is not None)
        return tuple(dict.fromkeys((*self.parents, *self.joined, *copied, *self.retrieved)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildGraph:
    """All nodes in build order: what a node needs always comes before it."""

    nodes: Mapping[NodeId, BuildNode]
    targets: tuple[NodeId, ...]

    def root(self, node: NodeId) -> tuple[NodeId, ...]:
        """List the nodes whose layers make the root of `node`, bottom first."""
        return _post_order(self.nodes[node].parents, lambda each: self.nodes[each].parents)

    def base_image(self, node: NodeId) -> str:
        """Name the image at the bottom of a node's root; empty if there is none, or a join."""
        if self.nodes[node].joined:
            return ""
        named = (self.nodes[each].image for each in (*self.root(node), node))
        return next((image for image in named if image), "")

    def stacked(self) -> Iterator[BuildNode]:
        """Go through the nodes whose parents' layers are stacked side by side, so may clash."""
        return (node for node in self.nodes.values() if len(node.parents) > 1)


def _post_order(starts: Iterable[T], below: Callable[[T], Iterable[T]]) -> tuple[T, ...]:
    """Order everything reachable from `starts`, what is below first; raises `CycleError`."""
    done: dict[T, None] = {}
    for start in starts:
        stack = [(start, iter(below(start)))]
        path = {start: None}
        while stack:
            node, rest = stack[-1]
            follower = next((each for each in rest if each not in done), None)
            if follower is None:
                done.setdefault(node)
                stack.pop()
                path.pop(node, None)
            elif follower in path:
                raise _cycle((*path, follower))
            else:
                path[follower] = None
                stack.append((follower, iter(below(follower))))
    return tuple(done)


def _cycle(path: Sequence[object]) -> CycleError:
    """Show a ring of packages that need each other, from the first to itself again."""
    names = [str(each) for each in path]
    ring = names[names.index(names[-1]) :]
    return CycleError(f"cycle: {' -> '.join(ring)}", chain=ring)


class _Builder:
    """Places packages on their roots, one after another, whatever they need first."""

    def __init__(
        self,
        choices: Choices,
        layering: Layering,
        clashes: Mapping[NodeId, Clash],
    ) -> None:
        self.specs = choices.specs
        self.wiring = choices.wiring
        self.special = choices.special
        self.layering = layering
        self.clashes = clashes
        self.clashing = frozenset(each for clash in clashes.values() for each in clash.packages)
        self.nodes: dict[NodeId, BuildNode] = {}
        self.bases: dict[NodeId, str] = {}
        self.has_variants = False

    def below(self, package: PackageId) -> Iterator[PackageId]:
        """Name every package that must be placed before `package`."""
        wires = self.wiring[package]
        if self.stands_on_requires(package):
            yield from wires.requires
        yield from (each for each in self.special.get(package, ()) if each != package)
        yield from wires.joined
        yield from (each for each in wires.copies if each is not None)
        yield from wires.retrieved

    def stands_on_requires(self, package: PackageId) -> bool:
        """Tell whether the root comes from the requirements: neither from an image nor a join."""
        build = self.specs[package].build
        return not self.wiring[package].joined and not (build is not None and build.image)

    def place(self, package: PackageId) -> None:
        """Add the node of `package` on its own closure; what it needs is placed already."""
        context = self.special.get(package, {})
        placed: dict[PackageId, NodeId] = {}
        if not context:
            parents = tuple(NodeId(each) for each in self.wanted(package, context))
            self.add(self.settle(self.bare(NodeId(package), parents), context))
            return
        for each in _post_order(self.wanted(package, context), lambda p: self.wanted(p, context)):
            placed[each] = self.place_below(each, placed, context)
        parents = tuple(placed[each] for each in self.wanted(package, context))
        self.add(self.settle(self.bare(NodeId(package), parents), context))

    def place_below(
        self, package: PackageId, placed: Mapping[PackageId, NodeId], context: Context
    ) -> NodeId:
        """Return the node of a package as `context` resolves it: its own, or a variant."""
        natural = NodeId(package)
        if package not in context:
            return natural
        parents = tuple(placed[each] for each in self.wanted(package, context))
        if parents == self.nodes[natural].parents:
            return natural
        own = _variant(package, parents)
        if own not in self.nodes:
            self.add(self.settle(self.bare(own, parents), context))
        return own

    def wanted(self, package: PackageId, context: Context) -> tuple[PackageId, ...]:
        """Name the packages that `package` stands on, as `context` or its own wiring chose them."""
        if not self.stands_on_requires(package):
            return ()
        return context.get(package, self.wiring[package].requires)

    def bare(self, own: NodeId, parents: tuple[NodeId, ...]) -> BuildNode:
        """Make the node of a package before it is known whether its parents can be stacked."""
        spec, wires = self.specs[own.package], self.wiring[own.package]
        build = spec.build
        sources = build.copy_ if build is not None else ()
        return BuildNode(
            id=own,
            spec=spec,
            parents=parents,
            image=build.image if build is not None and not wires.joined else "",
            joined=tuple(NodeId(each) for each in wires.joined),
            retrieved=tuple(NodeId(each) for each in wires.retrieved),
            copies=tuple(
                CopyEdge(source, None if package is None else NodeId(package))
                for source, package in zip(sources, wires.copies, strict=True)
            ),
        )

    def settle(self, node: BuildNode, context: Context) -> BuildNode:
        """Turn the stack of a node's parents into a chain where stacking would lose something."""
        bases = {self.bases[each] for each in node.parents} - {""}
        clash = self.clashes.get(node.id, Clash(())).paths
        whole = len(bases) > 1 or self.layering is Layering.CHAIN
        if len(node.parents) < 2 or not (  # noqa: PLR2004  (one parent cannot clash)
            whole or clash or self.holds_a_package_twice(node)
        ):
            return node
        if self.layering is Layering.STACK:
            raise _cannot_stack(node, bases, clash)
        if not whole:
            return replace(node, parents=self.set_apart(node, context), clash=clash)
        chain, unseen = self.chain(node, context)
        return replace(node, parents=chain[-1:], clash=clash, unseen=unseen)

    def set_apart(self, node: BuildNode, context: Context) -> tuple[NodeId, ...]:
        """Put each clashing package below `node` on the one before it; the rest stays stacked.

        So only those that clash, and what stands on them, are built as variants.
        """
        placed: dict[PackageId, NodeId] = {}
        last: NodeId | None = None
        starts = self.wanted(node.id.package, context)
        for package in _post_order(starts, lambda each: self.wanted(each, context)):
            below = tuple(placed[each] for each in self.wanted(package, context))
            clashes = package in self.clashing and bool(self.bases[NodeId(package)])
            if clashes and last is not None and last not in self.root(below):
                below = (last, *below)
            placed[package] = self.relink(package, below)
            last = placed[package] if clashes else last
        return tuple(placed[each] for each in starts)

    def relink(self, package: PackageId, below: tuple[NodeId, ...]) -> NodeId:
        """Return the node of a package on `below`: its own if that stands just there."""
        natural = NodeId(package)
        if self.nodes[natural].joined or below == self.nodes[natural].parents:
            return natural
        own = _variant(package, below)
        if own not in self.nodes:
            image = "" if below else self.nodes[natural].image
            self.add(replace(self.bare(own, below), image=image))
        return own

    def holds_a_package_twice(self, node: BuildNode) -> bool:
        """Tell whether two variants of one package meet in the root."""
        if not self.has_variants:
            return False
        packages = [each.package for each in self.root(node.parents)]
        return len(set(packages)) < len(packages)

    def chain(
        self, node: BuildNode, context: Context
    ) -> tuple[tuple[NodeId, ...], tuple[PackageId, ...]]:
        """Lay everything below `node` out as luet does: each package on all that come before it."""
        links: list[NodeId] = []
        unseen: list[PackageId] = []

        for package in _post_order(
            (each.package for each in node.parents), lambda each: self.wanted(each, context)
        ):
            natural = NodeId(package)
            base = self.bases[natural]
            if not base:
                continue
            if links and base != self.bases[links[-1]] and not self.wanted(package, context):
                unseen.extend(each.package for each in links)
                links.clear()
            links.append(self.link(package, tuple(links)))
        return tuple(links), tuple(unseen)

    def link(self, package: PackageId, links: tuple[NodeId, ...]) -> NodeId:
        """Put `package` on top of a chain: its own node if that stands just there, or a variant."""
        natural = NodeId(package)
        if self.root(self.nodes[natural].parents) == links:
            return natural
        own = _variant(package, links)
        if own not in self.nodes:
            self.add(replace(self.bare(own, links[-1:]), image=""))
        return own

    def root(self, parents: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
        """List the nodes of the root that `parents` make, bottom first."""
        return _post_order(parents, lambda each: self.nodes[each].parents)

    def add(self, node: BuildNode) -> None:
        """Keep a finished node, and what its root starts from."""
        self.nodes[node.id] = node
        self.has_variants = self.has_variants or bool(node.id.variant)
        if node.joined:
            self.bases[node.id] = f"join {node.id.package}"
        else:
            below = (self.bases[each] for each in reversed(node.parents) if self.bases[each])
            self.bases[node.id] = node.image or next(below, "")


def _variant(package: PackageId, below: tuple[NodeId, ...]) -> NodeId:
    """Name the node of `package` on these parents, which are not its own closure."""
    return NodeId(package, hashlib.sha256(repr(below).encode()).hexdigest()[:16])


def _cannot_stack(node: BuildNode, bases: set[str], clash: tuple[str, ...]) -> CompilerError:
    """Say why a root cannot be a stack, where only stacks are allowed."""
    if len(bases) > 1:
        why = f"its requirements start from different images: {', '.join(sorted(bases))}"
    else:
        why = f"its requirements change the same paths: {', '.join(clash[:5]) or 'of one package'}"
    return SpecError(
        f"{node.id.package} cannot be built on a stack: {why}",
        location=node.spec.places.get("requires"),
        hint="let one require the other, or allow --layering auto",
    )


def build_graph(
    choices: Choices,
    targets: Iterable[PackageId],
    *,
    layering: Layering = Layering.AUTO,
    clashes: Mapping[NodeId, Clash] | None = None,
) -> BuildGraph:
    """Place `targets` and all they need on their roots.

    `clashes` names nodes whose parents' layers are known to change the same paths. Raises
    `CycleError`, and `SpecError` where only stacks are allowed.
    """
    builder = _Builder(choices, layering, clashes or {})
    wanted = sorted(set(targets), key=lambda package: package.fingerprint)
    for package in _post_order(wanted, builder.below):
        builder.place(package)
    starts = [NodeId(package) for package in wanted]
    needed = _post_order(starts, lambda each: builder.nodes[each].needs)
    # A package that only stands in chains still has an artifact, which its own node gives.
    starts += [NodeId(each.package) for each in needed if each.variant]
    nodes = _post_order(starts, lambda each: builder.nodes[each].needs)
    return BuildGraph(
        nodes={each: builder.nodes[each] for each in nodes},
        targets=tuple(NodeId(package) for package in wanted),
    )
