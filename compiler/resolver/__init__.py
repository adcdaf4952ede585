"""Which packages a request needs, in which versions, and in which order; or why there is no answer.

First everything that could take part is found, and what never can is dropped. Then each requirement
gets the newest that is left. Only where that would need two versions of a package at once, or two
packages that exclude each other, is there a search for versions that go together. All but the
search takes time linear to what it looks at.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from compiler.errors import CycleError, ResolutionError
from compiler.resolver.explain import clash_error, cycle_error, hopeless_error
from compiler.resolver.search import Impossible, settle
from compiler.resolver.world import ASKED, Candidates, Need, World
from compiler.spec.package import PackageId, Requirement

__all__ = [
    "Candidates",
    "Edges",
    "Resolution",
    "Resolutions",
    "dependents",
    "post_order",
    "resolve",
    "resolve_each",
]

Edges = Mapping[PackageId, tuple[PackageId, ...]]
"""Each package with those it needs directly, sorted by fingerprint, as luet sorts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """An answer: what is needed, with one version of each package."""

    targets: tuple[PackageId, ...]
    packages: tuple[PackageId, ...]
    """All of them, what is needed before what needs it, in luet's order."""
    edges: Edges
    chosen: Edges
    """Who meets each requirement of a package, in the order in which the candidates give them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolutions:
    """The answers for many targets, each on its own closure.

    `edges` and `chosen` hold for all targets but those of `special`, which had to back off to other
    versions, and of `failed`, which have no answer; those that fail for one reason share it.
    """

    edges: Edges
    chosen: Edges
    special: Mapping[PackageId, Resolution] = field(default_factory=dict)
    failed: Mapping[PackageId, ResolutionError] = field(default_factory=dict)

    def of(self, target: PackageId) -> Resolution:
        """Give the answer for one target; raises its `ResolutionError` where there is none."""
        if target in self.failed:
            raise self.failed[target]
        if target in self.special:
            return self.special[target]
        return _resolution_of(target, self.edges, self.chosen)


def resolve(
    wanted: Iterable[Requirement],
    candidates: Candidates,
    preferred: Set[PackageId] = frozenset(),
    *,
    installed: Iterable[Requirement] = (),
) -> Resolution:
    """Choose packages that satisfy all of `wanted` together: the preferred ones, else the newest.

    What is `installed` is wanted as well, though nobody asks for it. Raises `ResolutionError`, with
    the chain of who wanted what, or `CycleError`.
    """
    asked, there = tuple(wanted), tuple(installed)
    world = World(candidates, (*asked, *there), preferred, frozenset(there).difference(asked))
    answer = _resolve_all((ASKED,), world).of(ASKED)
    chosen = {package: answer.chosen[package] for package in answer.packages if package != ASKED}
    return Resolution(
        targets=tuple(dict.fromkeys(answer.chosen[ASKED])),
        packages=answer.packages[:-1],
        edges={package: answer.edges[package] for package in chosen},
        chosen=chosen,
    )


def resolve_each(targets: Iterable[PackageId], candidates: Candidates) -> Resolutions:
    """Choose for each target what its own closure needs; raises nothing, see `failed`."""
    return _resolve_all(tuple(sorted(set(targets))), World(candidates))


def dependents(edges: Edges) -> Edges:
    """Turn edges round: each package with those that need it directly, sorted by fingerprint."""
    users: dict[PackageId, list[PackageId]] = {package: [] for package in edges}
    for user, needs in edges.items():
        for need in needs:
            users.setdefault(need, []).append(user)
    return {package: _by_fingerprint(each) for package, each in users.items()}


def post_order(targets: Iterable[PackageId], edges: Edges) -> tuple[PackageId, ...]:
    """List everything that `targets` need, and them, what is needed first: luet's build order."""
    return tuple(package for package, _ in _walk(targets, edges))


