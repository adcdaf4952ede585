"""What a system can be made of: the packages of all repositories, and those that are installed."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from compiler.errors import Location
from compiler.repository.synced import Available, Synced
from compiler.spec.package import Definition, PackageId, Requirement
from compiler.system.tables import Installed
from compiler.version import Selector, Version

Title = tuple[str, str]
"""Category and name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A package of a repository."""

    package: Available
    repository: Synced


class Offers:
    """The packages of all repositories: of one that several have, that of the first.

    Repositories with a lower priority go first; of equal ones those that are configured first.
    """

    def __init__(self, repositories: Sequence[Synced]) -> None:
        self._found: dict[PackageId, Offer] = {}
        for repository in sorted(repositories, key=lambda each: each.config.priority):
            for id_, package in repository.packages.items():
                self._found.setdefault(id_, Offer(package, repository))

    def get(self, package: PackageId) -> Offer | None:
        """Return the offer of a package, None if no repository has it."""
        return self._found.get(package)

    def ids(self) -> Collection[PackageId]:
        """List all packages."""
        return self._found.keys()

    def definitions(self) -> Mapping[PackageId, Definition]:
        """Return what all packages are."""
        return {id_: offer.package.definition for id_, offer in self._found.items()}


@dataclass(slots=True)
class Choice:
    """The `Candidates` of the resolver: what is installed, and what may come in its place.

    `frozen` is what stays if it can; requirements that nothing installed meets even now bind it
    no longer, so that a system that somebody broke can still be changed. `without` are packages
    that are not to be there; `going` those of them that are installed now.
    """

    definitions: Mapping[PackageId, Definition]
    frozen: Mapping[PackageId, Definition] = field(default_factory=dict)
    without: Set[PackageId] = frozenset()
    going: Collection[Definition] = ()
    _titles: dict[Title, list[PackageId]] = field(init=False)
    _providers: dict[Title, list[tuple[PackageId, Requirement]]] = field(init=False)
    _loose: dict[PackageId, tuple[tuple[Requirement, ...], tuple[Requirement, ...]]] = field(
        init=False
    )

    def __post_init__(self) -> None:
        self._titles, self._providers = {}, {}
        for id_, definition in self._all().items():
            self._titles.setdefault(id_[:2], []).append(id_)
            for each in definition.provides:
                self._providers.setdefault((each.category, each.name), []).append((id_, each))
        present = Present(self.frozen.values())
        before = Present((*self.frozen.values(), *self.going)) if self.going else present
        self._loose = {
            id_: (
                tuple(each for each in definition.requires if before.meets(each)),
                tuple(each for each in definition.conflicts if not present.meets(each, but=id_)),
            )
            for id_, definition in self.frozen.items()
        }

    def versions(self, category: str, name: str) -> Collection[PackageId]:
        """List all versions of one package."""
        return self._titles.get((category, name), ())

    def requirements(self, package: PackageId) -> Sequence[Requirement]:
        """Tell what a package needs."""
        loose = self._loose.get(package)
        return loose[0] if loose else self.definitions[package].requires

    def conflicts(self, package: PackageId) -> Sequence[Requirement]:
        """Tell what must not be there together with a package."""
        loose = self._loose.get(package)
        return loose[1] if loose else self.definitions[package].conflicts

    def providers(self, category: str, name: str) -> Collection[tuple[PackageId, Requirement]]:
        """List who says to provide a package."""
        return self._providers.get((category, name), ())

    def location(self, package: PackageId, requirement: Requirement) -> Location | None:  # noqa: ARG002  (the protocol's)
        """Return None: nobody wrote these on this machine."""
        return None

    def titles(self) -> Iterable[str]:
        """List all packages, for hints."""
        return (versions[0].title for versions in self._titles.values())

    def _all(self) -> Mapping[PackageId, Definition]:
        """Return all packages but those that are not to be there."""
        both = {**self.definitions, **self.frozen}
        return {id_: definition for id_, definition in both.items() if id_ not in self.without}


class Present:
    """A set of packages, and which requirements it meets."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._titles: dict[Title, list[PackageId]] = {}
        self._claims: dict[Title, list[tuple[PackageId, Requirement]]] = {}
        for definition in definitions:
            self._titles.setdefault(definition.id[:2], []).append(definition.id)
            for each in definition.provides:
                claims = self._claims.setdefault((each.category, each.name), [])
                claims.append((definition.id, each))

    def meets(self, requirement: Requirement, but: PackageId | None = None) -> bool:
        """Whether one of the packages, other than `but`, is what is required."""
        return any(each != but for each in self.answers(requirement))

    def answers(self, requirement: Requirement) -> list[PackageId]:
        """List the packages that are what is required, or say to provide it."""
        title = (requirement.category, requirement.name)
        selector = Selector.of_requirement(requirement.version)
        found = [id_ for id_ in self._titles.get(title, ()) if _fits(selector, id_.version)]
        claims = self._claims.get(title, ())
        return found + [id_ for id_, claim in claims if _claimed(selector, requirement, claim)]


def _fits(selector: Selector, version: str) -> bool:
    return version == selector.text or selector.matches(Version.parse(version))


def _claimed(selector: Selector, requirement: Requirement, claim: Requirement) -> bool:
    """Whether a claim to provide something covers what is required."""
    if requirement.version == claim.version:
        return not selector.problem
    offered = Selector.of_requirement(claim.version)
    if offered.is_literal:
        return selector.matches(offered.conditions[0].version)
    if selector.is_literal:
        return offered.matches(selector.conditions[0].version)
    return selector.overlaps(offered)


def definitions_of(packages: Iterable[Installed]) -> dict[PackageId, Definition]:
    """Return what installed packages are."""
    return {each.id: each.definition for each in packages}
