"""What packages need, and what needs them, for `cos tree pkglist`; loaded only when asked for."""

from collections.abc import Iterator, Sequence

from compiler.errors import Location
from compiler.resolver import Candidates, resolve_each
from compiler.resolver.world import World
from compiler.spec.package import PackageId, Requirement
from compiler.tree import View


def dependencies(view: View, chosen: Sequence[PackageId]) -> Iterator[PackageId]:
    """List for each of `chosen` what it needs; repetitions stay.

    Raises the `ResolutionError` of the first package whose needs cannot be met together; one that
    is simply not there is listed with its selector, as luet does.
    """
    answers = resolve_each(chosen, _WithMissing(view))
    for id_ in chosen:
        yield from (each for each in answers.of(id_).packages if each != id_)


def dependents(view: View, chosen: Sequence[PackageId]) -> Iterator[PackageId]:
    """List for each of `chosen` what needs it, directly or not; repetitions stay."""
    world = World(view)
    users: dict[PackageId, set[PackageId]] = {}
    for id_ in view.packages:
        for requirement in view.requirements(id_):
            for answer in world.answers(requirement):
                users.setdefault(answer, set()).add(id_)
    for id_ in chosen:
        yield from sorted(_closure(id_, users))


def _closure(start: PackageId, users: dict[PackageId, set[PackageId]]) -> set[PackageId]:
    found: set[PackageId] = set()
    pending = [start]
    while pending:
        new = users.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found - {start}


class _WithMissing(Candidates):
    """A view in which every requirement is met: what is missing stands in for itself."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._missing: dict[tuple[str, str], set[PackageId]] = {}
        world = World(view)
        for id_ in view.packages:
            for each in view.requirements(id_):
                if not world.answers(each):
                    stand_in = PackageId(each.category, each.name, each.version or ">=0")
                    self._missing.setdefault((each.category, each.name), set()).add(stand_in)

    def versions(self, category: str, name: str) -> Sequence[PackageId]:
        """List the versions that are there."""
        return self._view.versions(category, name)

    def requirements(self, package: PackageId) -> Sequence[Requirement]:
        """Tell what a package needs; what is missing needs nothing."""
        return self._view.requirements(package) if package in self._view.packages else ()

    def conflicts(self, package: PackageId) -> Sequence[Requirement]:
        """Tell what a package excludes."""
        return self._view.conflicts(package) if package in self._view.packages else ()

    def providers(self, category: str, name: str) -> Sequence[tuple[PackageId, Requirement]]:
        """List the providers, and what is missing, which claims the very words of who needs it."""
        missing = sorted(self._missing.get((category, name), ()))
        words = [
            (each, Requirement(category=category, name=name, version=version))
            for each in missing
            for version in ((each.version, "") if each.version == ">=0" else (each.version,))
        ]
        return [*self._view.providers(category, name), *words]

    def location(self, package: PackageId, requirement: Requirement) -> Location | None:
        """Tell where a requirement was written."""
        known = package in self._view.packages
        return self._view.location(package, requirement) if known else None

    def titles(self) -> Sequence[str]:
        """List the packages that are there."""
        return self._view.titles()
