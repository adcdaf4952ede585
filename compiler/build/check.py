"""Builds nodes a second time and compares: the same inputs must give the same bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.archive import Entry
from compiler.build.nodes import NodeBuilder
from compiler.build.packing import Packer
from compiler.build.settings import BuildSettings, Tools
from compiler.errors import CompilerError
from compiler.graph import BuildGraph
from compiler.oci import Digest
from compiler.plan import PlanNode
from compiler.store import NodeRecord

_SHOWN = 10
"""How many differing paths an error lists."""


def check_nodes(
    nodes: Sequence[PlanNode], graph: BuildGraph, tools: Tools, settings: BuildSettings
) -> Iterator[CompilerError]:
    """Build the targets of `graph` again, each on the root it has; yields what differs.

    Neither the store's records nor the destination change.
    """
    builder = NodeBuilder(graph, nodes, tools, settings)
    for node in nodes:
        if node.id in graph.targets:
            before = builder.record(node.id)
            after = builder.make(node, before.root, before.content)
            paths = _differing(before.layers, after.layers, tools)
            if paths or before.layers != after.layers:
                more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
                yield CompilerError(
                    f"{node.id} is not reproducible: a second build differs in "
                    f"{', '.join(paths[:_SHOWN])}{more}",
                    hint="let the steps remove or pin what changes from run to run",
                )
            elif not _packs_the_same(node, after, graph, tools, settings):
                yield CompilerError(f"{node.id} is not reproducible: its archive differs")


def _packs_the_same(
    node: PlanNode, record: NodeRecord, graph: BuildGraph, tools: Tools, settings: BuildSettings
) -> bool:
    """Pack a node into a scratch folder and compare with what was packed before, if it was."""
    before = tools.store.artifact(node.keys.archive)
    if before is None:
        return True
    with tools.store.scratch() as place:
        packer = Packer(graph, tools, replace(settings, destination=place), remembers=False)
        return packer.pack(node, record)[0].sha256 == before.sha256


def _differing(before: Sequence[Digest], after: Sequence[Digest], tools: Tools) -> tuple[str, ...]:
    """List the paths that two builds of one node made differently."""
    first, second = _entries(before, tools), _entries(after, tools)
    paths = (path for path in first.keys() | second.keys() if first.get(path) != second.get(path))
    return tuple(sorted(f"/{path}" for path in paths))


def _entries(layers: Sequence[Digest], tools: Tools) -> dict[str, Entry]:
    """Collect what layers make of each path."""
    return {entry.path: entry for layer in layers for entry in tools.store.entries(layer)}
