"""Laws of deciding what comes and goes, held against trying everything out on small worlds."""

from collections.abc import Collection, Iterable, Mapping
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import CycleError, ResolutionError
from compiler.spec.package import Definition, PackageId, Requirement
from compiler.system.choice import Offers, Present
from compiler.system.solve import Decision, InstallOptions, RemoveOptions, Solver
from compiler.system.tables import Installed
from compiler.version import Version
from tests.system.market import offers, repository

NAMES = "pqrst"
SELECTORS = ["", "", ">=0", ">=2", "<2", "1", "3", "!=2"]
PATIENT = settings(deadline=None, max_examples=60)
System = dict[PackageId, Definition]


def wishes(names: str, most: int, least: int = 0) -> st.SearchStrategy[tuple[Requirement, ...]]:
    """Some requirements of these packages."""
    one = st.builds(
        Requirement,
        category=st.just("c"),
        name=st.sampled_from(names),
        version=st.sampled_from(SELECTORS),
    )
    return st.lists(one, min_size=least, max_size=most).map(tuple)


@st.composite
def worlds(draw: st.DrawFn, *, claims: bool = True) -> System:
    """What repositories have: needs point to later names, so that there are no rings.

    Without `claims`, no package provides another one, which may come in that one's place.
    """
    world: System = {}
    for index, name in enumerate(NAMES):
        later = NAMES[index + 1 :]
        for version in draw(st.lists(st.sampled_from("123"), unique=True, max_size=3)):
            definition = Definition(
                name=name,
                category="c",
                version=version,
                requires=draw(wishes(later, 2)) if later else (),
                conflicts=draw(wishes(NAMES, 1)) if rare(draw) else (),
                provides=draw(wishes(later, 1)) if claims and later and rare(draw) else (),
            )
            world[definition.id] = definition
    return world


def rare(draw: st.DrawFn) -> bool:
    """One time in five."""
    return draw(st.integers(0, 4)) == 0


@st.composite
def systems(draw: st.DrawFn, *, claims: bool = True) -> tuple[System, System]:
    """A system without faults, out of some versions, and all that is offered by now."""
    world = draw(worlds(claims=claims))
    everything = [tuple(each) for each in product(*(_versions(world, name) for name in NAMES))]
    sound = [each for each in map(_system, everything) if is_sound(each.values())]
    there = draw(st.sampled_from(sound))
    lost = draw(st.sets(st.sampled_from(sorted(world)))) if world else set()
    kept = {id_: each for id_, each in world.items() if id_ not in lost or draw(st.booleans())}
    return there, kept


def _versions(world: System, name: str) -> list[Definition | None]:
    return [None, *(each for each in world.values() if each.name == name)]


def _system(chosen: Iterable[Definition | None]) -> System:
    return {each.id: each for each in chosen if each is not None}


def is_sound(packages: Collection[Definition], wanted: Iterable[Requirement] = ()) -> bool:
    """Whether everything that is needed is there, and nothing that must not be."""
    present = Present(packages)
    return all(present.meets(each) for each in wanted) and all(
        all(present.meets(need) for need in each.requires)
        and not any(present.meets(other, but=each.id) for other in each.conflicts)
        for each in packages
    )


def solver(there: System, offered: System) -> Solver:
    return Solver(
        [Installed(definition=each) for each in there.values()], offers(*offered.values())
    )


def after(there: System, offered: System, decision: Decision) -> System:
    """Carry a decision out."""
    staying = {id_: each for id_, each in there.items() if id_ not in decision.go}
    return staying | {id_: offered[id_] for id_ in decision.come}


def install(there: System, offered: System, wanted: Collection[Requirement]) -> Decision | None:
    """Decide about an installation; None if there is no answer, or only one that is a ring."""
    try:
        return solver(there, offered).install(list(wanted), InstallOptions())
    except ResolutionError:
        return None


def related(world: Mapping[PackageId, Definition], titles: Iterable[str]) -> set[str]:
    """Names that have to do with each other, over however many steps, in whichever direction."""
    found = set(titles)
    while True:
        more = set(found)
        for each in world.values():
            names = {each.name, *(need.name for need in _words(each))}
            if names & found:
                more |= names
        if more == found:
            return found
        found = more


def _words(definition: Definition) -> Iterable[Requirement]:
    return (*definition.requires, *definition.conflicts, *definition.provides)


WANTED = wishes(NAMES, 2, least=1)


@PATIENT
@given(systems(), WANTED)
def test_an_installed_system_has_what_was_asked_for_and_all_that_it_needs(
    pair: tuple[System, System], wanted: tuple[Requirement, ...]
) -> None:
    there, offered = pair
    decision = install(there, offered, wanted)
    if decision is not None:
        found = after(there, offered, decision)

        assert is_sound(found.values(), wanted)
        assert len({id_[:2] for id_ in found}) == len(found)
        assert {id_.name for id_ in there} <= {
            *(id_.name for id_ in found),
            *(claim.name for each in found.values() for claim in each.provides),
        }


@PATIENT
@given(systems(), WANTED)
def test_what_has_nothing_to_do_with_an_installation_stays_as_it_is(
    pair: tuple[System, System], wanted: tuple[Requirement, ...]
) -> None:
    there, offered = pair
    decision = install(there, offered, wanted)
    if decision is not None:
        concerned = related({**offered, **there}, (each.name for each in wanted))

        assert {each.name for each in (*decision.come, *decision.go)} <= concerned


