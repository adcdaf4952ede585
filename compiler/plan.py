"""PlanNode: for every node of a graph what will be done, reuse or build, and the reason."""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum

from compiler.fingerprint import NodeKeys
from compiler.graph import BuildGraph, BuildNode, NodeId
from compiler.keys import ArtifactKey, LayerKey
from compiler.packed import UNVERIFIED

_LABELS = {"identity": "name or version", "retrieve": "what is retrieved"}

_NUMBERED = re.compile(r"^copies \d+ ")

_NAMED = 3
"""How many changed inputs a reason names before it only counts the rest."""


class Action(Enum):
    """What happens to a node: nothing, its layers are fetched or built, or only packed again."""

    REUSE = "reuse"
    FETCH = "fetch"
    BUILD = "build"
    PACK = "pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What is there already.

    `layers` are the keys with layers in the store, `artifacts` the keys whose archives lie in the
    destination; `stale` says of others what is the matter with them. `latest` has the inputs from
    which each package (`category/name`) was last built. What can be fetched from elsewhere is in
    `remote_layers` and `remote_artifacts`; `doubted` are layers that count as not there, since no
    signature of them was checked.
    """

    layers: Set[LayerKey] = frozenset()
    artifacts: Set[ArtifactKey] = frozenset()
    remote_layers: Set[LayerKey] = frozenset()
    remote_artifacts: Set[ArtifactKey] = frozenset()
    doubted: Set[LayerKey] = frozenset()
    stale: Mapping[ArtifactKey, str] = field(default_factory=dict)
    latest: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNode:
    """One package of a plan, with the reason a person would be given."""

    node: BuildNode
    keys: NodeKeys
    action: Action
    reason: str
    packs: bool = False
    """Whether an archive is written for it."""
    fetches: bool = False
    """Whether its layers are fetched."""
    downloads: bool = False
    """Whether its archive is fetched as it is, for which no layer is needed."""
    again: bool = False
    """Whether it is built although the same content was built before."""

    @property
    def id(self) -> NodeId:
        """The node that this is about."""
        return self.node.id


def make_plan(
    graph: BuildGraph,
    keys: Mapping[NodeId, NodeKeys],
    present: Present,
    *,
    wanted: Set[NodeId],
    again: Set[NodeId] = frozenset(),
) -> tuple[PlanNode, ...]:
    """Decide what to do for every node of `graph`, in build order.

    `wanted` are the nodes whose archives are to be in the destination; `again` those that are to
    be built although their layers are there.
    """
    works = _works(graph, keys, present, wanted=wanted, again=again)
    plan: dict[NodeId, PlanNode] = {}
    for id_, node in graph.nodes.items():
        work = works[id_]
        if id_ in again:
            reason = "asked for"
        elif work.action is Action.BUILD:
            reason = _why_build(node, keys[id_], present, plan)
        elif work.fetches:
            reason = "built before, elsewhere"
        else:
            stale = present.stale.get(keys[id_].artifact, "not in the destination")
            reason = stale if work.packs or work.downloads else "unchanged"
        plan[id_] = PlanNode(
            again=id_ in again,
            node=node,
            keys=keys[id_],
            action=work.action,
            reason=reason,
            packs=work.packs,
            fetches=work.fetches,
            downloads=work.downloads,
        )
    return tuple(plan.values())


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done with the layers of a node, and how its archive comes about, if it has to."""

    action: Action
    packs: bool = False
    fetches: bool = False
    downloads: bool = False


def _works(
    graph: BuildGraph,
    keys: Mapping[NodeId, NodeKeys],
    present: Present,
    *,
    wanted: Set[NodeId],
    again: Set[NodeId],
) -> dict[NodeId, _Work]:
    """Walk from the top down: a node is only made when something that is missing needs it."""
    layer_needed: set[NodeId] = set(again)
    packed: set[NodeId] = set(wanted)
    works: dict[NodeId, _Work] = {}
    for id_ in reversed(tuple(graph.nodes)):
        node, own, fresh = graph.nodes[id_], keys[id_], id_ in again
        lacks = id_ in packed and (own.artifact not in present.artifacts or fresh)
        downloads = lacks and own.artifact in present.remote_artifacts and not fresh
        packs = lacks and not downloads
        there = own.layer in present.layers and not fresh
        if there or not (packs or id_ in layer_needed):
            rest = Action.FETCH if downloads else Action.REUSE
            works[id_] = _Work(Action.PACK if packs else rest, packs, downloads=downloads)
            if packs:
                layer_needed.update(node.parents)
        elif own.layer in present.remote_layers and not fresh:
            works[id_] = _Work(Action.FETCH, packs, fetches=True, downloads=downloads)
            layer_needed.update(node.parents)
        else:
            works[id_] = _Work(Action.BUILD, packs, downloads=downloads)
            layer_needed.update(node.needs)
            packed.update((*node.joined, *node.retrieved))
    return works


def _why_build(
    node: BuildNode, keys: NodeKeys, present: Present, plan: Mapping[NodeId, PlanNode]
) -> str:
    """Say why a node is built: what changed since it was last built, or that it never was."""
    latest = present.latest.get(node.id.package.title)
    if node.id.variant:
        return "in a chain, where it stands on more than it requires"
    if keys.layer in present.doubted:
        return UNVERIFIED
    if latest is None:
        return "not built before"
    changes = list(_changes(latest, keys.inputs))
    own = [what for name, what in changes if not name.startswith("requires ")]
    if own:
        more = f" and {len(own) - _NAMED} more" if len(own) > _NAMED else ""
        return f"{', '.join(own[:_NAMED])}{more}"
    for need in node.parents:
        below = plan[need]
        if below.action is Action.BUILD:
            cause = below.reason.rpartition(": ")[2]
            return f"requires {need.package.title}, which is rebuilt: {cause}"
    return changes[0][1] if changes else "not in the store"


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Compare inputs by name: each one that differs, with words for a person."""
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            label = _LABELS.get(name) or re.sub(
                r"^copies \d+ ", "copies ", name.removeprefix("file ")
            )
            if name not in before:
                yield name, f"{label} added"
            elif name not in now:
                yield name, f"{label} removed"
            else:
                yield name, f"{label} changed"
