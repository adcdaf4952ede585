"""The search for versions that go together, by resolvelib, where the newest of each do not."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from resolvelib import AbstractProvider, BaseReporter
from resolvelib.resolvers import (
    RequirementInformation,
    Resolution,
    ResolutionImpossible,
    ResolutionTooDeep,
)

from compiler.resolver.world import Need, Slot, Title, World
from compiler.spec.package import PackageId, Requirement

_ROUNDS = 500
"""Where resolvelib gives up, beside one round for each package there is."""

_MOST_STATES = 5_000
"""How many partial answers are tried one by one before there is taken to be none."""

_MOST_PASSES = 20
"""How often versions are narrowed down before the search takes over."""


class Cause(NamedTuple):
    """A requirement, or a conflict, that took part in a contradiction, and whose it is."""

    package: PackageId
    requirement: Requirement
    is_conflict: bool = False


class Impossible(Exception):  # noqa: N818  (it is an answer, which the caller turns into an error)
    """No versions go together; `causes` are the last requirements that could not be reconciled."""

    def __init__(self, causes: Iterable[Cause]) -> None:
        super().__init__()
        self.causes = tuple(dict.fromkeys(causes))


class _Ask(NamedTuple):
    """A requirement in resolvelib's sense: which packages may fill a slot."""

    slot: Slot
    packages: tuple[PackageId, ...]
    cause: Cause


class _Pin(NamedTuple):
    """A candidate in resolvelib's sense: a package for a slot."""

    slot: Slot
    package: PackageId
    cause: Cause


_CONFLICT = "\0conflict"
_OTHERS = PackageId("", _CONFLICT, "")
"""A conflict is a slot of its own: its owner puts itself there, and all that it excludes this."""


