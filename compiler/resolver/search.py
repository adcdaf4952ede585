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

_MOST_ROUNDS = 200_000
"""Where the search gives up; far more than any tree that people wrote ever took."""

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
    """A requirement in resolvelib's sense: which packages may fill a slot, or may not."""

    slot: Slot
    packages: tuple[PackageId, ...]
    cause: Cause

    def allows(self, package: PackageId | None) -> bool:
        """Whether `package` may fill the slot; None leaves it empty."""
        return (package in self.packages) is not self.cause.is_conflict


class _Pin(NamedTuple):
    """A candidate in resolvelib's sense: a package for a slot, or None for nothing.

    Nothing fills the slots that only conflicts speak of.
    """

    slot: Slot
    package: PackageId | None
    cause: Cause


class _Provider(AbstractProvider[_Ask, _Pin, Slot]):
    """Tells resolvelib what there is to choose from."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asks: dict[PackageId, tuple[_Ask, ...]] = {}

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
        tried = {pin.package for pin in incompatibilities[identifier]}
        first = next((ask for ask in asks if not ask.cause.is_conflict), None)
        packages: tuple[PackageId | None, ...] = first.packages if first else (None,)
        cause = (first or asks[0]).cause
        return [
            _Pin(identifier, package, cause)
            for package in packages
            if package not in tried and all(ask.allows(package) for ask in asks)
        ]

    def is_satisfied_by(self, requirement: _Ask, candidate: _Pin) -> bool:
        """Tell whether what fills the slot may."""
        return requirement.allows(candidate.package)

    def get_dependencies(self, candidate: _Pin) -> Sequence[_Ask]:
        """List what follows from a choice."""
        package = candidate.package
        if package is None:
            return ()
        if candidate.slot != package[:2]:
            return (_Ask(package[:2], (package,), candidate.cause),)
        if package not in self._asks:
            self._asks[package] = (*self._positive(package), *self._negative(package))
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

    def _positive(self, package: PackageId) -> Iterator[_Ask]:
        for need in sorted(self._world.needs[package], key=lambda need: str(need.requirement)):
            yield _Ask(need.slot, need.answers, Cause(package, need.requirement))

    def _negative(self, package: PackageId) -> Iterator[_Ask]:
        for conflict in sorted(self._world.conflicts(package), key=str):
            excluded = sorted(self._world.excluded(package, conflict) & self._world.needs.keys())
            for title in dict.fromkeys(each[:2] for each in excluded):
                yield _Ask(title, tuple(excluded), Cause(package, conflict, is_conflict=True))


def settle(world: World, target: PackageId) -> dict[PackageId, tuple[PackageId, ...]]:
    """Choose who meets each need of all that `target` needs, so that all go together.

    Raises `Impossible`.
    """
    return narrow(world, target) or search(world, target)


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
        for conflict in world.conflicts(package):
            excluded.update(world.excluded(package, conflict))
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
    try:
        pins = resolution.resolve([itself], max_rounds=_MOST_ROUNDS).mapping
    except ResolutionImpossible as error:
        raise Impossible(cause.requirement.cause for cause in error.causes) from error
    except ResolutionTooDeep as error:
        raise Impossible(()) from error
    filled = {slot: pin.package for slot, pin in pins.items() if pin.package is not None}
    return _choose(world, target, lambda need: filled[need.slot])
