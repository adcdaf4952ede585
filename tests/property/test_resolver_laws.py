"""Laws of the resolver, held against trying everything out on small random worlds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import CycleError, Location, ResolutionError
from compiler.resolver import Resolution, Resolutions, resolve_each
from compiler.resolver.search import Impossible, narrow, search, settle
from compiler.resolver.world import World
from compiler.spec.package import PackageId, Requirement

settings.register_profile("patient", deadline=None, max_examples=60)
settings.load_profile("patient")

NAMES = "pqrst"
SELECTORS = ["", "", ">=0", ">=2", "<2", "1", "2", "3", "!=2", ">1 <3"]


class Written(NamedTuple):
    """What one package says."""

    requires: tuple[Requirement, ...] = ()
    conflicts: tuple[Requirement, ...] = ()
    provides: tuple[Requirement, ...] = ()


class Shelf:
    """Candidates out of a mapping."""

    def __init__(self, written: Mapping[PackageId, Written]) -> None:
        self.written = written

    def versions(self, category: str, name: str) -> Collection[PackageId]:
        return [each for each in self.written if each[:2] == (category, name)]

    def requirements(self, package: PackageId) -> Sequence[Requirement]:
        return self.written[package].requires

    def conflicts(self, package: PackageId) -> Sequence[Requirement]:
        return self.written[package].conflicts

    def providers(self, category: str, name: str) -> Collection[tuple[PackageId, Requirement]]:
        claims = ((each, claim) for each in self.written for claim in self.written[each].provides)
        return [
            (each, claim)
            for each, claim in claims
            if (claim.category, claim.name) == (category, name)
        ]

    def location(self, package: PackageId, requirement: Requirement) -> Location | None:
        return Location(str(package)) if requirement.name else None

    def titles(self) -> Iterable[str]:
        return {each.title for each in self.written}


def wishes(names: str, most: int) -> st.SearchStrategy[tuple[Requirement, ...]]:
    one = st.builds(
        Requirement,
        category=st.just("c"),
        name=st.sampled_from(names),
        version=st.sampled_from(SELECTORS),
    )
    return st.lists(one, max_size=most).map(tuple)


@st.composite
def worlds(draw: st.DrawFn) -> Shelf:
    """Up to five packages in up to three versions; needs point to later names, or anywhere."""
    cyclic = draw(st.integers(0, 5)) == 0
    written: dict[PackageId, Written] = {}
    for index, name in enumerate(NAMES):
        later = NAMES if cyclic else NAMES[index + 1 :]
        for version in draw(st.lists(st.sampled_from("123"), unique=True, max_size=3)):
            written[PackageId("c", name, version)] = Written(
                requires=draw(wishes(later, 3)) if later else (),
                conflicts=draw(wishes(NAMES, 1)) if draw(st.integers(0, 3)) == 0 else (),
                provides=draw(wishes(NAMES, 1)) if draw(st.integers(0, 4)) == 0 else (),
            )
    return Shelf(written)


def is_consistent(world: World, packages: Collection[PackageId]) -> bool:
    """Whether all needs are met within `packages`, and no two of them exclude each other."""
    return len({each[:2] for each in packages}) == len(packages) and all(
        all(any(a in packages for a in world.answers(need)) for need in shelf.requires)
        and not any(world.excluded(each, conflict) & set(packages) for conflict in shelf.conflicts)
        for each in packages
        for shelf in [world.candidates.written[each]]  # type: ignore[attr-defined]  # it is a Shelf
    )


def has_answer(shelf: Shelf, target: PackageId) -> bool:
    """Try all sets of packages."""
    choices = [[None, *shelf.versions("c", name)] for name in NAMES if name != target.name]
    return any(
        is_consistent(World(shelf), {target, *filter(None, choice)}) for choice in product(*choices)
    )


def check(shelf: Shelf, target: PackageId, resolution: Resolution) -> None:
    """See that an answer is one."""
    world = World(shelf)
    assert resolution.packages[-1] == target
    assert is_consistent(world, resolution.packages)
    done: set[PackageId] = set()
    for package in resolution.packages:
        needs = shelf.requirements(package)
        for need, answer in zip(needs, resolution.chosen[package], strict=True):
            assert answer in world.answers(need)
            assert answer in {*resolution.edges[package], package}
        assert done.issuperset(resolution.edges[package])
        done.add(package)


def outcome(result: Resolutions, target: PackageId) -> Resolution | str:
    try:
        return result.of(target)
    except ResolutionError as error:
        return str(error)


@given(worlds())
def test_a_target_has_an_answer_exactly_when_trying_everything_finds_one(shelf: Shelf) -> None:
    result = resolve_each(shelf.written, shelf)

    for target in shelf.written:
        error = result.failed.get(target)
        found = error is None or isinstance(error, CycleError)
        assert found is has_answer(shelf, target)
        if error is None:
            check(shelf, target, result.of(target))


@given(worlds())
def test_the_search_finds_an_answer_wherever_there_is_one(shelf: Shelf) -> None:
    for target in shelf.written:
        world = World(shelf)
        world.explore([target])
        if target in world.hopeless:
            assert not has_answer(shelf, target)
            continue
        try:
            chosen = settle(world, target)
        except Impossible:
            assert not has_answer(shelf, target)
            assert narrow(world, target) is None
        else:
            assert is_consistent(World(shelf), chosen)


@given(worlds())
def test_the_newest_of_each_is_what_the_search_prefers_too(shelf: Shelf) -> None:
    result = resolve_each(shelf.written, shelf)

    for target in shelf.written:
        if target not in result.special and target not in result.failed:
            world = World(shelf)
            world.explore([target])
            assert search(world, target) == result.of(target).chosen


@given(worlds())
def test_a_target_alone_is_answered_as_among_others(shelf: Shelf) -> None:
    together = resolve_each(shelf.written, shelf)

    for target in shelf.written:
        alone = resolve_each([target], shelf)
        assert (target in alone.failed) is (target in together.failed)
        if target not in alone.failed:
            assert alone.of(target) == together.of(target)


@given(worlds())
def test_the_order_of_packages_changes_nothing(shelf: Shelf) -> None:
    backwards = Shelf(dict(reversed(list(shelf.written.items()))))

    one, other = (resolve_each(each.written, each) for each in (shelf, backwards))

    assert [outcome(one, each) for each in shelf.written] == [
        outcome(other, each) for each in shelf.written
    ]
