"""Which packages want the same file: decided from lists of places, before anything is touched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from compiler.errors import ConflictError
from compiler.spec.package import PackageId

_SHOWN = 20


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """A place that `package`, which comes, wants and `owner` has, or wants as well."""

    path: str
    package: PackageId
    owner: PackageId

    def __str__(self) -> str:
        """Say it in one line."""
        return f"/{self.path}: {self.package} brings it, and so does {self.owner}"


def find_conflicts(
    wanted: Sequence[tuple[PackageId, Iterable[str]]],
    owners: Mapping[str, tuple[PackageId, ...]],
    leaving: Set[PackageId],
) -> tuple[Conflict, ...]:
    """Compare the places that packages want, in order, with each other's and with the owners'.

    A place of a package that is `leaving` is free, so an upgrade takes its own files.
    """
    return tuple(sorted(set(_conflicts(wanted, owners, leaving))))


def _conflicts(
    wanted: Sequence[tuple[PackageId, Iterable[str]]],
    owners: Mapping[str, tuple[PackageId, ...]],
    leaving: Set[PackageId],
) -> Iterator[Conflict]:
    taken: dict[str, PackageId] = {}
    for package, places in wanted:
        for place in places:
            first = taken.setdefault(place, package)
            if first != package:
                yield Conflict(place, package, first)
            for owner in owners.get(place, ()):
                if owner not in leaving:
                    yield Conflict(place, package, owner)


def conflict_error(conflicts: Sequence[Conflict]) -> ConflictError:
    """Make one error of all conflicts; the first of them are shown."""
    lines = [f"\n    {each}" for each in conflicts[:_SHOWN]]
    if len(conflicts) > _SHOWN:
        lines.append(f"\n    … and {len(conflicts) - _SHOWN} more")
    count = "a file conflict" if len(conflicts) == 1 else f"{len(conflicts)} file conflicts"
    hint = "--force lets the later package overwrite"
    return ConflictError(f"{count}:{''.join(lines)}", hint=hint)
