"""What `cos tree validate` checks beyond what keeps a tree from being loaded."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from compiler.errors import CompilerError, CycleError, Location, ResolutionError, SpecError
from compiler.preflight import spec_faults
from compiler.resolver import resolve_each
from compiler.resolver.world import World
from compiler.spec.folder import BUILD, COLLECTION, DEFINITION, FINALIZE, read_finalizer
from compiler.spec.package import PackageId, PackageSpec, Requirement
from compiler.tree import View
from compiler.version import Selector

_NAMING = frozenset((DEFINITION, COLLECTION))
_NAMED = frozenset((BUILD, FINALIZE))
_TEMPLATES = "templates"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found; warnings do not make a tree invalid."""

    error: CompilerError
    is_error: bool = True

    def __str__(self) -> str:
        """Print it as other errors are printed."""
        return f"{'error' if self.is_error else 'warning'}: {self.error}"


def own_findings(specs: Iterable[PackageSpec]) -> Iterator[Finding]:
    """Find what is wrong with packages by themselves."""
    for spec in specs:
        for warning in (*spec.warnings, *spec.doubts):
            yield Finding(warning, is_error=False)
        yield from map(Finding, spec_faults(spec))
        try:
            read_finalizer(spec)
        except CompilerError as error:
            yield Finding(error)


def stray_findings(roots: Iterable[Path]) -> Iterator[Finding]:
    """Find the files that are read only beside a definition, and have none.

    What lies below a package's folder are files of the package, whatever they are called.
    """
    for root in roots:
        packages: set[str] = set()
        for folder, below, names in os.walk(root):
            below.sort()
            if not _NAMING.isdisjoint(names) or os.path.dirname(folder) in packages:  # noqa: PTH120  (the text that the walk gives)
                packages.add(folder)
            elif _TEMPLATES not in Path(folder).relative_to(root).parts:
                for name in sorted(_NAMED.intersection(names)):
                    yield Finding(_stray(Path(folder) / name), is_error=False)


def _stray(path: Path) -> SpecError:
    """Say that a file belongs to no package."""
    return SpecError(
        f"belongs to no package: its folder has no {DEFINITION}",
        location=Location(str(path)),
        hint="add one, or remove this file",
    )


def check_view(view: View, chosen: Sequence[PackageId], *, solve: bool) -> Iterator[Finding]:
    """Find requirements that nobody meets, and with `solve` those that do not go together."""
    world = World(view)
    kept = [id_ for id_ in chosen if id_ in view.packages]
    broken: set[PackageId] = set()
    for id_ in kept:
        for each in (*view.requirements(id_), *_linked(view, id_)):
            problem = _problem(view, world, id_, each)
            if problem:
                broken.add(id_)
                yield Finding(problem)
        for each in view.conflicts(id_):
            if Selector.of_requirement(each.version).problem:
                yield Finding(_selector_error(view, id_, each))
    yield from _unsolved(view, kept, broken, solve=solve)


def _linked(view: View, id_: PackageId) -> Iterator[Requirement]:
    """Go through the packages that a build takes files or artifacts of."""
    build = view.packages[id_].build if view.build else None
    if build is not None:
        yield from (each.package for each in build.copy_ if each.package is not None)
        yield from build.join


def _problem(
    view: View, world: World, id_: PackageId, requirement: Requirement
) -> CompilerError | None:
    if Selector.of_requirement(requirement.version).problem:
        return _selector_error(view, id_, requirement)
    if world.answers(requirement):
        return None
    versions = view.versions(requirement.category, requirement.name)
    known = ", ".join(each.version for each in versions)
    return ResolutionError(
        f"{id_} requires {requirement} to {_purpose(view)}, which no package satisfies",
        location=view.location(id_, requirement),
        hint=f"the tree has {known}" if versions else "there is no package of that name",
    )


def _selector_error(view: View, id_: PackageId, requirement: Requirement) -> CompilerError:
    selector = Selector.of_requirement(requirement.version)
    return ResolutionError(
        f"{id_}: {selector.problem}",
        location=view.location(id_, requirement),
        hint=selector.hint or None,
    )


def _purpose(view: View) -> str:
    return "be built" if view.build else "run"


def _unsolved(
    view: View, kept: Sequence[PackageId], broken: set[PackageId], *, solve: bool
) -> Iterator[Finding]:
    """Report cycles, and with `solve` what does not go together otherwise, each cause once."""
    answers = resolve_each(kept, view)
    told: set[str] = set()
    for id_ in kept:
        error = answers.failed.get(id_)
        told_of = solve or isinstance(error, CycleError)
        if error is not None and told_of and id_ not in broken and str(error) not in told:
            told.add(str(error))
            yield Finding(error)


def summarise(checked: int, findings: Sequence[Finding]) -> None:
    """Count what was found; ends the command with 1 if any of it is an error."""
    errors = sum(finding.is_error for finding in findings)
    warnings = len(findings) - errors
    counts = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    typer.echo(f"{_count(checked, 'package')} checked: {counts}")
    if errors:
        raise typer.Exit(1)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
