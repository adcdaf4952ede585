"""Compares what is in a root with what packages say that they have."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compiler.archive import Kind
from compiler.repository.synced import Synced
from compiler.spec.package import PackageId
from compiler.system.choice import Title
from compiler.system.database import Database, Installed
from compiler.system.lookup import Lookup, Settled
from compiler.system.protect import Protection
from compiler.system.root import System
from compiler.version import Version


@dataclass(frozen=True, slots=True)
class Missing:
    """A package, and those of its files that are not there, or are not as it brought them."""

    package: PackageId
    paths: tuple[str, ...]
    changed: tuple[str, ...] = ()


def missing_files(
    system: System, installed: Iterable[Installed], *, besides: Protection | None = None
) -> Iterator[Missing]:
    """Find the packages that have files missing; folders do not count.

    With `besides` contents are compared, too, but for those that it or the package protects. Of
    what was only entered as installed no content is known.
    """
    lookup = Lookup(system.root)
    try:
        for package in installed:
            gone = tuple(_gone(system.database, package.id, lookup))
            changed: tuple[str, ...] = ()
            if besides is not None:
                own = besides.extended(package.definition.annotations)
                changed = tuple(_changed(system.database, package.id, lookup, own))
            if gone or changed:
                yield Missing(package.id, gone, changed)
    finally:
        lookup.close()


def _changed(
    database: Database, package: PackageId, lookup: Lookup, besides: Protection
) -> Iterator[str]:
    """Find files with another content, or in whose place is something else."""
    for owned in database.paths(package):
        if owned.kind is not Kind.FILE or not owned.digest or besides.covers(owned.place):
            continue
        if lookup.status(owned.place) and lookup.digest(owned.place) != owned.digest:
            yield owned.path


def _gone(database: Database, package: PackageId, lookup: Lookup) -> Iterator[str]:
    for owned in database.paths(package):
        if owned.kind is not Kind.FOLDER and lookup.status(owned.place) is None:
            yield owned.path


@dataclass(frozen=True, slots=True)
class Claim:
    """A package whose files are in a root although it is not installed, and how many of them."""

    package: PackageId
    repository: Synced
    files: tuple[str, ...]
    found: int

    @property
    def share(self) -> float:
        """Which part of its files is there."""
        return self.found / len(self.files)


def claims(
    system: System, repositories: Iterable[Synced], installed: Iterable[Installed]
) -> tuple[Claim, ...]:
    """Find packages of which at least one file is there, one of each name, sorted.

    Of several versions the one with the largest part of its files there is taken, then the newest.
    """
    known = {each.id[:2] for each in installed}
    lookup = Lookup(system.root)
    try:
        settled = Settled(lookup.link)
        found: dict[Title, Claim] = {}
        for repository in sorted(repositories, key=lambda each: each.config.priority):
            for package in repository.packages:
                if package[:2] not in known:
                    _keep_better(found, _claim(package, repository, settled, lookup))
    finally:
        lookup.close()
    return tuple(sorted(found.values(), key=lambda each: each.package))


def _claim(package: PackageId, repository: Synced, settled: Settled, lookup: Lookup) -> Claim:
    files = repository.files(package)
    there = sum(lookup.status(settled.place(path)) is not None for path in files)
    return Claim(package, repository, files, there)


def _keep_better(found: dict[Title, Claim], claim: Claim) -> None:
    if not claim.found:
        return
    best = found.get(claim.package[:2])
    if best is None or _rank(claim) > _rank(best):
        found[claim.package[:2]] = claim


def _rank(claim: Claim) -> tuple[float, Version]:
    return claim.share, Version.parse(claim.package.version)


def as_installed(claim: Claim) -> Installed:
    """Describe a claimed package as one that is installed."""
    found = claim.repository.packages[claim.package]
    return Installed(
        definition=found.definition,
        repository=claim.repository.name,
        timestamp=found.timestamp,
        sha256=found.sha256,
        finalizer=found.finalizer,
        requested=True,
    )
