"""Everything that could take part in an answer: who can stand for which requirement."""

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from compiler.errors import Location
from compiler.spec.package import PackageId, Requirement
from compiler.version import Selector, Version

ASKED = PackageId("", "\0asked", "")
"""Stands for whoever asks: its requirements are what is wanted. Never part of an answer."""

Title = tuple[str, str]
"""Category and name."""


class Candidates(Protocol):
    """Packages to choose from: a tree, or the index of a repository. Orders do not matter."""

    def versions(self, category: str, name: str) -> Collection[PackageId]:
        """All versions of one package; empty when there is no such package."""

    def requirements(self, package: PackageId) -> Sequence[Requirement]:
        """What `package` needs."""

    def conflicts(self, package: PackageId) -> Sequence[Requirement]:
        """What must not be there together with `package`."""

    def providers(self, category: str, name: str) -> Collection[tuple[PackageId, Requirement]]:
        """Who says to provide this package, each with the words that it says so with."""

    def location(self, package: PackageId, requirement: Requirement) -> Location | None:
        """Where `package` was written to need `requirement`, or to conflict with it."""

    def titles(self) -> Iterable[str]:
        """All packages there are, as `category/name`, for hints."""


Slot = Title | tuple[PackageId, ...]
"""What is chosen once: the version of a package, or which of several packages meets a need."""


class Need(NamedTuple):
    """One requirement of a package with all that could satisfy it, best first."""

    requirement: Requirement
    answers: tuple[PackageId, ...]

    @property
    def slot(self) -> Slot:
        """What is chosen: a version where only versions of one package meet the need."""
        titles = {answer[:2] for answer in self.answers}
        return titles.pop() if len(titles) == 1 else self.answers


@dataclass(slots=True)
class World:
    """The packages that some roots can reach, by any choice; filled once by `explore`."""

    candidates: Candidates
    wanted: tuple[Requirement, ...] = ()
    preferred: Set[PackageId] = frozenset()
    """Packages that are taken before newer ones: what is installed, say."""
    installed: Set[Requirement] = frozenset()
    """Those of `wanted` that nobody asks for, but which are met now."""
    needs: dict[PackageId, tuple[Need, ...]] = field(default_factory=dict)
    """What is found, with what still can answer each requirement."""
    hopeless: dict[PackageId, Need | None] = field(default_factory=dict)
    """Packages that no answer can hold, each with its first need that nobody can meet any more, or
    None where all can be met, but not together."""
    _answers: dict[tuple[str, str, str], tuple[PackageId, ...]] = field(default_factory=dict)
    _users: dict[PackageId, list[PackageId]] = field(default_factory=dict)
    _banned: dict[PackageId, frozenset[PackageId]] = field(default_factory=dict)

    def explore(self, roots: Iterable[PackageId]) -> None:
        """Find all that `roots` can reach, and mark what is hopeless."""
        stack = list(roots)
        unmet: list[PackageId] = []
        while stack:
            package = stack.pop()
            if package not in self.needs:
                needs = tuple(self._need(package, each) for each in self._requirements(package))
                self.needs[package] = needs
                if not all(need.answers for need in needs):
                    unmet.append(package)
                for need in needs:
                    stack.extend(need.answers)
        self.condemn(sorted(unmet))

    def condemn(self, packages: Iterable[PackageId]) -> tuple[PackageId, ...]:
        """Mark packages as hopeless, and all that can only stand on such; returns the new ones."""
        queue = [package for package in packages if package not in self.hopeless]
        for package in queue:
            self.hopeless[package] = self._unmet(package)
        if queue and not self._users:
            self._find_users()
        for broken in queue:  # grows while it runs
            for user in self._users.get(broken, ()):
                self.needs[user] = tuple(_without(broken, need) for need in self.needs[user])
                unmet = self._unmet(user)
                if unmet and user not in self.hopeless:
                    self.hopeless[user] = unmet
                    queue.append(user)
        return tuple(queue)

    def excluded(self, package: PackageId, conflict: Requirement) -> frozenset[PackageId]:
        """All packages that `conflict` of `package` keeps out; never itself."""
        return frozenset(self.answers(conflict)) - {package}

    def banned(self, package: PackageId) -> frozenset[PackageId]:
        """All packages that the conflicts of `package` keep out."""
        if package not in self._banned:
            each = (self.excluded(package, conflict) for conflict in self.conflicts(package))
            self._banned[package] = frozenset().union(*each)
        return self._banned[package]

    def conflicts(self, package: PackageId) -> Sequence[Requirement]:
        """What must not be there together with `package`."""
        return () if package == ASKED else self.candidates.conflicts(package)

    def answers(self, requirement: Requirement) -> tuple[PackageId, ...]:
        """All packages that satisfy `requirement`, best first, whoever asks."""
        key = (requirement.category, requirement.name, requirement.version)
        answers = self._answers.get(key)
        if answers is None:
            answers = _find_answers(requirement, self.candidates)
            if self.preferred:
                answers = tuple(sorted(answers, key=lambda each: each not in self.preferred))
            self._answers[key] = answers
        return answers

    def _requirements(self, package: PackageId) -> Sequence[Requirement]:
        return self.wanted if package == ASKED else self.candidates.requirements(package)

    def _need(self, package: PackageId, requirement: Requirement) -> Need:
        """Find who satisfies a requirement of `package`.

        Another version of itself never does, since an answer holds one version of a package. What
        it provides itself is the last choice, and then needs nothing; of what is preferred, it is
        the last of these.
        """
        answers = self.answers(requirement)
        if package[:2] == (requirement.category, requirement.name):
            answers = tuple(each for each in answers if each[:2] != package[:2] or each == package)
        elif package in answers:
            others = [each for each in answers if each != package]
            is_last = package not in self.preferred
            first = [each for each in others if is_last or each in self.preferred]
            answers = (*first, package, *others[len(first) :])
        return Need(requirement, answers)

    def _unmet(self, package: PackageId) -> Need | None:
        return next((need for need in self.needs[package] if not need.answers), None)

    def _find_users(self) -> None:
        for package, needs in self.needs.items():
            for answer in {answer for need in needs for answer in need.answers}:
                self._users.setdefault(answer, []).append(package)