@PATIENT
@given(systems(), WANTED)
def test_there_is_an_answer_exactly_when_trying_everything_finds_one(
    pair: tuple[System, System], wanted: tuple[Requirement, ...]
) -> None:
    there, offered = pair
    world = {**offered, **there}
    staying = [Requirement(category="c", name=id_.name) for id_ in there]
    everything = map(_system, product(*(_versions(world, name) for name in NAMES)))
    exists = any(is_sound(each.values(), (*wanted, *staying)) for each in everything)
    error = refusal(there, offered, wanted)

    if isinstance(error, CycleError):
        return
    assert exists == (error is None)
    if error is not None:
        asked = {str(each) for each in (*wanted, *staying)}
        first = [line.partition(" is ")[0] for line in error.chain if " is " in line]
        assert first
        assert asked.issuperset(first)


def refusal(
    there: System, offered: System, wanted: Collection[Requirement]
) -> ResolutionError | None:
    """Why there is no answer, if there is none."""
    try:
        solver(there, offered).install(list(wanted), InstallOptions())
    except ResolutionError as error:
        return error
    return None


@PATIENT
@given(systems(), WANTED, st.randoms(use_true_random=False))
def test_the_order_in_which_anything_is_listed_changes_no_decision(
    pair: tuple[System, System], wanted: tuple[Requirement, ...], chance: object
) -> None:
    there, offered = pair
    mixed_there, mixed_offered = (_mixed(each, chance) for each in pair)

    assert install(there, offered, wanted) == install(mixed_there, mixed_offered, wanted)
    assert _upgrade(there, offered) == _upgrade(mixed_there, mixed_offered)


def _mixed(system: System, chance: object) -> System:
    items = list(system.items())
    chance.shuffle(items)  # type: ignore[attr-defined]  # hypothesis names no type for it
    return dict(items)


def _upgrade(there: System, offered: System) -> Decision | None:
    try:
        return solver(there, offered).upgrade()
    except ResolutionError:
        return None


@PATIENT
@given(systems())
def test_an_upgrade_of_a_sound_system_never_fails_nor_downgrades_nor_breaks(
    pair: tuple[System, System],
) -> None:
    there, offered = pair
    try:
        decision = solver(there, offered).upgrade()
    except CycleError:
        return
    found = after(there, offered, decision)

    assert is_sound(found.values())
    old = {id_[:2]: Version.parse(id_.version) for id_ in there}
    for id_ in found:
        assert Version.parse(id_.version) >= old.get(id_[:2], Version.parse(id_.version))
    present = Present(found.values())
    for id_ in there:
        assert present.meets(Requirement(category="c", name=id_.name, version=f">={id_.version}"))


@PATIENT
@given(systems(claims=False))
def test_after_an_upgrade_there_is_nothing_to_upgrade(pair: tuple[System, System]) -> None:
    there, offered = pair
    decision = _upgrade(there, offered)
    if decision is not None:
        again = _upgrade(after(there, offered, decision), offered)

        assert again is not None
        assert again.is_nothing


@PATIENT
@given(worlds(), st.sets(st.sampled_from(NAMES)))
def test_without_any_ties_everything_becomes_the_newest(world: System, names: set[str]) -> None:
    plain = {
        id_: Definition(name=id_.name, category="c", version=id_.version)
        for id_ in world
        if id_.name in names
    }
    oldest = {id_[:2]: id_ for id_ in sorted(plain, reverse=True)}
    newest = {id_[:2]: id_ for id_ in sorted(plain)}
    there = {id_: plain[id_] for id_ in oldest.values()}

    decision = solver(there, plain).upgrade()

    assert set(after(there, plain, decision)) == set(newest.values())


@PATIENT
@given(systems(), st.sets(st.sampled_from(NAMES), min_size=1))
def test_removing_is_refused_exactly_when_it_would_break_something(
    pair: tuple[System, System], names: set[str]
) -> None:
    there, _ = pair
    going = [id_ for id_ in there if id_.name in names]
    rest = [each for id_, each in there.items() if id_ not in going]
    whole = all(Present(rest).meets(need) for each in rest for need in each.requires)
    user = solver(there, {})

    if whole:
        assert user.uninstall(going, RemoveOptions()).go == tuple(sorted(going))
    else:
        with pytest.raises(ResolutionError) as caught:
            user.uninstall(going, RemoveOptions())
        assert caught.value.chain
    gone = set(user.uninstall(going, RemoveOptions(dependents=True)).go)
    assert gone >= set(going)
    assert is_sound([each for id_, each in there.items() if id_ not in gone])


@PATIENT
@given(systems())
def test_of_equal_packages_it_is_always_the_same_repository_that_is_asked(
    pair: tuple[System, System],
) -> None:
    _, offered = pair
    first = repository(offered.values(), name="first", priority=1)
    second = repository(offered.values(), name="second", priority=2)

    for order in ([first, second], [second, first]):
        found = [Offers(order).get(each) for each in offered]
        assert {each.repository.name for each in found if each is not None} <= {"first"}
