"""Why there is no answer: errors that tell who wanted what, and where."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from compiler.errors import CycleError, Location, ResolutionError
from compiler.resolver.search import Cause
from compiler.resolver.world import ASKED, World, newest_first
from compiler.spec.package import PackageId, Requirement
from compiler.version import Selector

_MOST_VERSIONS = 8
"""How many versions a hint lists."""


def hopeless_error(world: World, package: PackageId) -> ResolutionError:
    """Follow what `package` needs down to what nobody can satisfy."""
    causes = list(_descent(world, package))
    last = causes[-1]
    message, hint = _unmet(world, last.package, last.requirement)
    return ResolutionError(
        message,
        chain=[_wish(world, cause) for cause in causes],
        location=_location(world, last.package, last.requirement),
        hint=hint,
    )


def _descent(world: World, package: PackageId) -> Iterator[Cause]:
    """Go from a package that can have no answer down to the requirement that is the reason."""
    broken: PackageId | None = package
    while broken is not None:
        package, need = broken, world.hopeless[broken]
        if need is None:
            return
        yield Cause(package, need.requirement)
        answers = world.answers(need.requirement)
        others = (each for each in answers if each[:2] != package[:2])
        broken = next((each for each in others if each in world.hopeless), None)


def clash_error(world: World, target: PackageId, causes: Iterable[Cause]) -> ResolutionError:
    """Tell which requirements could not be reconciled for `target`, and how they came in."""
    whom = "what is asked for" if target == ASKED else str(target)
    known = (cause for cause in causes if cause.requirement.name)
    ordered = sorted(known, key=lambda cause: (cause.is_conflict, cause.package, str(cause)))
    if not ordered:
        return ResolutionError(
            f"{whom}: no versions found that go together, the search is too long"
        )
    titles = sorted({_title(cause.requirement) for cause in ordered})
    links = _links(world, target)
    chain = [_wish(world, each) for cause in ordered for each in (*_way(links, cause), cause)]
    return ResolutionError(
        f"{whom}: no version of {' and '.join(titles)} suits all that want it",
        chain=tuple(dict.fromkeys(chain)),
        location=_location(world, ordered[0].package, ordered[0].requirement),
        hint=_versions_hint(world, ordered[0].requirement) or None,
    )


def _links(world: World, target: PackageId) -> dict[PackageId, Cause]:
    """Find for all that `target` could reach who brings it in, on one of the shortest ways."""
    links: dict[PackageId, Cause] = {}
    queue = [target]
    for package in queue:  # grows while it runs
        for need in world.needs[package]:
            for answer in need.answers:
                if answer not in links and answer != target:
                    links[answer] = Cause(package, need.requirement)
                    queue.append(answer)
    return links


def _way(links: Mapping[PackageId, Cause], cause: Cause) -> list[Cause]:
    """List what brings in the package of `cause`, from the target on."""
    way: list[Cause] = []
    package = cause.package
    while package in links:
        way.append(links[package])
        package = links[package].package
    return way[::-1]


def cycle_error(world: World, path: Sequence[PackageId]) -> CycleError:
    """Show a ring of packages, beginning with the first by name; `path` names each once."""
    start = path.index(min(path))
    ring = [*path[start:], *path[:start], path[start]]
    steps = list(pairwise(ring))
    wishes = [_wish(world, Cause(user, _between(world, user, used))) for user, used in steps]
    return CycleError(
        f"cycle: {' -> '.join(map(str, ring))}",
        chain=wishes,
        location=_location(world, steps[0][0], _between(world, *steps[0])),
    )


def _between(world: World, user: PackageId, used: PackageId) -> Requirement:
    return next(need.requirement for need in world.needs[user] if used in need.answers)


def _wish(world: World, cause: Cause) -> str:
    """Say who wants what, and where: `a/x-1 (file:line) requires b/y@>=2`."""
    package, requirement, is_conflict = cause
    if package == ASKED:
        return f"{requirement} is {'installed' if requirement in world.installed else 'asked for'}"
    location = _location(world, package, requirement)
    verb = "conflicts with" if is_conflict else "requires"
    return f"{package}{f' ({location})' if location else ''} {verb} {requirement}"


def _location(world: World, package: PackageId, requirement: Requirement) -> Location | None:
    return None if package == ASKED else world.candidates.location(package, requirement)


def _unmet(world: World, package: PackageId, requirement: Requirement) -> tuple[str, str | None]:
    """Say why nothing satisfies a requirement, and what might help."""
    selector = Selector.of_requirement(requirement.version)
    if selector.problem:
        return f"{_title(requirement)}: {selector.problem}", selector.hint or None
    if package[:2] == (requirement.category, requirement.name) and world.answers(requirement):
        return f"{package} requires another version of itself", "an answer holds one version only"
    hint = _versions_hint(world, requirement)
    if hint:
        return f"no version of {_title(requirement)} satisfies {requirement.version!r}", hint
    near = difflib.get_close_matches(_title(requirement), _titles(world), n=1)
    return (
        f"there is no package {_title(requirement)}",
        f"did you mean {near[0]!r}?" if near else None,
    )


def _titles(world: World) -> Iterable[str]:
    return sorted(set(world.candidates.titles()))


def _title(requirement: Requirement) -> str:
    return str(requirement.model_copy(update={"version": ""}))


def _versions_hint(world: World, requirement: Requirement) -> str:
    """List which versions there are, real and provided; empty when there are none."""
    category, name = requirement.category, requirement.name
    real = [each.version for each in newest_first(world.candidates.versions(category, name))]
    provided = sorted(
        f"{provided.version or 'any'} of {provider}"
        for provider, provided in world.candidates.providers(category, name)
    )
    versions = [*real, *provided]
    more = ", …" if len(versions) > _MOST_VERSIONS else ""
    return f"there is {', '.join(versions[:_MOST_VERSIONS])}{more}" if versions else ""