def _walk(
    targets: Iterable[PackageId], edges: Edges
) -> Iterator[tuple[PackageId, tuple[PackageId, ...]]]:
    """Go depth first through what `targets` need, yielding each package when it is left.

    With a package comes the ring that it closes, if any of its needs is still being visited.
    """
    done: set[PackageId] = set()
    for target in targets:
        if target in done:
            continue
        path = {target: iter(edges[target])}
        rings: dict[PackageId, tuple[PackageId, ...]] = {}
        while path:
            package, rest = next(reversed(path.items()))
            need = next((each for each in rest if each not in done), None)
            if need is None:
                del path[package]
                done.add(package)
                yield package, rings.get(package, ())
            elif need in path:
                if package not in rings:
                    visited = list(path)
                    rings[package] = tuple(visited[visited.index(need) :])
            else:
                path[need] = iter(edges[need])


def _resolve_all(targets: Sequence[PackageId], world: World) -> Resolutions:
    world.explore(targets)
    failed = _hopeless(world, targets)
    chosen = _greedy([target for target in targets if target not in failed], world)
    edges = _edges_of(chosen, world)
    clashing, rings = _contradictions(world, [each for each in targets if each in edges], edges)
    failed |= {target: rings[target] for target in targets if target in rings}
    special = _resolve_alone(clashing, world, failed)
    if special or failed:
        kept = post_order([each for each in targets if each not in special.keys() | failed], edges)
        edges, chosen = {each: edges[each] for each in kept}, {each: chosen[each] for each in kept}
    return Resolutions(edges=edges, chosen=chosen, special=special, failed=failed)


def _hopeless(world: World, targets: Iterable[PackageId]) -> dict[PackageId, ResolutionError]:
    """Explain the targets that no choice can satisfy, once for each cause."""
    roots: dict[PackageId, PackageId] = {}
    for package, need in world.hopeless.items():  # what is broken itself comes before its users
        answers = world.answers(need.requirement) if need else ()
        known = (each for each in answers if each in roots and each[:2] != package[:2])
        broken = next(known, package)
        roots[package] = roots.get(broken, package)
    errors: dict[PackageId, ResolutionError] = {}
    failed: dict[PackageId, ResolutionError] = {}
    for target in targets:
        if target in roots:
            root = roots[target]
            if root not in errors:
                errors[root] = hopeless_error(world, target)
            failed[target] = errors[root]
    return failed


def _greedy(targets: Iterable[PackageId], world: World) -> dict[PackageId, tuple[PackageId, ...]]:
    """Take the newest that is left for each requirement of all that the targets reach so."""
    chosen: dict[PackageId, tuple[PackageId, ...]] = {}
    stack = list(targets)
    while stack:
        package = stack.pop()
        if package not in chosen:
            chosen[package] = tuple(need.answers[0] for need in world.needs[package])
            stack.extend(chosen[package])
    return chosen


def _edges_of(chosen: Edges, world: World) -> dict[PackageId, tuple[PackageId, ...]]:
    """Sort what was chosen, leaving out what a package provides to itself."""
    edges: dict[PackageId, tuple[PackageId, ...]] = {}
    for package, answers in chosen.items():
        needs: Iterable[PackageId] = answers
        if package in answers:
            pairs = zip(world.needs[package], answers, strict=True)
            needs = (each for need, each in pairs if not _is_own(package, need, each))
        edges[package] = _by_fingerprint(needs)
    return edges


def _is_own(package: PackageId, need: Need, answer: PackageId) -> bool:
    title = (need.requirement.category, need.requirement.name)
    return answer == package and title != package[:2]


def _by_fingerprint(packages: Iterable[PackageId]) -> tuple[PackageId, ...]:
    return tuple(sorted(set(packages), key=lambda package: package.fingerprint))


