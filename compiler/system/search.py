"""Finds packages by name, label, file or who needs them, in repositories or among the installed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.artifact.filters import searcher
from compiler.errors import UsageError
from compiler.repository.synced import Synced
from compiler.spec.package import Definition, PackageId
from compiler.system.choice import Present
from compiler.system.database import Database, Installed

SYSTEM = "system"
"""What luet calls the repository of installed packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A package that was found: where, and whether it is installed; `files` lists its files."""

    definition: Definition
    repository: str
    installed: bool
    files: Callable[[], Sequence[str]]

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return self.definition.id

    def row(self) -> dict[str, object]:
        """Lay it out as luet does for programs."""
        return {
            "category": self.id.category,
            "files": list(self.files()) or None,
            "hidden": self.definition.hidden,
            "installed": self.installed,
            "name": self.id.name,
            "repository": self.repository,
            "target": "",
            "version": self.id.version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for: an expression on names (none: everything), or on something else.

    At most one of `label`, `label_expression` and `files` holds; `revdeps` then lists what needs
    the packages that were found.
    """

    text: str = ""
    label: bool = False
    label_expression: bool = False
    files: bool = False
    revdeps: bool = False
    hidden: bool = False

    def check(self) -> None:
        """Raise `UsageError` for what does not go together."""
        ways = {"--by-label": self.label, "--by-label-regex": self.label_expression}
        given = [name for name, is_given in {**ways, "--files": self.files}.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} do not go together")
        if given and not self.text:
            raise UsageError(f"{given[0]} needs something to look for")


def offered(repositories: Iterable[Synced], installed: Iterable[Installed]) -> Iterator[Found]:
    """Give the packages of all repositories."""
    present = {each.id for each in installed}
    for repository in sorted(repositories, key=lambda each: each.config.priority):
        for id_, package in sorted(repository.packages.items()):
            yield Found(
                definition=package.definition,
                repository=repository.name,
                installed=id_ in present,
                files=_listing(repository.files, id_),
            )


def present(installed: Iterable[Installed], database: Database) -> Iterator[Found]:
    """Give the installed packages."""
    for each in installed:
        yield Found(
            definition=each.definition,
            repository=SYSTEM,
            installed=True,
            files=_listing(database.files, each.id),
        )


def search(packages: Iterable[Found], query: Query) -> list[Found]:
    """Find what `query` asks for, in the order given; raises `SpecError` for a wrong expression."""
    everything = list(packages)
    fits = _test(query)
    found = [each for each in everything if fits(each)]
    if query.revdeps:
        found = _users(found, everything)
    return [each for each in found if query.hidden or not each.definition.hidden]


def _listing(
    list_files: Callable[[PackageId], Sequence[str]], id_: PackageId
) -> Callable[[], Sequence[str]]:
    return lambda: list_files(id_)


def _test(query: Query) -> Callable[[Found], bool]:
    """Make the test whether a package is what is asked for."""
    if query.label:
        return lambda found: query.text in found.definition.labels
    matches = searcher(query.text)
    if query.label_expression:
        return lambda found: any(map(matches, _pairs(found.definition.labels)))
    if query.files:
        return lambda found: any(map(matches, found.files()))
    return lambda found: matches(str(found.id))


def _pairs(labels: Mapping[str, str]) -> Iterator[str]:
    return (f"{key}={value}" for key, value in labels.items())


def _users(found: Sequence[Found], everything: Sequence[Found]) -> list[Found]:
    """Find everything that needs one of the packages, directly or not, and is none of them."""
    there = Present(each.definition for each in everything)
    users: dict[PackageId, list[PackageId]] = {}
    for each in everything:
        for need in each.definition.requires:
            for answer in there.answers(need):
                users.setdefault(answer, []).append(each.id)
    asked = {each.id for each in found}
    reached: set[PackageId] = set()
    todo = list(asked)
    while todo:
        new = [user for user in users.get(todo.pop(), ()) if user not in reached]
        reached.update(new)
        todo += new
    return [each for each in everything if each.id in reached and each.id not in asked]
