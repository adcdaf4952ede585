"""Finds what would be lost if layers that do not stand on each other were stacked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from compiler.archive import Entry, Kind
from compiler.graph import BuildGraph, BuildNode, Clash, NodeId
from compiler.spec.package import PackageId

Change = tuple[object, ...]
"""What a layer makes of a path, times left out: equal for two layers that agree."""


Changes = Mapping[str, int]
"""The changes of a node's layers by path, each reduced to a hash."""


def overlaps(graph: BuildGraph, node: BuildNode, changes: Callable[[NodeId], Changes]) -> Clash:
    """Find the paths that two unrelated layers of a node's root change to different results.

    Only layers with an unrelated one beside them are read. A layer that stands on another may
    change its paths: that is what standing on it means.
    """
    root = graph.root(node.id)
    below = {each: frozenset(graph.root(each)) for each in root}
    paths: set[str] = set()
    packages: set[PackageId] = set()
    seen: dict[str, list[tuple[NodeId, int]]] = {}
    for each in _with_strangers(root, below):
        for path, change in changes(each).items():
            before = seen.get(path)
            if before is None:
                seen[path] = [(each, change)]
                continue
            others = [
                o.package for o, theirs in before if theirs != change and o not in below[each]
            ]
            if others:
                paths.add(path)
                packages.update((each.package, *others))
            before.append((each, change))
    return Clash(tuple(sorted(paths)), tuple(sorted(packages)))


def _with_strangers(
    root: Sequence[NodeId], below: dict[NodeId, frozenset[NodeId]]
) -> Iterator[NodeId]:
    """Go through the nodes of a root that have another beside them, neither standing on it."""
    for number, each in enumerate(root):
        others = (*root[:number], *root[number + 1 :])
        if any(each not in below[other] and other not in below[each] for other in others):
            yield each


def changes_of(entries: Iterable[Entry]) -> dict[str, int]:
    """Reduce a node's layers to what they make of each path; a later layer wins."""
    last = {entry.path: entry for entry in entries}
    return {path: hash(_change(entry, _shown(entry, last))) for path, entry in last.items()}


def _shown(entry: Entry, entries: Mapping[str, Entry]) -> Entry:
    """Return the file that a hard link is a name of, or the entry itself."""
    return entries.get(entry.target, entry) if entry.kind is Kind.HARDLINK else entry


def _change(entry: Entry, shown: Entry) -> Change:
    """Describe one entry by all that a stack could lose; hard links count as what they show."""
    return (
        shown.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        shown.digest,
        shown.target,
        entry.device,
        tuple(sorted(entry.xattrs.items())),
        entry.opaque,
    )