def _contradictions(
    world: World, targets: Sequence[PackageId], edges: Edges
) -> tuple[list[PackageId], dict[PackageId, CycleError]]:
    """Find the targets whose closures contradict themselves, and those that stand on a ring.

    Targets that do both are only among the former, which come in build order.
    """
    walked = list(_walk(targets, edges))
    rings: dict[PackageId, CycleError] = {}
    for package, ring in walked:
        standing = (rings[need] for need in edges[package] if need in rings)
        found = cycle_error(world, ring) if ring else next(standing, None)
        if found:
            rings[package] = found
    marks, lower_bits = _marks(world, edges)
    below = _gather(marks, [package for package, _ in walked], edges, again=bool(rings))
    wanted = set(targets)
    clashing = [each for each in below if each in wanted and _has_pair(below[each], lower_bits)]
    hit = set(clashing)
    return clashing, {each: error for each, error in rings.items() if each not in hit}


def _gather(
    marks: Mapping[PackageId, int], order: Sequence[PackageId], edges: Edges, *, again: bool
) -> dict[PackageId, int]:
    """Give every package the marks of all below it, bottom up; `again` where there are rings."""
    below: dict[PackageId, int] = {}
    changed = bool(marks)
    while changed:
        changed = False
        for package in order:
            bits = marks.get(package, 0)
            for need in edges[package]:
                bits |= below.get(need, 0)
            if bits != below.get(package):
                below[package] = bits
                changed = again
    return below


def _has_pair(bits: int, lower_bits: int) -> bool:
    """Whether both bits of any pair are set."""
    return bool(bits & (bits >> 1) & lower_bits)


def _marks(world: World, edges: Edges) -> tuple[dict[PackageId, int], int]:
    """Mark packages that must not meet with bits, in pairs of which both are set if they do.

    The versions of a package are numbered, and each digit of the number in base 2 sets one bit of
    a pair or the other: two numbers differ in some digit. A conflict has a pair of its own.
    """
    marks: dict[PackageId, int] = {}
    pairs = 0
    for versions in _split_titles(edges):
        digits = (len(versions) - 1).bit_length()
        for number, package in enumerate(versions):
            for digit in range(digits):
                bit = 1 << (2 * (pairs + digit) + (number >> digit & 1))
                marks[package] = marks.get(package, 0) | bit
        pairs += digits
    for package, excluded in _present_conflicts(world, edges):
        marks[package] = marks.get(package, 0) | 1 << 2 * pairs
        for each in excluded:
            marks[each] = marks.get(each, 0) | 2 << 2 * pairs
        pairs += 1
    return marks, (4**pairs - 1) // 3


def _split_titles(edges: Edges) -> list[list[PackageId]]:
    """List the packages that are there in more than one version."""
    titles: dict[tuple[str, str], list[PackageId]] = {}
    for package in edges:
        titles.setdefault(package[:2], []).append(package)
    return [versions for versions in titles.values() if len(versions) > 1]


def _present_conflicts(
    world: World, edges: Edges
) -> Iterator[tuple[PackageId, frozenset[PackageId]]]:
    for package in edges:
        for conflict in world.conflicts(package):
            excluded = world.excluded(package, conflict) & edges.keys()
            if excluded:
                yield package, excluded


def _resolve_alone(
    targets: Iterable[PackageId], world: World, failed: dict[PackageId, ResolutionError]
) -> dict[PackageId, Resolution]:
    """Find versions that go together for each target by itself; adds to `failed`.

    What has no answer by itself is in no other's either, so all that need it fail with it.
    """
    special: dict[PackageId, Resolution] = {}
    clashing = set(targets)
    for target in targets:
        if target in world.hopeless:
            continue
        try:
            chosen = settle(world, target)
        except Impossible as impossible:
            error = clash_error(world, target, impossible.causes)
            failed |= dict.fromkeys(clashing.intersection(world.condemn([target])), error)
            continue
        edges = _edges_of(chosen, world)
        ring = next((ring for _, ring in _walk([target], edges) if ring), ())
        if ring:
            failed[target] = cycle_error(world, ring)
        else:
            special[target] = _resolution_of(target, edges, chosen)
    return special


def _resolution_of(target: PackageId, edges: Edges, chosen: Edges) -> Resolution:
    packages = post_order([target], edges)
    return Resolution(
        targets=(target,),
        packages=packages,
        edges={package: edges[package] for package in packages},
        chosen={package: chosen[package] for package in packages},
    )