class _Provider(AbstractProvider[_Ask, _Pin, Slot]):
    """Tells resolvelib what there is to choose from."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asks: dict[PackageId, tuple[_Ask, ...]] = {}
        self._conflicts: dict[PackageId, list[_Ask]] = {}
        for package in world.needs:
            for number, conflict in enumerate(sorted(world.conflicts(package), key=str)):
                self._note(package, number, conflict)

    def _note(self, package: PackageId, number: int, conflict: Requirement) -> None:
        """Keep what a conflict asks of its owner and of those that it excludes."""
        slot = (_CONFLICT, f"{number} of {package.fingerprint}")
        cause = Cause(package, conflict, is_conflict=True)
        self._conflicts.setdefault(package, []).append(_Ask(slot, (package,), cause))
        for each in self._world.excluded(package, conflict):
            self._conflicts.setdefault(each, []).append(_Ask(slot, (_OTHERS,), cause))

    def identify(self, requirement_or_candidate: _Ask | _Pin) -> Slot:
        """Name the slot."""
        return requirement_or_candidate.slot

    def find_matches(
        self,
        identifier: Slot,
        requirements: Mapping[Slot, Iterator[_Ask]],
        incompatibilities: Mapping[Slot, Iterator[_Pin]],
    ) -> Sequence[_Pin]:
        """List what may fill a slot, best first."""
        asks = list(requirements[identifier])
        if not asks:
            return ()
        tried = {pin.package for pin in incompatibilities[identifier]}
        return [
            _Pin(identifier, package, asks[0].cause)
            for package in asks[0].packages
            if package not in tried and all(package in ask.packages for ask in asks)
        ]

    def is_satisfied_by(self, requirement: _Ask, candidate: _Pin) -> bool:
        """Tell whether what fills the slot may."""
        return candidate.package in requirement.packages

    def get_dependencies(self, candidate: _Pin) -> Sequence[_Ask]:
        """List what follows from a choice."""
        package = candidate.package
        if candidate.slot[0] == _CONFLICT:
            return ()
        if candidate.slot != package[:2]:
            return (_Ask(package[:2], (package,), candidate.cause),)
        if package not in self._asks:
            needs = sorted(self._world.needs[package], key=lambda need: str(need.requirement))
            asks = (
                _Ask(each.slot, each.answers, Cause(package, each.requirement)) for each in needs
            )
            self._asks[package] = (*asks, *self._conflicts.get(package, ()))
        return self._asks[package]

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[Slot],
        resolutions: Mapping[Slot, _Pin],  # noqa: ARG002  (resolvelib gives it by name)
        candidates: Mapping[Slot, Iterator[_Pin]],  # noqa: ARG002  (likewise)
        information: Mapping[  # noqa: ARG002  (likewise)
            Slot, Iterator[RequirementInformation[_Ask, _Pin]]
        ],
        backtrack_causes: Sequence[RequirementInformation[_Ask, _Pin]],
    ) -> Iterable[Slot]:
        """Go on with what made trouble last, else with what was asked for first."""
        waiting = list(identifiers)
        trouble = {cause.requirement.slot for cause in backtrack_causes}
        return [next((slot for slot in waiting if slot in trouble), waiting[0])]


def settle(world: World, target: PackageId) -> dict[PackageId, tuple[PackageId, ...]]:
    """Choose who meets each need of all that `target` needs, so that all go together.

    Raises `Impossible`.
    """
    narrowed = narrow(world, target)
    if narrowed is not None:
        return narrowed
    try:
        return search(world, target)
    except Impossible:
        found = exhaust(world, target)
        if found is None:
            raise
        return found


def narrow(world: World, target: PackageId) -> dict[PackageId, tuple[PackageId, ...]] | None:
    """Take the newest versions that suit all who ask, again and again until that is stable.

    That settles nearly all contradictions, each in time linear to the closure; None if it does not.
    """
    pins: dict[Title, PackageId] = {target[:2]: target}
    for _ in range(_MOST_PASSES):
        chosen = _choose(world, target, partial(_pinned, pins))
        agreed = _agree(world, target, chosen)
        if agreed is None:
            return None
        if all(agreed[package[:2]] == package for package in chosen):
            return chosen
        pins = agreed
    return None


def _pinned(pins: Mapping[Title, PackageId], need: Need) -> PackageId:
    """Take the best answer that `pins` do not speak against, if there is one."""
    fitting = (each for each in need.answers if pins.get(each[:2], each) == each)
    return next(fitting, need.answers[0])


def _agree(
    world: World, target: PackageId, chosen: Mapping[PackageId, tuple[PackageId, ...]]
) -> dict[Title, PackageId] | None:
    """For each package, find the best version that suits all who chose one; None if none does."""
    wishes: dict[Title, list[tuple[PackageId, ...]]] = {target[:2]: [(target,)]}
    excluded: set[PackageId] = set()
    for package, answers in chosen.items():
        for need, answer in zip(world.needs[package], answers, strict=True):
            asked = wishes.setdefault(answer[:2], [])
            if need.answers not in asked:
                asked.append(need.answers)
        excluded |= world.banned(package)
    agreed: dict[Title, PackageId] = {}
    for title, asked in wishes.items():
        suiting = (
            each
            for each in asked[0]
            if each[:2] == title
            and each not in excluded
            and all(each in answers for answers in asked)
        )
        best = next(suiting, None)
        if best is None:
            return None
        agreed[title] = best
    return agreed


def _choose(
    world: World, target: PackageId, choice: Callable[[Need], PackageId]
) -> dict[PackageId, tuple[PackageId, ...]]:
    """Follow choices from `target` on: everything that it needs, with who meets each need."""
    chosen: dict[PackageId, tuple[PackageId, ...]] = {}
    stack = [target]
    while stack:
        package = stack.pop()
        if package not in chosen:
            chosen[package] = tuple(map(choice, world.needs[package]))
            stack.extend(chosen[package])
    return chosen


def search(world: World, target: PackageId) -> dict[PackageId, tuple[PackageId, ...]]:
    """Try all versions, the newest first, going back on contradictions; raises `Impossible`."""
    resolution = Resolution(_Provider(world), BaseReporter[_Ask, _Pin, Slot]())
    itself = _Ask(target[:2], (target,), Cause(target, Requirement()))
    rounds = _ROUNDS + len(world.needs)
    try:
        pins = resolution.resolve([itself], max_rounds=rounds).mapping
    except ResolutionImpossible as error:
        raise Impossible(each for cause in error.causes for each in _told(*cause)) from error
    except ResolutionTooDeep as error:
        raise Impossible(()) from error
    return _choose(world, target, lambda need: pins[need.slot].package)


def exhaust(world: World, target: PackageId) -> dict[PackageId, tuple[PackageId, ...]] | None:
    """Try everything, for resolvelib jumps over an answer now and then; None if there is none.

    Ends after a number of partial answers, so it is exact for small contradictions only.
    """
    states: list[_State] = [({target[:2]: target}, world.needs[target])]
    for _ in range(_MOST_STATES):
        if not states:
            return None
        chosen, needs = states.pop()
        open_ = [need for need in needs if not _is_met(need, chosen)]
        if not open_:
            return _choose(world, target, partial(_met_by, chosen))
        need, *rest = open_
        states.extend(
            ({**chosen, answer[:2]: answer}, (*rest, *world.needs[answer]))
            for answer in reversed(need.answers)
            if answer[:2] not in chosen and _goes_with(world, answer, chosen.values())
        )
    return None


_State = tuple[dict[Title, PackageId], tuple[Need, ...]]
"""A partial answer, and the needs that may still be open."""


def _is_met(need: Need, chosen: Mapping[Title, PackageId]) -> bool:
    return any(chosen.get(answer[:2]) == answer for answer in need.answers)


def _met_by(chosen: Mapping[Title, PackageId], need: Need) -> PackageId:
    return next(answer for answer in need.answers if chosen.get(answer[:2]) == answer)


def _goes_with(world: World, package: PackageId, others: Iterable[PackageId]) -> bool:
    """Whether no conflict stands between `package` and any of `others`."""
    own = world.banned(package)
    return not any(other in own or package in world.banned(other) for other in others)


def _told(ask: _Ask, parent: _Pin | None) -> tuple[Cause, ...]:
    """Tell what a cause comes from; for a package that a conflict excludes, also who wants it."""
    if parent is not None and ask.packages == (_OTHERS,):
        return parent.cause, ask.cause
    return (ask.cause,)