def _without(broken: PackageId, need: Need) -> Need:
    if broken not in need.answers:
        return need
    return Need(need.requirement, tuple(each for each in need.answers if each != broken))


def newest_first(packages: Iterable[PackageId]) -> list[PackageId]:
    """Sort by version, the newest first; equal versions by their text."""
    by_text = sorted(set(packages), key=lambda package: package.fingerprint)
    return sorted(by_text, key=lambda package: Version.parse(package.version), reverse=True)


def _find_answers(requirement: Requirement, candidates: Candidates) -> tuple[PackageId, ...]:
    """Find all packages that satisfy `requirement`, best first.

    First come providers that name exactly what is asked for, which replace the real package, as in
    luet; then real packages, the newest first. All other providers are for want of those, however
    new the version is that they claim: of one version, the newest first, then of a range that has
    something in common with the one that is asked for.
    """
    selector = Selector.of_requirement(requirement.version)
    exact: list[PackageId] = []
    claimed: list[tuple[Version, PackageId]] = []
    vague: list[PackageId] = []
    for provider, provided in candidates.providers(requirement.category, requirement.name):
        claim = Selector.of_requirement(provided.version)
        if _is_named(requirement, selector, claim):
            exact.append(provider)
        elif claim.is_literal and selector.matches(claim.conditions[0].version):
            claimed.append((claim.conditions[0].version, provider))
        elif not claim.is_literal and selector.overlaps(claim):
            vague.append(provider)
    real = _matching(selector, candidates.versions(requirement.category, requirement.name))
    claimed.sort(key=lambda entry: entry[1].fingerprint)
    claimed.sort(key=lambda entry: entry[0], reverse=True)
    others = [*(provider for _, provider in claimed), *_by_title(vague)]
    return tuple(dict.fromkeys([*_by_title(exact), *newest_first(real), *others]))


def _is_named(requirement: Requirement, selector: Selector, claim: Selector) -> bool:
    """Whether a provider claims the very text, or what matches the one version asked for."""
    if requirement.version == claim.text:
        return not selector.problem
    return selector.is_literal and claim.matches(selector.conditions[0].version)


def _matching(selector: Selector, packages: Collection[PackageId]) -> list[PackageId]:
    """Keep those that match; a literal means the package with that very text, if there is one."""
    if selector.is_literal:
        same = [package for package in packages if package.version == selector.text]
        wanted = selector.conditions[0].version
        return same or [each for each in packages if wanted.key and _is_equal(wanted, each)]
    return [each for each in packages if selector.matches(Version.parse(each.version))]


def _is_equal(wanted: Version, package: PackageId) -> bool:
    return Version.parse(package.version) == wanted


def _by_title(providers: Iterable[PackageId]) -> list[PackageId]:
    return sorted(newest_first(providers), key=lambda package: package.title)
