"""The graph as networkx has it: who depends on whom, what takes longest, and how it is drawn."""

import json
from collections.abc import Callable, Iterable, Mapping

import networkx as nx

from compiler.graph import BuildGraph, NodeId


def digraph(graph: BuildGraph) -> "nx.DiGraph[NodeId]":
    """Return the edges from each node to those that need it."""
    network: nx.DiGraph[NodeId] = nx.DiGraph()
    network.add_nodes_from(graph.nodes)
    network.add_edges_from((need, id_) for id_, node in graph.nodes.items() for need in node.needs)
    return network


def dependents(graph: BuildGraph, nodes: Iterable[NodeId]) -> frozenset[NodeId]:
    """Find everything that needs one of `nodes`, directly or not."""
    network = digraph(graph)
    return frozenset().union(*(nx.descendants(network, node) for node in nodes))


def urgency(graph: BuildGraph, seconds: Callable[[NodeId], float]) -> Mapping[NodeId, float]:
    """Tell for each node how long what waits for it takes at least, itself included.

    Starting the most urgent node first keeps a run short: the longest chain is never kept waiting.
    """
    network = digraph(graph)
    urgent: dict[NodeId, float] = {}
    for node in reversed(list(nx.topological_sort(network))):
        after = max((urgent[each] for each in network.successors(node)), default=0.0)
        urgent[node] = seconds(node) + after
    return urgent


def draw(graph: BuildGraph, form: str) -> str:
    """Draw a graph as `dot`, `mermaid` or `json`; arrows lead to what is needed.

    Edges that follow from others are left out of drawings, and kept in JSON.
    """
    if form == "json":
        return _json(graph)
    reduced = nx.transitive_reduction(digraph(graph))
    numbers = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    edges = sorted((numbers[user], numbers[need]) for need, user in reduced.edges)
    return _dot(numbers, edges) if form == "dot" else _mermaid(numbers, edges)


def _dot(numbers: Mapping[NodeId, str], edges: Iterable[tuple[str, str]]) -> str:
    """Write the language of Graphviz."""
    nodes = [f"  {number} [label={_quoted(str(node))}];" for node, number in numbers.items()]
    arrows = [f"  {user} -> {need};" for user, need in edges]
    return "\n".join(("digraph packages {", "  rankdir=LR;", *nodes, *arrows, "}"))


def _mermaid(numbers: Mapping[NodeId, str], edges: Iterable[tuple[str, str]]) -> str:
    """Write a Mermaid flowchart."""
    nodes = [f"  {number}[{_quoted(str(node))}]" for node, number in numbers.items()]
    arrows = [f"  {user} --> {need}" for user, need in edges]
    return "\n".join(("graph LR", *nodes, *arrows))


def _quoted(text: str) -> str:
    """Put a name in quotes that both languages understand."""
    return '"' + text.replace('"', "'") + '"'


def _json(graph: BuildGraph) -> str:
    """Write every node with what it needs."""
    nodes = [
        {
            "name": id_.package.name,
            "category": id_.package.category,
            "version": id_.package.version,
            "variant": id_.variant,
            "image": node.image,
            "needs": [str(each) for each in node.needs],
            "id": str(id_),
        }
        for id_, node in graph.nodes.items()
    ]
    return json.dumps({"nodes": nodes, "targets": [str(each) for each in graph.targets]})
